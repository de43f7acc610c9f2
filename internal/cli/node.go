package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/engine"
	"tandem/internal/cluster"
	"tandem/internal/flowfile"
	"tandem/internal/measure"
	"tandem/internal/proc"
	"tandem/internal/queue/jetstream"
)

type nodeOptions struct {
	link    link
	name    string
	labels  []string
	level   string
	cores   int
	grace   time.Duration
	verbose bool
	server  serverOptions
}

func (a *app) nodeCommand() *cobra.Command {
	var o nodeOptions
	c := &cobra.Command{Use: "node", Short: "Run steps of submitted flows on this machine",
		Long: `Run steps of the flows that are submitted to a cluster, for as long as this command runs.

Without --nats the queue is a server inside this command, with its files under the state directory: nothing to install, no open port; tandem submit on this
machine finds it. With --nats the node is one of many. SIGTERM or Ctrl-C: nothing new is taken, what runs goes on for --grace, the rest is given back.

--level says what a stored item survives: process (kill -9 of everything; a power cut may cost the last 0.1 s) or power (a power cut too; what is stored one
at a time waits for the disk). It is for the server inside; a cluster's is a setting of its servers (sync_interval: always).`,
		Example: `  tandem node
  tandem node --nats nats://a,nats://b,nats://c --labels gpu,eu
  tandem node --listen 10.0.0.1:4222 --cluster 10.0.0.1:6222 --routes nats://10.0.0.2:6222,nats://10.0.0.3:6222`,
		Args: takes(0, 0, "argument"),
		RunE: func(*cobra.Command, []string) error { return a.node(o) }}
	f := c.Flags()
	o.link.flags(f)
	f.StringVar(&o.name, "name", "", "name of the node; the host's and the process's unless given")
	f.StringSliceVar(&o.labels, "labels", nil, "what this node has, for the labels of steps: gpu,eu")
	f.StringVar(&o.level, "level", "process", "without --nats, what a stored item survives: process or power")
	f.IntVar(&o.cores, "cores", 0, "processors to use; what is really available unless given")
	f.DurationVar(&o.grace, "grace", 10*time.Second, "how long what runs may go on when the node stops")
	o.server.flags(f)
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print every event")
	return c
}

func (a *app) node(o nodeOptions) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, proc.Terminate)
	defer stop()
	if !slices.Contains([]string{"process", "power"}, o.level) {
		return &tandem.Error{Op: "read the flags of", On: "tandem node", Kind: tandem.KindInvalid, Message: "--level " + o.level, Hint: "want process or power"}
	}
	if err := o.server.check(o.link.nats); err != nil {
		return err
	}
	if o.name == "" {
		o.name = fmt.Sprintf("%s-%d", hostname(), os.Getpid())
	}
	if o.cores == 0 {
		o.cores = measure.FindCores().Effective()
	}
	service := findManager()
	hub, shut, err := a.openNode(ctx, o)
	if err != nil {
		return err
	}
	defer shut()
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "tandem-node")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	n := cluster.NewNode(hub, cluster.NodeConfig{Name: o.name, Labels: o.labels, Cores: o.cores, Cache: filepath.Join(cache, "tandem", "bundles"), Grace: o.grace,
		Build: buildStep(tmp), OnEvent: a.nodeEvent(o.verbose)})
	defer service.serving(ctx)()
	return n.Run(ctx)
}

