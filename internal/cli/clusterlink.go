package cli

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"tandem"
	"tandem/internal/cluster"
	"tandem/internal/queue/jetstream"
)

// link is how a command reaches the cluster.
type link struct {
	nats, creds, ca, cert, key, tenant string
	replicas                           int
	store                              string // directory of the node's own server
}

func (l *link) flags(f *pflag.FlagSet) {
	f.StringVar(&l.nats, "nats", os.Getenv("TANDEM_NATS"), "addresses of a NATS cluster, nats://a,nats://b (TANDEM_NATS); without it the node on this machine, through a socket")
	f.StringVar(&l.creds, "creds", os.Getenv("TANDEM_NATS_CREDS"), "credentials file for --nats (TANDEM_NATS_CREDS)")
	f.StringVar(&l.ca, "ca", "", "file of the authority that signed the servers' certificates; the system's unless given")
	f.StringVar(&l.cert, "cert", "", "file of a certificate of ours, for servers that ask for one")
	f.StringVar(&l.key, "key", "", "file of its key")
	f.IntVar(&l.replicas, "replicas", 0, "copies of each message in the cluster: 3 with --nats, if it has as many servers, and 1 without")
	f.StringVar(&l.tenant, "tenant", "tandem", "prefix of streams and subjects, to share a cluster")
	f.StringVar(&l.store, "store", "", "directory of the node's own server, without --nats; under the state directory unless given")
}

// dir is where the server of this machine's node stores.
func (l *link) dir() (string, error) {
	if l.store != "" {
		return filepath.Abs(l.store)
	}
	root, err := runsDir()
	return filepath.Join(filepath.Dir(root), "queue"), err
}

func (l *link) socket() (string, error) {
	dir, err := l.dir()
	return filepath.Join(dir, "socket"), err
}

// connect connects and opens nothing.
func (l *link) connect(name string, onLink func(up bool, why error)) (*jetstream.Engine, error) {
	cfg := jetstream.Config{Creds: l.creds, CA: l.ca, Cert: l.cert, Key: l.key, Replicas: max(l.replicas, 1), Prefix: l.tenant, Name: "tandem " + name, OnLink: onLink}
	url := l.nats
	if url == "" {
		path, err := l.socket()
		if err != nil {
			return nil, err
		}
		url = "nats://local"
		cfg.Dial = func() (net.Conn, error) { return net.DialTimeout("unix", path, 2*time.Second) }
		if c, err := cfg.Dial(); err == nil {
			_ = c.Close()
		} else if errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "refused") {
			return nil, &tandem.Error{Op: "reach the node of this machine at", On: path, Kind: tandem.KindNetwork, Message: "none is running", Hint: "start one: tandem node; or name a cluster: --nats nats://host", Err: err}
		}
	}
	return jetstream.Connect(url, cfg)
}

// open connects. The returned function closes the connection.
func (l *link) open(ctx context.Context, name string, onLink func(up bool, why error)) (*cluster.Hub, func(), error) {
	e, err := l.connect(name, onLink)
	if err != nil {
		return nil, nil, err
	}
	hub, err := l.hub(ctx, e)
	if err != nil {
		_ = e.Close()
		return nil, nil, err
	}
	return hub, func() { _ = e.Close() }, nil
}

// hub opens what a cluster has, and waits a moment for one that is just choosing its leader.
func (l *link) hub(ctx context.Context, e *jetstream.Engine) (*cluster.Hub, error) {
	return l.hubWithin(ctx, e, 20*time.Second)
}

func (l *link) hubWithin(ctx context.Context, e *jetstream.Engine, within time.Duration) (*cluster.Hub, error) {
	if err := e.Await(ctx, within); err != nil {
		return nil, err
	}
	if l.nats != "" && l.replicas == 0 {
		e.SetReplicas(min(3, e.Servers()))
	}
	return cluster.Open(ctx, e)
}

func hostname() string {
	h, err := os.Hostname()
	return cmp.Or(h, "unknown", errText(err))
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
