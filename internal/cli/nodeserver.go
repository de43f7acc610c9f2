package cli

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"tandem"
	"tandem/internal/queue/jetstream"
)

// serverOptions make a node's own server part of a cluster. Without them it opens no port.
type serverOptions struct {
	listen, cluster string
	routes          []string
}

func (o *serverOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.listen, "listen", "", "HOST:PORT where the node's own server takes clients; no port is open unless given")
	f.StringVar(&o.cluster, "cluster", "", "HOST:PORT where the node's own server takes the other servers of its cluster; it needs --routes")
	f.StringSliceVar(&o.routes, "routes", nil, "the --cluster of the others, nats://HOST:PORT,nats://HOST:PORT")
}

func (o *serverOptions) check(nats string) error {
	wrong := func(message, hint string) error {
		return &tandem.Error{Op: "read the flags of", On: "tandem node", Kind: tandem.KindInvalid, Message: message, Hint: hint}
	}
	switch {
	case nats != "" && (o.listen != "" || o.cluster != "" || len(o.routes) > 0):
		return wrong("--listen, --cluster and --routes are for the node's own server, and with --nats it has none", "leave out --nats (TANDEM_NATS), or the others")
	case (o.cluster == "") != (len(o.routes) == 0):
		return wrong("--cluster and --routes go together", "give this server's HOST:PORT and the nats://HOST:PORT of the others")
	}
	return nil
}

func (o *serverOptions) config(dir string, level jetstream.Level, name string) jetstream.ServerConfig {
	c := jetstream.ServerConfig{Dir: dir, Level: level, Listen: o.listen, Cluster: o.cluster, Routes: o.routes}
	if o.cluster != "" {
		c.Name = name // the servers of a cluster tell one another by name
	}
	return c
}

// copies is how many of each message there are to be: three, if there are so many servers.
func (o *serverOptions) copies(asked int) int {
	if asked > 0 || o.cluster == "" {
		return max(asked, 1)
	}
	return min(3, len(o.routes)+1)
}

// patience is how long to wait for the servers to find one another: they are started one after the other, by hand perhaps.
func (o *serverOptions) patience() time.Duration {
	if o.cluster != "" {
		return 5 * time.Minute
	}
	return 20 * time.Second
}

// says tells which ports are open, and to whom.
func (o *serverOptions) says() string {
	s := ""
	if o.listen != "" {
		s += fmt.Sprintf("; clients may connect to %s without credentials", o.listen)
	}
	if o.cluster != "" {
		s += fmt.Sprintf("; servers to %s", o.cluster)
	}
	return s
}
