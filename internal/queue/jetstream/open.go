package jetstream

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"tandem"
	"tandem/internal/queue"
)

// Queue is a tandem.Queue on JetStream.
type Queue struct {
	e     *Engine
	cfg   tandem.QueueConfig
	name  string // of the stream, and the first word of its subjects
	work  jetstream.Stream
	dead  jetstream.Stream
	notes jetstream.Stream
	from  []jetstream.Consumer // one, or one for each partition of a queue in order

	unordered string // the one subject of a queue without order
	fast      bool   // the stream takes fast batches, and is better off with them
	kept      bool   // what is done is purged now and then, instead of deleted at once
	room      room

	mu       sync.Mutex
	turn     int // the partition to ask first
	idle     []*puller
	asks     string // where the one consumer of a queue without order is asked
	ctx      context.Context
	stop     context.CancelCauseFunc
	purge    purger
	together together
	hearing  hearing
}

// partitions of a queue in order: so many keys at once are worked on.
const partitions = 16

// mark tells our streams from those of others.
const mark = "tandem-queue"

var nameRule = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)

// Open opens a queue, and makes it when there is none.
func (e *Engine) Open(ctx context.Context, cfg tandem.QueueConfig) (*Queue, error) {
	cfg = queue.WithDefaults(cfg)
	if !nameRule.MatchString(cfg.Name) {
		return nil, &tandem.Error{Op: "open the queue", On: cfg.Name, Kind: tandem.KindInvalid, Message: "a queue's name is made of letters, digits, - and _"}
	}
	q := &Queue{e: e, cfg: cfg, name: e.cfg.Prefix + "-" + cfg.Name, room: room{changed: make(chan struct{})}}
	q.unordered = q.name + ".go.0"
	// Not in a queue that keeps order: its partitions have a floor each, and it is slow anyway.
	q.kept = e.cfg.Level == Power && !cfg.Ordered
	q.ctx, q.stop = context.WithCancelCause(context.Background())
	if err := q.streams(ctx); err != nil {
		return nil, err
	}
	if err := q.consumers(ctx); err != nil {
		return nil, err
	}
	q.asks = "$JS.API.CONSUMER.MSG.NEXT." + q.name + ".tandem"
	if q.purges() {
		q.purge.start(q)
		q.together.start(q)
	}
	return q, nil
}

// purges tells whether what is done is purged now and then.
func (q *Queue) purges() bool { return q.kept }

func (q *Queue) streams(ctx context.Context) (err error) {
	work := jetstream.StreamConfig{
		Name: q.name, Subjects: []string{q.name + ".go.*"}, Retention: jetstream.WorkQueuePolicy,
		// MaxBytes counts what the server adds to each message as well.
		Discard: jetstream.DiscardNew, MaxMsgs: int64(q.cfg.Items), MaxBytes: q.cfg.Bytes + int64(q.cfg.Items)*overhead,
		Duplicates: q.cfg.Dedupe, AllowAtomicPublish: true,
	}
	if q.purges() {
		work.Retention = jetstream.LimitsPolicy // an acknowledgement that deletes would be synced; see purger
	}
	work.AllowBatchPublish = q.takesFast()
	if q.work, err = q.stream(ctx, work); err != nil {
		return err
	}
	if q.purges() && q.e.stage != nil {
		q.e.stage(q.name)
	}
	if is := q.work.CachedInfo().Config; q.takesFast() && !is.AllowBatchPublish { // made by an earlier version
		is.AllowBatchPublish = true
		if s, err := q.e.js.UpdateStream(ctx, is); err == nil {
			q.work = s
		}
	}
	q.fast = q.takesFast() && q.work.CachedInfo().Config.AllowBatchPublish
	if q.dead, err = q.stream(ctx, jetstream.StreamConfig{Name: q.name + "-dead", Subjects: []string{q.name + ".dead.*"}, Discard: jetstream.DiscardNew,
		MaxMsgs: tandem.MaxDead, MaxMsgsPerSubject: 1, Duplicates: 2 * time.Minute}); err != nil {
		return err
	}
	q.notes, err = q.stream(ctx, jetstream.StreamConfig{Name: q.name + "-notes", Subjects: []string{q.name + ".note.*"}, Discard: jetstream.DiscardOld,
		MaxMsgsPerSubject: 1, MaxMsgs: 4 * int64(q.cfg.Items), AllowDirect: true, MaxAge: 30 * 24 * time.Hour, Duplicates: 2 * time.Minute})
	return err
}

// takesFast tells whether fast batches are possible and better. At level power an atomic batch has one sync for all; of a replicated stream each message goes
// through the log of the replicas whatever came with it, and a leader that changes in the middle would end the batch.
func (q *Queue) takesFast() bool {
	return !q.purges() && q.e.cfg.Replicas == 1 && atLeast(q.e.nc.ConnectedServerVersion(), 2, 14)
}

func atLeast(version string, major, minor int) bool {
	var is [2]int
	if n, _ := fmt.Sscanf(version, "%d.%d", &is[0], &is[1]); n != 2 {
		return false
	}
	return is[0] > major || is[0] == major && is[1] >= minor
}

// overhead is what the server stores with a message beside its body: framing, subject, our headers.
const overhead = 512

