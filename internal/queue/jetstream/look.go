package jetstream

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tandem"
)

// QueueStats looks at a queue by its name and does not make one. There is none when the second result is false.
func (e *Engine) QueueStats(ctx context.Context, name string) (s tandem.QueueStats, there bool, err error) {
	q := Queue{e: e, name: e.cfg.Prefix + "-" + name}
	q.cfg.Name = name
	if q.work, err = e.js.Stream(ctx, q.name); err == nil {
		q.dead, err = e.js.Stream(ctx, q.name+"-dead")
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return s, false, nil
	}
	if err != nil {
		return s, false, q.failed("look at the queue", err)
	}
	names := q.work.ConsumerNames(ctx)
	for n := range names.Name() {
		c, err := q.work.Consumer(ctx, n)
		if err != nil {
			return s, false, q.failed("look at the queue", err)
		}
		q.from = append(q.from, c)
	}
	if err := names.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return s, false, q.failed("look at the queue", err)
	}
	s, err = q.Stats(ctx)
	return s, err == nil, err
}

// List gives the names of the objects that begin with prefix.
func (o *Objects) List(ctx context.Context, prefix string) (names []string, err error) {
	all, err := o.store.List(ctx)
	if errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil, nil
	}
	for _, i := range all {
		if strings.HasPrefix(i.Name, prefix) {
			names = append(names, i.Name)
		}
	}
	return names, o.failed("list the objects in", err)
}

// Facts is what a client can see of the servers.
type Facts struct {
	Server    string        // that answers: its name
	Version   string        // its
	Cluster   string        // its name; empty for a server alone
	Servers   int           // that the client knows of
	Slowest   time.Duration // the round trip, of a few the shortest
	TLS       bool
	Secured   bool // the server asks for credentials
	MaxStored int64
	Stored    int64 // bytes of this account; MaxStored is -1 when nothing limits it
	Free      int64 // that a new stream may still have by this account's limit; -1 when nothing limits it
	Payload   int64 // the largest message
	Skew      time.Duration
	SkewBound time.Duration // the skew is this exact
}

// Facts asks the servers, stores one message in a stream of its own, and removes both.
func (e *Engine) Facts(ctx context.Context) (f Facts, err error) {
	q := Queue{e: e}
	f = Facts{Server: e.nc.ConnectedServerName(), Version: e.nc.ConnectedServerVersion(), Cluster: e.nc.ConnectedClusterName(), Servers: e.Servers(), Payload: e.nc.MaxPayload(), Secured: e.nc.AuthRequired(), Free: -1}
	_, terr := e.nc.TLSConnectionState()
	f.TLS = terr == nil
	for range 3 {
		d, err := e.nc.RTT()
		if err != nil {
			return f, q.failed("measure the way to the server", err)
		}
		if f.Slowest == 0 || d < f.Slowest {
			f.Slowest = d
		}
	}
	info, err := e.js.AccountInfo(ctx)
	if err != nil {
		return f, q.failed("ask for JetStream", err)
	}
	f.Stored, f.MaxStored = int64(info.Store), info.Limits.MaxStore
	if f.MaxStored > 0 {
		f.Free = max(0, f.MaxStored-f.Stored)
	}
	return f, e.skew(ctx, &f)
}

// skew compares the clocks: the server stamps a message when it stores it, between our sending and its answer.
func (e *Engine) skew(ctx context.Context, f *Facts) error {
	q := Queue{e: e}
	name := e.cfg.Prefix + "-doctor"
	q.cfg.Name = name
	s, err := e.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{name + ".clock"}, Storage: jetstream.FileStorage, Replicas: 1, MaxMsgs: 1, MaxAge: time.Minute})
	if err != nil {
		return q.failed("store a message in", err)
	}
	defer func() { _ = e.js.DeleteStream(context.WithoutCancel(ctx), name) }()
	for i := range 3 {
		before := time.Now()
		ack, err := e.js.Publish(ctx, name+".clock", []byte("now"))
		if err != nil {
			return q.failed("store a message in", err)
		}
		took := time.Since(before)
		m, err := s.GetMsg(ctx, ack.Sequence)
		if err != nil {
			return q.failed("read a message from", err)
		}
		if i == 0 || took/2 < f.SkewBound {
			f.Skew, f.SkewBound = m.Time.Sub(before.Add(took/2)), took/2
		}
	}
	return nil
}

// Replicas is how many copies the streams have that there are, by how many have them: a cluster that was one server keeps one copy of what was made then.
func (e *Engine) Replicas(ctx context.Context) (map[int]int, error) {
	q, by := Queue{e: e}, map[int]int{}
	all := e.js.ListStreams(ctx)
	for i := range all.Info() {
		if strings.HasPrefix(i.Config.Name, e.cfg.Prefix+"-") || slices.Contains([]string{"KV_" + e.cfg.Prefix + "-runs", "KV_" + e.cfg.Prefix + "-nodes", "OBJ_" + e.cfg.Prefix + "-objects"}, i.Config.Name) {
			by[i.Config.Replicas]++
		}
	}
	if err := all.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return by, q.failed("list the streams", err)
	}
	return by, nil
}
