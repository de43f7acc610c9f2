// Package jetstream is the [tandem.Queue] on NATS JetStream: on a server inside this process, or on a cluster, with the same code.
//
// Promises, beyond those of tandem.Queue:
//
//   - A message is stored when Put returns: at level process a killed process loses nothing and a power cut at most the last 0.1 s; at level power neither
//     loses anything. On a cluster R replicas hold it.
//   - Done waits until the server has the acknowledgement. At level process a message that is done is never delivered again, also after kill -9. At level
//     power what was done within the last 100 ms (on a busy machine more) before the server died may come again: a synced write for each would cost ten times the speed.
//   - A lease is fenced by this process's clock, which lets it end a tenth earlier than the server (at most 0.1 s): after that Done fails with tandem.ErrLost
//     without asking. On a cluster, where a message may travel longer, a late Done may still be taken.
//   - A queue is three streams (work, dead letters, notes about deliveries that do not count) and one consumer, or sixteen when it keeps order: about
//     0.1 MB and 7 goroutines in the server each. Put, Take and Done of one batch are one round trip each; of the server
//     inside one confirmation stands for all of a Done.
//   - What one Put brings goes as one batch where the server is alone, and at level power what several bring at once. A message without ID, key, delay and header
//     is the cheapest: the server searches headers a dozen times.
//   - An embedded server opens no port. Its directory has one owner; a second is refused. When its disk is full it stores nothing, says so, and goes on by
//     itself when there is room: what was confirmed is there.
package jetstream

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tandem"
	"tandem/internal/proc"
)

// Level is what a stored message survives.
type Level string

const (
	Process Level = "process" // kill -9 of everything
	Power   Level = "power"   // the machine losing its power
)

// ServerConfig says how a server inside this process is to be.
type ServerConfig struct {
	Dir  string // where it stores; it belongs to the server
	Name string // empty means tandem
	// Prefix of the streams that this process makes through Connect; empty means tandem.
	Prefix string
	Level  Level // empty means Process
	Store  int64 // bytes on disk it may use; zero means 64 GiB

	Listen  string   // "host:port" for clients; empty opens no port
	Cluster string   // "host:port" for the other servers of a cluster; empty means a server alone
	Routes  []string // nats:// addresses of the other servers
	Group   string   // name of the cluster; empty means tandem

	// OnStore is told when the server stops storing, mostly because its disk is full, and why; and when it stores again, which it does by itself. It may be nil.
	OnStore func(up bool, why error) `json:"-"`
}

// Server is a JetStream server in this process.
type Server struct {
	srv  *server.Server
	lock *os.File
	cfg  ServerConfig

	staging       string        // directory in memory for batches; empty when there is none
	claim         *os.File      // locked in it
	stop, guarded chan struct{} // of guard
}

const payload = 8 << 20 // the largest message an embedded server takes

// Serve starts a server and waits until it takes connections; the streams of a cluster may need a moment more.
func Serve(cfg ServerConfig) (*Server, error) {
	if cfg.Level == "" {
		cfg.Level = Process
	}
	wrong := func(message, hint string, err error) error {
		return &tandem.Error{Op: "start the queue server in", On: cfg.Dir, Kind: tandem.KindStart, Message: message, Hint: hint, Err: err}
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, wrong(err.Error(), "name another directory", err)
	}
	lock, err := os.OpenFile(filepath.Join(cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, wrong(err.Error(), "", err)
	}
	// The server itself does not look whether another has its directory, and two would ruin it.
	if holder, err := proc.Lock(lock); err != nil {
		_ = lock.Close()
		return nil, wrong(fmt.Sprintf("another process has it (pid %d): %v", holder, err), "connect to that one, or name another directory", err)
	}
	opts, err := cfg.options()
	if err == nil {
		var srv *server.Server
		if srv, err = server.NewServer(opts); err == nil {
			log := &errands{}
			srv.SetLoggerV2(log, false, false, false)
			srv.Start()
			if srv.ReadyForConnections(20 * time.Second) {
				s := &Server{srv: srv, lock: lock, cfg: cfg, stop: make(chan struct{}), guarded: make(chan struct{})}
				sweepStages()
				if cfg.Level == Power {
					s.stages()
				}
				go s.guard(log)
				return s, nil
			}
			srv.Shutdown()
			err = errors.New("it does not get ready; a port may be taken")
		}
	}
	_ = lock.Close()
	return nil, wrong(err.Error(), "", err)
}

func (cfg ServerConfig) options() (*server.Options, error) {
	o := &server.Options{
		PingInterval: 5 * time.Second, MaxPingsOut: 2, // a client or a server that is cut off is noticed in that time
		ServerName: cfg.Name, NoSigs: true, NoLog: true, DisableJetStreamBanner: true, DontListen: true,
		JetStream: true, StoreDir: cfg.Dir, JetStreamMaxStore: cfg.Store, JetStreamMaxMemory: 256 << 20, MaxPayload: payload,
		SyncAlways: cfg.Level == Power,
	}
	if o.ServerName == "" {
		o.ServerName = "tandem"
	}
	if o.JetStreamMaxStore == 0 {
		o.JetStreamMaxStore = 64 << 30
	}
	if !o.SyncAlways {
		o.SyncInterval = 100 * time.Millisecond // two minutes unless told otherwise
	}
	if cfg.Listen != "" {
		host, port, err := hostPort(cfg.Listen)
		if err != nil {
			return nil, err
		}
		o.DontListen, o.Host, o.Port = false, host, port
	}
	if cfg.Cluster == "" {
		return o, nil
	}
	host, port, err := hostPort(cfg.Cluster)
	if err != nil {
		return nil, err
	}
	o.Cluster = server.ClusterOpts{Name: cfg.Group, Host: host, Port: port}
	if o.Cluster.Name == "" {
		o.Cluster.Name = "tandem"
	}
	for _, r := range cfg.Routes {
		o.Routes = append(o.Routes, server.RoutesFromStr(r)...)
	}
	return o, nil
}

func hostPort(s string) (string, int, error) {
	a, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		return "", 0, err
	}
	return a.IP.String(), a.Port, nil
}

// Conn is a fresh connection inside the process, for whoever passes clients on from a socket of its own.
func (s *Server) Conn() (net.Conn, error) { return s.srv.InProcessConn() }

// ServeSocket passes clients on that connect to a socket of the file system, which needs no port. It serves until the listener is closed.
func (s *Server) ServeSocket(l net.Listener) error {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		in, err := s.Conn()
		if err != nil {
			_ = c.Close()
			return err
		}
		for _, pair := range [2][2]net.Conn{{c, in}, {in, c}} {
			all.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close() // the other direction ends too
				_ = pair[1].Close()
			})
		}
	}
}

// URL is where clients connect; empty when no port is open.
func (s *Server) URL() string {
	if s.cfg.Listen == "" {
		return ""
	}
	return s.srv.ClientURL()
}

// Connect connects from inside the process.
func (s *Server) Connect() (*Engine, error) {
	e, err := connect("", Config{Level: s.cfg.Level, Prefix: s.cfg.Prefix}, nats.InProcessServer(s.srv))
	if err == nil {
		e.settle, e.stage = s.settle, s.stage
	}
	return e, err
}

// Close stops the server and waits for it.
func (s *Server) Close() error {
	close(s.stop)
	<-s.guarded
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
	var err error
	if s.staging != "" {
		err = os.RemoveAll(s.staging)
	}
	if s.claim != nil {
		err = errors.Join(err, s.claim.Close())
	}
	return errors.Join(err, s.lock.Close())
}