// create makes a stream. A cluster that has just started may have a leader and not yet know all of its servers: then it is asked again.
func (q *Queue) create(ctx context.Context, cfg jetstream.StreamConfig) (s jetstream.Stream, err error) {
	for end := time.Now().Add(20 * time.Second); ; {
		s, err = q.e.make(ctx, cfg)
		if a, ok := errors.AsType[*jetstream.APIError](err); !ok || a.ErrorCode != noPeers || cfg.Replicas < 2 || time.Now().After(end) {
			return s, err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (e *Engine) find(ctx context.Context, name string) (jetstream.Stream, error) {
	return ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return e.js.Stream(ctx, name) })
}

func (e *Engine) make(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	return ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return e.js.CreateStream(ctx, cfg) })
}

// noPeers says that there are too few servers for so many copies.
const noPeers = 10005

// stream opens a stream of ours, or makes it.
func (q *Queue) stream(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	cfg.Storage, cfg.Replicas = jetstream.FileStorage, q.e.cfg.Replicas
	cfg.Metadata = map[string]string{mark: "1", mark + "-ordered": strconv.FormatBool(q.cfg.Ordered)}
	s, err := q.e.find(ctx, cfg.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		s, err = q.create(ctx, cfg)
		if err == nil && q.e.settle != nil {
			err = q.e.settle()
		}
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody was faster
			s, err = q.e.find(ctx, cfg.Name)
		}
	}
	if err != nil {
		return nil, q.failed("open the stream of", err)
	}
	is := s.CachedInfo().Config
	if cfg.Name == q.name && !q.cfg.Ordered && is.Metadata[mark] != "" && (is.Retention == jetstream.LimitsPolicy || is.Retention == jetstream.WorkQueuePolicy) {
		// Who made it saw another level than we do: both ways keep every promise, and all have to go the same.
		q.kept, cfg.Retention = is.Retention == jetstream.LimitsPolicy, is.Retention
	}
	different := ""
	switch {
	case is.Metadata[mark] == "":
		different = "the stream is not one of Tandem's"
	case is.Metadata[mark+"-ordered"] != cfg.Metadata[mark+"-ordered"]:
		different = fmt.Sprintf("it was made with ordered: %s", is.Metadata[mark+"-ordered"])
	case is.Retention != cfg.Retention:
		different = fmt.Sprintf("its retention is %v, and %v is needed", is.Retention, cfg.Retention)
	case is.Discard != cfg.Discard, is.MaxMsgs != cfg.MaxMsgs, is.MaxBytes != cfg.MaxBytes && cfg.MaxBytes != 0:
		different = fmt.Sprintf("its bounds are %d messages and %d bytes, and %d and %d are wanted", is.MaxMsgs, is.MaxBytes, cfg.MaxMsgs, cfg.MaxBytes)
	}
	if different != "" {
		return nil, &tandem.Error{Op: "open the stream", On: cfg.Name, Kind: tandem.KindInvalid, Message: different,
			Hint: "give the queue another name, or remove the stream: nats stream rm " + cfg.Name}
	}
	return s, nil
}

func (q *Queue) consumers(ctx context.Context) error {
	// One more than there can be: a pull that meets this bound with something in its hands is not answered before its time is up (seen with 2.15), and who takes all
	// that the queue holds would get it a second later.
	n, pending := 1, q.cfg.Items+1
	if q.cfg.Ordered {
		n, pending = partitions, 1
	}
	for i := range n {
		cfg := jetstream.ConsumerConfig{Durable: "tandem", AckPolicy: jetstream.AckExplicitPolicy, AckWait: q.cfg.Lease,
			MaxDeliver: -1, // a limit would leave the message in the stream, seen by nobody: the dead letters are ours
			// Delayed messages hold a place here: with fewer places than messages they would keep fresh ones away.
			MaxAckPending: pending, MaxWaiting: 2048}
		if q.purges() {
			cfg.FilterSubject = q.name + ".*.0" // see purger
		}
		if q.cfg.Ordered {
			cfg.Durable, cfg.FilterSubject = fmt.Sprint("tandem-", i), fmt.Sprint(q.name, ".go.", i)
		}
		c, err := ask(ctx, func(ctx context.Context) (jetstream.Consumer, error) {
			return q.e.js.CreateOrUpdateConsumer(ctx, q.name, cfg)
		})
		if err != nil {
			return q.failed("open the consumer of", err)
		}
		q.from = append(q.from, c)
	}
	return nil
}

// Close is tandem.Queue's. The engine stays.
func (q *Queue) Close() error {
	q.stop(tandem.ErrClosed)
	q.purge.wait()
	q.together.wait()
	q.unpark()
	return nil
}

// with is ctx, also done when the queue is closed.
func (q *Queue) with(ctx context.Context) (context.Context, context.CancelFunc) {
	both, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(q.ctx, func() { cancel(context.Cause(q.ctx)) })
	return both, func() { stop(); cancel(nil) }
}

var _ tandem.Queue = (*Queue)(nil)

// RemoveQueue removes a queue by its name, and all it holds.
func (e *Engine) RemoveQueue(ctx context.Context, name string) error {
	q := Queue{e: e, name: e.cfg.Prefix + "-" + name}
	q.cfg.Name = name
	return q.remove(ctx)
}

func (q *Queue) remove(ctx context.Context) error {
	for _, name := range []string{q.name, q.name + "-dead", q.name + "-notes"} {
		if err := q.e.js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return q.failed("remove the stream of", err)
		}
	}
	return nil
}
