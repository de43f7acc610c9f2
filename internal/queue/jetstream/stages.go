package jetstream

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"tandem/internal/proc"
)

// An atomic batch is collected in a store of its own, and then copied to the stream. The server makes that store anew for each batch, in four directories, and syncs
// every file of it: of a batch of 256 messages of 256 bytes that was a third of the processor time and all syncs but one. Nothing that was acknowledged depends on it: the
// answer is given when the stream is synced, and after a power cut in between the sender, who has no answer, knows nothing either. So it is in memory where the system
// has a place for that. The directory's name is the server's own business: should a version call it otherwise, the link is of no use and no harm.

const (
	shared  = "/dev/shm"
	batches = "tandem-batches-"
	owner   = "lock" // locked in each place for as long as its server lives
)

// stages makes the place for the batches of this server; what a killed one left there goes. Without such a place they stay where the server has them.
func (s *Server) stages() {
	dir, err := filepath.Abs(s.cfg.Dir)
	if err != nil {
		return
	}
	sum := sha256.Sum256([]byte(dir))
	stages := filepath.Join(shared, batches+hex.EncodeToString(sum[:12]))
	if os.RemoveAll(stages) != nil || os.Mkdir(stages, 0o700) != nil { // another's of this name is not used
		return
	}
	s.staging = stages
	// It gets its name only when it is locked, so nobody finds it unlocked while we live. Without it nobody takes the place away but a server of this directory.
	lock := filepath.Join(stages, owner)
	f, err := os.OpenFile(lock+".new", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return
	}
	if _, err := proc.Lock(f); err != nil || os.Rename(lock+".new", lock) != nil {
		_ = f.Close()
		return
	}
	s.claim = f
}

// sweepStages removes the places of servers that are dead and were not started again.
func sweepStages() {
	all, _ := filepath.Glob(filepath.Join(shared, batches+"*"))
	for _, dir := range all {
		f, err := os.Open(filepath.Join(dir, owner))
		if err != nil {
			continue // another user's, or of a version that left no word
		}
		if _, err := proc.Lock(f); err == nil {
			drop(dir, f)
		}
		_ = f.Close()
	}
}

// drop removes a place whose lock we have. It goes aside first: should a server of that directory have made it anew just then, it goes back.
func drop(dir string, lock *os.File) {
	aside := filepath.Join(shared, "tandem-dead-"+rand.Text())
	if os.Rename(dir, aside) != nil {
		return
	}
	was, err := lock.Stat()
	is, ierr := os.Stat(filepath.Join(aside, owner))
	if err != nil || ierr != nil || !os.SameFile(was, is) {
		_ = os.Rename(aside, dir)
		return
	}
	_ = os.RemoveAll(aside)
}

func (s *Server) stage(stream string) {
	if s.staging == "" {
		return
	}
	target := filepath.Join(s.staging, stream)
	if err := os.Mkdir(target, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return
	}
	link := filepath.Join(s.cfg.Dir, "jetstream", "$G", "streams", stream, "batches")
	if is, err := os.Readlink(link); err == nil && is == target {
		return
	}
	_ = os.Remove(link) // one that is empty: after others have used it. Else it stays as it is
	_ = os.Symlink(target, link)
}
