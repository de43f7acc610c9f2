package live

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"tandem"
	"tandem/internal/proc"
)

// SocketName is the socket's name in a run's directory.
const SocketName = "live"

// Config is what a run lets others see and do.
type Config struct {
	Dir   string // the run's
	State func(items int) State
	Dump  func(worker string, end bool) (tandem.Dump, error)
	Kill  func(worker string) error
	Stop  func(now bool)
	Feed  *Feed // may be nil
}

const (
	mostCallers = 32          // at a time; others are told so
	maxRequest  = 64 << 10    // bytes
	patience    = time.Minute // for a caller to send or to take something
	mostItems   = 10_000
)

// Server answers for one run. Make one with Serve.
type Server struct {
	cfg  Config
	l    *net.UnixListener
	dir  *os.File
	mu   sync.Mutex
	open map[net.Conn]bool
	shut bool
	wg   sync.WaitGroup
}

// Serve begins to answer.
func Serve(cfg Config) (*Server, error) {
	dir, err := os.Open(cfg.Dir)
	if err != nil {
		return nil, serveError(cfg.Dir, err)
	}
	path := short(dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // of a part of this run that was killed; we hold its lock
		dir.Close()
		return nil, serveError(cfg.Dir, err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		if err = os.Chmod(path, 0o600); err != nil {
			_ = l.Close()
		}
	}
	if err != nil {
		dir.Close()
		return nil, serveError(cfg.Dir, err)
	}
	s := &Server{cfg: cfg, l: l, dir: dir, open: map[net.Conn]bool{}}
	s.wg.Go(s.accept)
	return s, nil
}

func serveError(dir string, err error) error {
	return &tandem.Error{Op: "listen for tandem ps in", On: dir, Kind: tandem.KindFile, Message: err.Error(), Err: err, Hint: "the run goes on; tandem ps shows less of it"}
}

// short is a path of the socket below the 107 bytes that a socket's address may have, however long the directory's is.
func short(dir *os.File) string {
	return filepath.Join("/proc/self/fd", strconv.Itoa(int(dir.Fd())), SocketName)
}

// Close ends all conversations and takes the socket away.
func (s *Server) Close() {
	s.mu.Lock()
	s.shut = true
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	_ = s.l.Close() // removes the socket, through the directory that is still open
	s.wg.Wait()
	s.dir.Close()
}

func (s *Server) accept() {
	for {
		c, err := s.l.AcceptUnix()
		if err != nil {
			s.mu.Lock()
			shut := s.shut
			s.mu.Unlock()
			if shut || errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(50 * time.Millisecond) // no descriptor is left for a moment
			continue
		}
		if why := stranger(c); why != "" {
			refuse(c, why, "ask from a shell of the run's user")
			continue
		}
		s.mu.Lock()
		n := len(s.open)
		if s.shut || n >= mostCallers {
			s.mu.Unlock()
			refuse(c, "too many ask at a time", "try again")
			continue
		}
		s.open[c] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			s.talk(c)
			_ = c.Close()
			s.mu.Lock()
			delete(s.open, c)
			s.mu.Unlock()
		})
	}
}

// stranger says why a caller may not ask: it is another user's, or was started by the run itself. A handler must not steer its own run, least of all from a sandbox.
func stranger(c *net.UnixConn) string {
	pid, uid, err := proc.Peer(c)
	switch {
	case err != nil:
		return "the system does not say who asks: " + err.Error()
	case uid != 0 && uid != os.Geteuid():
		return "the run belongs to another user"
	case pid == 0 || slices.Contains(Ancestors(pid), os.Getpid()):
		return "what a run has started may not ask it"
	}
	return ""
}

func refuse(c net.Conn, why, hint string) {
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_ = json.NewEncoder(c).Encode(Answer{Version: Version, Error: &Failure{Op: "ask the run", Kind: tandem.KindInvalid, Message: why, Hint: hint}})
	c.Close()
}

// talk answers one caller until it has no more questions.
func (s *Server) talk(c net.Conn) {
	in := bufio.NewScanner(c)
	in.Buffer(nil, maxRequest)
	out := json.NewEncoder(c)
	for {
		_ = c.SetDeadline(time.Now().Add(patience))
		if !in.Scan() {
			return
		}
		var q Request
		a := Answer{Version: Version}
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			a.Error = &Failure{Kind: tandem.KindInvalid, Message: "that is no request: " + err.Error()}
		} else if q.Version != Version {
			a.Error = &Failure{Kind: tandem.KindInvalid, Message: "this run speaks version " + strconv.Itoa(Version) + ", the question is of version " + strconv.Itoa(q.Version),
				Hint: "use the tandem that runs it"}
		} else if q.Ask == "follow" {
			s.follow(c, out)
			return
		} else {
			s.answer(q, &a)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		if out.Encode(a) != nil {
			return
		}
	}
}

func (s *Server) answer(q Request, a *Answer) {
	var err error
	switch q.Ask {
	case "state":
		st := s.cfg.State(min(max(cmp.Or(q.Items, 20), 0), mostItems))
		a.State = &st
	case "dump":
		var d tandem.Dump
		if d, err = s.cfg.Dump(q.Worker, q.End); err == nil {
			a.Dump = &d
		}
	case "kill":
		err = s.cfg.Kill(q.Worker)
	case "stop":
		s.cfg.Stop(q.Now)
	default:
		err = &tandem.Error{Op: "ask", On: q.Ask, Kind: tandem.KindInvalid, Message: "this run does not know that question"}
	}
	if err != nil {
		a.Error = failure(err)
	}
}

// follow sends records until the run or the caller ends.
func (s *Server) follow(c net.Conn, out *json.Encoder) {
	records, stop := s.cfg.Feed.Subscribe()
	defer stop()
	gone := make(chan struct{})
	s.wg.Go(func() { // a caller says nothing more: what comes is its end
		defer close(gone)
		_ = c.SetReadDeadline(time.Time{})
		var b [1]byte
		_, _ = c.Read(b[:])
	})
	for {
		select {
		case r, ok := <-records:
			if !ok {
				c.Close()
				<-gone
				return
			}
			_ = c.SetWriteDeadline(time.Now().Add(patience))
			if out.Encode(Answer{Version: Version, Record: &r}) != nil {
				c.Close()
				<-gone
				return
			}
		case <-gone:
			return
		}
	}
}