// openNode connects, or starts the server of this machine. The returned function ends what it opened.
func (a *app) openNode(ctx context.Context, o nodeOptions) (*cluster.Hub, func(), error) {
	if o.link.nats != "" {
		hub, shut, err := o.link.open(ctx, "node", func(up bool, why error) {
			if up {
				fmt.Fprintln(a.err, a.dim("the cluster answers again"))
			} else {
				fmt.Fprintln(a.err, a.yellow("the cluster does not answer: ")+errText(why))
			}
		})
		if err == nil {
			fmt.Fprintf(a.err, "node %s: %s, cluster %s\n", o.name, plural(int64(o.cores), "core"), o.link.nats)
		}
		return hub, shut, err
	}
	dir, err := o.link.dir()
	if err != nil {
		return nil, nil, err
	}
	level := jetstream.Level(o.level)
	config := o.server.config(dir, level, o.name)
	config.Prefix = o.link.tenant
	config.OnStore = a.nodeStore(o.name, dir)
	s, err := jetstream.Serve(config)
	for end := time.Now().Add(o.server.patience()); errors.Is(err, proc.ErrLocked) && ctx.Err() == nil; s, err = jetstream.Serve(config) {
		// Another node of this machine has it: be one more beside it. It may be just starting, or just ending.
		hub, shut, jerr := o.link.open(ctx, "node", nil)
		if jerr == nil {
			fmt.Fprintf(a.err, "node %s: %s, at the queue of the node that runs here already\n", o.name, plural(int64(o.cores), "core"))
			return hub, shut, nil
		}
		if err = errors.Join(err, jerr); time.Now().After(end) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		return nil, nil, err
	}
	e, err := s.Connect()
	if err != nil {
		_ = s.Close()
		return nil, nil, err
	}
	path, err := o.link.socket()
	if err == nil {
		_ = os.Remove(path) // of a node that was killed: the lock on the directory says that it is gone
	}
	var l net.Listener
	var hub *cluster.Hub
	if err == nil {
		l, err = listenUnix(path)
	}
	if err == nil {
		e.SetReplicas(o.server.copies(o.link.replicas))
		hub, err = o.link.hubWithin(ctx, e, o.server.patience())
	}
	if err != nil {
		_ = e.Close()
		_ = s.Close()
		return nil, nil, err
	}
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		_ = s.ServeSocket(l)
	}()
	survives := map[jetstream.Level]string{jetstream.Process: "kill -9, and loses at most the last 0.1 s to a power cut", jetstream.Power: "kill -9 and a power cut"}
	fmt.Fprintf(a.err, "node %s: %s, queue in %s; what is stored survives %s%s\n", o.name, plural(int64(o.cores), "core"), dir, survives[level], o.server.says())
	return hub, func() {
		_ = l.Close()
		_ = e.Close()
		_ = s.Close()
		<-serving
	}, nil
}

// nodeStore says when the server of a node stops storing, and when it stores again.
func (a *app) nodeStore(name, dir string) func(bool, error) {
	return func(up bool, why error) {
		switch {
		case up:
			fmt.Fprintf(a.err, "node %s: %s\n", name, a.dim("the queue stores again"))
		case why == nil:
			fmt.Fprintf(a.err, "node %s: %s\n", name, a.yellow("the queue stopped storing in "+dir)+", and begins again: there was no room for a moment")
		default:
			fmt.Fprintf(a.err, "node %s: %s: %v; runs wait, and go on when there is room\n", name, a.yellow("the queue cannot store in "+dir), why)
		}
	}
}

// listenUnix makes a socket that only this user may connect to.
func listenUnix(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err != nil {
		err = &tandem.Error{Op: "listen on", On: path, Kind: tandem.KindStart, Message: err.Error(), Hint: "name a directory with a shorter path: --store", Err: err}
	}
	return l, err
}

// buildStep makes the handler of one step out of a bundle.
func buildStep(tmp string) func(ctx context.Context, dir string, m cluster.Manifest, step int) (engine.Flow, error) {
	return func(ctx context.Context, dir string, m cluster.Manifest, step int) (engine.Flow, error) {
		file, err := flowfile.Load(filepath.Join(dir, filepath.Base(m.File)))
		if err != nil {
			return engine.Flow{}, err
		}
		var params []string
		for k, v := range m.Params {
			params = append(params, k+"="+v)
		}
		if err := file.SetParams(params); err != nil {
			return engine.Flow{}, err
		}
		own := filepath.Join(tmp, m.Run)
		if err := os.MkdirAll(own, 0o700); err != nil {
			return engine.Flow{}, err
		}
		return flowfile.Build(ctx, file, flowfile.Surroundings{Cache: cacheDir(), Python: os.Getenv("TANDEM_PYTHON"), Env: os.Environ(), Run: m.Run, Tmp: own, Only: step + 1})
	}
}

// nodeEvent prints what a person who looks at a node wants to know.
func (a *app) nodeEvent(verbose bool) func(tandem.Event) {
	return func(e tandem.Event) {
		if !verbose && e.What != "step" && e.What != "run" && e.What != "node" {
			return
		}
		line := fmt.Sprintf("%s %s %s %s", e.Time.Format(time.TimeOnly), e.What, printable(e.ID), e.To)
		if e.Reason != "" {
			line += ": " + printable(e.Reason)
		}
		fmt.Fprintln(a.err, line)
	}
}
