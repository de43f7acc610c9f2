package jetstream

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// A server that could not write, mostly because its disk is full, gives up the stream or all of its storage, answers nobody, and never tries again by itself: it
// only logs. So somebody reads the log, says what is the matter, and has it begin again when there is room.
const (
	fullLook = 500 * time.Millisecond
	fullRoom = 8 << 20          // bytes that must be writable before it begins again: a block of a stream
	fullWait = 30 * time.Second // for what it has missed, before it begins once more; then twice as long each time
)

// errands is a logger that looks for writes that failed, and prints nothing.
type errands struct{ failed atomic.Bool }

func (e *errands) Noticef(string, ...any)         {}
func (e *errands) Fatalf(string, ...any)          {}
func (e *errands) Debugf(string, ...any)          {}
func (e *errands) Tracef(string, ...any)          {}
func (e *errands) Warnf(format string, v ...any)  { e.look(format, v) }
func (e *errands) Errorf(format string, v ...any) { e.look(format, v) }
func (e *errands) look(format string, v []any) {
	line := fmt.Sprintf(format, v...)
	for _, sign := range []string{"failed to store", "no space left", "disk quota exceeded", "input/output error", "permission denied"} {
		if strings.Contains(line, sign) {
			e.failed.Store(true)
		}
	}
}

// guard looks until stop is closed.
func (s *Server) guard(log *errands) {
	defer close(s.guarded)
	tick := time.NewTicker(fullLook)
	defer tick.Stop()
	down, begun, patience := false, time.Time{}, fullWait
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if !log.failed.Load() && s.srv.JetStreamEnabled() {
			if !down {
				continue
			}
			// In a cluster it has missed something. Until it has that, it is no copy that others can count on.
			if s.srv.Healthz(nil).StatusCode == http.StatusOK {
				down, patience = false, fullWait
				s.told(true, nil)
				continue
			}
			if time.Since(begun) < patience {
				continue
			}
			patience *= 2
		}
		err := s.room()
		if !down {
			down = true
			s.told(false, err)
		}
		// Streams that failed stay so until all are opened again, from what is on the disk. Meanwhile whoever asks had better be refused than left without an
		// answer, and in a cluster others can lead.
		if s.srv.ShutdownJetStream() != nil || err != nil {
			continue
		}
		log.failed.Store(false)
		begun = time.Now()
		if opts, err := s.cfg.options(); err == nil { // a reload starts what is configured and not running; when that fails the next look tries again
			_ = s.srv.ReloadOptions(opts)
		}
	}
}

var _ server.Logger = (*errands)(nil)

func (s *Server) told(up bool, why error) {
	if s.cfg.OnStore != nil {
		s.cfg.OnStore(up, why)
	}
}

// room writes and removes a file: only that tells whether a disk, a quota and the permissions allow it.
func (s *Server) room() error {
	path := filepath.Join(s.cfg.Dir, "room")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for range fullRoom / len(block) {
		if _, err = f.Write(block); err != nil {
			break
		}
	}
	if cerr := f.Close(); err == nil { // where writing is delayed it may fail here
		err = cerr
	}
	if rerr := os.Remove(path); err == nil {
		err = rerr
	}
	return err
}
