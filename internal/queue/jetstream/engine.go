package jetstream

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tandem"
)

// Config says how to connect.
type Config struct {
	Creds    string // credentials file; empty means none
	CA       string // file of the authority that signed the servers' certificates; empty means the system's
	Cert     string // file of our certificate, for servers that ask for one; empty means none
	Key      string // file of its key
	Replicas int    // of each stream; zero means 1
	Level    Level  // of an embedded server; a cluster's is a setting of its servers. Empty means Process
	Prefix   string // of streams and subjects, to share a cluster; empty means tandem
	Name     string // of the connection, for the server's own lists
	OnLink   func(up bool, why error)
	Dial     func() (net.Conn, error) // in place of the address; may be nil
}

// Engine is a connection on which queues are opened.
type Engine struct {
	nc  *nats.Conn
	js  jetstream.JetStream
	cfg Config
	// settle is the embedded server's: a new stream is made safe from a power cut.
	settle func() error
	// stage is the embedded server's: batches of a stream are collected in memory.
	stage func(stream string)

	fast fastPosts

	mu     sync.Mutex
	acks   *nats.Subscription
	inbox  string
	serial uint64
	open   map[string]*pendingAcks // confirmations that are under way
}

// Connect connects to the servers at url ("nats://a,nats://b"). It fails when none answers; later it reconnects by itself, for ever.
func Connect(url string, cfg Config) (*Engine, error) {
	opts := []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond), nats.ReconnectJitter(100*time.Millisecond, 200*time.Millisecond),
		nats.Timeout(5 * time.Second),
		// A server that is cut off says nothing. Two minutes would pass before that is noticed unless it is asked more often.
		nats.PingInterval(2 * time.Second), nats.MaxPingsOutstanding(2)}
	if cfg.Creds != "" {
		opts = append(opts, nats.UserCredentials(cfg.Creds))
	}
	if cfg.CA != "" {
		opts = append(opts, nats.RootCAs(cfg.CA))
	}
	if cfg.Cert != "" {
		opts = append(opts, nats.ClientCert(cfg.Cert, cfg.Key))
	}
	if cfg.Dial != nil {
		opts = append(opts, nats.SetCustomDialer(dialer(cfg.Dial)))
	}
	return connect(url, cfg, opts...)
}

type dialer func() (net.Conn, error)

func (d dialer) Dial(string, string) (net.Conn, error) { return d() }

func connect(url string, cfg Config, opts ...nats.Option) (*Engine, error) {
	cfg.Replicas, cfg.Level, cfg.Prefix = max(cfg.Replicas, 1), cmp.Or(cfg.Level, Process), cmp.Or(cfg.Prefix, "tandem")
	e := &Engine{cfg: cfg, open: map[string]*pendingAcks{}}
	opts = append(opts, nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
		e.fast.fail(err)
		if err != nil && cfg.OnLink != nil { // nil says that we have closed it
			cfg.OnLink(false, err)
		}
	}))
	if cfg.OnLink != nil {
		opts = append(opts, nats.ReconnectHandler(func(*nats.Conn) { cfg.OnLink(true, nil) }))
	}
	opts = append(opts, nats.Name(cmp.Or(cfg.Name, "tandem")), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, refused(url, cfg, err)
	}
	if v := nc.ConnectedServerVersion(); !atLeast(v, 2, 10) {
		nc.Close()
		return nil, tooOld(url, v)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4096), jetstream.WithPublishAsyncTimeout(mostSilence))
	if err != nil {
		nc.Close()
		return nil, refused(url, cfg, err)
	}
	e.nc, e.js = nc, js
	err = e.listen()
	if err == nil {
		err = e.listenFast()
	}
	if err != nil {
		nc.Close()
		return nil, refused(url, cfg, err)
	}
	return e, nil
}

// tooOld says what a server lacks that we cannot do without.
func tooOld(url, version string) error {
	return &tandem.Error{Op: "connect to NATS at", On: cmp.Or(url, "the embedded server"), Kind: tandem.KindInvalid, Reason: "version", Again: tandem.AgainNever,
		Message: "nats-server " + version + " keeps no metadata of streams, by which Tandem tells its own from others: that came with 2.10",
		Hint:    "update the servers, one after the other; tandem doctor --nats says what later versions are worth"}
}

// refused words why there is no connection.
func refused(url string, cfg Config, err error) error {
	e := &tandem.Error{Op: "connect to NATS at", On: cmp.Or(url, "the embedded server"), Kind: tandem.KindNetwork, Message: err.Error(), Err: err}
	switch {
	case errors.Is(err, nats.ErrNoServers):
		e.Message, e.Reason, e.Hint = "no server answers there", "refused", "check the address, and that nats-server runs with -js"
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), strings.Contains(err.Error(), "Authorization Violation"):
		e.Message, e.Reason, e.Hint = "the server does not take these credentials", "credentials", "give the right file with --creds"
		if cfg.Creds == "" {
			e.Message = "the server asks for credentials"
		}
	case refusedTLS(e, cfg, err):
	case errors.Is(err, fs.ErrNotExist) && cfg.Creds != "":
		e.Message, e.Hint = "no file "+cfg.Creds, "give the credentials file with --creds"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		e.Message, e.Hint = "no answer within 5s", "check the address and the network"
	}
	return e
}

// Close lets what is under way end and closes the connection.
func (e *Engine) Close() error {
	done := make(chan struct{})
	e.nc.SetClosedHandler(func(*nats.Conn) { close(done) })
	if err := e.nc.Drain(); err != nil {
		e.nc.Close()
	}
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		e.nc.Close()
	}
	return nil
}

// Await waits until JetStream answers: a cluster that has just started has no leader yet.
func (e *Engine) Await(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		once, stop := context.WithTimeout(ctx, time.Second) // who is asked before there is a leader never answers
		_, err := e.js.AccountInfo(once)
		stop()
		if err == nil || errors.Is(err, jetstream.ErrJetStreamNotEnabled) {
			return (&Queue{e: e}).failed("wait for JetStream", err)
		}
		select {
		case <-ctx.Done():
			return &tandem.Error{Op: "wait for JetStream", Kind: tandem.KindQueue, Message: "it does not answer within " + within.String() + ": " + err.Error(), Err: err,
				Hint: "a cluster needs more than half of its servers"}
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// SetReplicas sets how many copies the streams made from now on have.
func (e *Engine) SetReplicas(n int) { e.cfg.Replicas = max(n, 1) }

// Servers is how many servers the cluster that answers has told us of, itself included.
func (e *Engine) Servers() int { return max(len(e.nc.Servers()), 1) }

// Gone tells whether the connection is closed for good: by Close, or because the servers refuse us. One that is only lost comes back by itself.
func (e *Engine) Gone() bool { return e.nc.IsClosed() }

// Cut closes the connection without a word, as a machine that dies does. For tests of what survives.
func (e *Engine) Cut() { e.nc.Close() }
