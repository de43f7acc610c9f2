package jetstream

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// settle makes what a new stream is made of survive a power cut: the server syncs messages, and not the directories that it makes for them.
func (s *Server) settle() error {
	return filepath.WalkDir(s.cfg.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if !d.IsDir() && !d.Type().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		return f.Sync()
	})
}

// An atomic batch is collected in a store of its own, and then copied to the stream. The server makes that store anew for each batch, in four directories, and syncs
// every file of it: of a batch of 256 messages of 256 bytes that was a third of the processor time and all syncs but one. Nothing that was acknowledged depends on it: the
// answer is given when the stream is synced, and after a power cut in between the sender, who has no answer, knows nothing either. So it is in memory where the system
// has a place for that. The directory's name is the server's own business: should a version call it otherwise, the link is of no use and no harm.

const shared = "/dev/shm"

// stages makes the place for the batches of this server; what a killed one left there goes. Without such a place they stay where the server has them.
func (s *Server) stages() {
	dir, err := filepath.Abs(s.cfg.Dir)
	if err != nil {
		return
	}
	sum := sha256.Sum256([]byte(dir))
	stages := filepath.Join(shared, "tandem-batches-"+hex.EncodeToString(sum[:12]))
	if os.RemoveAll(stages) == nil && os.Mkdir(stages, 0o700) == nil { // another's of this name is not used
		s.staging = stages
	}
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
