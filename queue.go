package tandem

import (
	"context"
	"errors"
	"time"
)

// Callers of a Queue branch on these.
var (
	ErrFull = errors.New("the queue is full")
	ErrLost = errors.New("the lease is lost") // its deadline has passed, and another may have the message
)

// Message is one piece of work in a Queue.
type Message struct {
	// ID names the work: within the dedupe window a second message of the same ID is taken for a repetition of the first, and not stored. When it is
	// empty Put gives the message an ID of its own.
	ID string
	// Key, in a queue that keeps order, says what it belongs to: of one key one message is leased at a time, and the next only when that one is done,
	// dead or has been put back (then it comes again before the others).
	Key       string
	Body      []byte
	Header    map[string]string
	NotBefore time.Time // not handed out before; zero means at once
}

// QueueConfig is how a Queue is to be. Opening one that exists with another name for the same thing, or other bounds, is an error that says so.
type QueueConfig struct {
	Name     string                          // letters, digits, - and _
	Items    int                             // how many it holds: ready, delayed and leased; zero means 10,000
	Bytes    int64                           // of bodies, as nearly as the driver can count; zero means 256 MiB
	Lease    time.Duration                   // how long a taken message is kept from others without Extend; zero means 30 s
	Attempts int                             // deliveries before a message is dead, those that ended with a dead taker included; zero means 5
	Dedupe   time.Duration                   // the window in which an ID is known; zero means two minutes
	Backoff  func(attempt int) time.Duration // before the next delivery after Retry; nil means one second, doubled up to a minute
	Ordered  bool                            // messages of one key stay in order
}

// Queue keeps work until it has been done: it may outlive the process that put it in, and be shared by many.
//
//   - Put stores all the messages or says why not; nil means that they are stored at the queue's level of safety. While the queue is full, in items or
//     in bytes, it blocks until ctx is done. After an error nobody knows which are in: put the same again, with the same IDs. TryPut does not wait: ErrFull.
//     A message larger than the whole byte bound is an error of kind too_large. The queue keeps Body and Header: nobody changes them any more.
//   - Take waits for at least one message and leases up to max of them, the oldest first as far as several takers and delays allow. What it does not
//     return it does not keep from others. It fails with the cause of ctx, or with ErrClosed.
//   - A lease has a deadline. Extend sets it anew. When it passes, or the taker's machine dies, the message is handed out again; that counts as an attempt.
//   - Done is confirmed: when it returns nil none of the messages is delivered again, as far as the level of safety reaches. After an error nobody knows
//     which are. Who passes results on puts them into the next queue first, and calls Done after that: a result may come twice, with one ID, and is never lost.
//   - Attempts are counted by Tandem, and never too low. A message that has used them up goes to the dead letters with the reason; nothing is dropped. There
//     is room for MaxDead of them: then Kill fails with ErrFull, and the message comes again.
//   - Release puts a message back at once, and does not count the attempt against it: for shutting down. Retry puts it back after the backoff. Kill makes it dead.
//   - Everything is safe for many callers. Close lets go of what the queue uses in this process and destroys nothing: leases that are open end by their deadline.
type Queue interface {
	Put(ctx context.Context, messages ...Message) error
	TryPut(ctx context.Context, m Message) error
	Take(ctx context.Context, max int) ([]Lease, error)
	Done(ctx context.Context, leases ...Lease) error // leases of this queue
	// Dead lists up to max dead letters, the oldest first; Bury removes one of them by its ID, and Revive puts one back with its attempts at zero.
	Dead(ctx context.Context, max int) ([]DeadMessage, error)
	Bury(ctx context.Context, id string) error
	Revive(ctx context.Context, id string) error
	Stats(ctx context.Context) (QueueStats, error)
	Close() error
}

// Lease is a message that its holder has for a while. One of Queue.Done, Retry, Release and Kill ends it; they fail with ErrLost when it is known to be
// over. Where holders are on different machines that is known as far as their clocks and the network allow.
type Lease interface {
	Message() *Message // the holder may keep it and must not change it
	Attempt() int      // 1 on the first delivery
	Extend(ctx context.Context) error
	Retry(ctx context.Context, cause error) error
	Release(ctx context.Context) error
	Kill(ctx context.Context, reason string) error
}

// DeadMessage is a message that was given up.
type DeadMessage struct {
	Message
	Attempts int
	Reason   string
	Time     time.Time // when it was given up
}

// MaxDead is how many dead letters a queue keeps.
const MaxDead = 100_000

// QueueStats is a snapshot of a queue.
type QueueStats struct {
	Ready   int
	Delayed int // not to be handed out yet; a driver that cannot tell counts them as Leased
	Leased  int
	Dead    int
	Bytes   int64         // of the bodies of all that is not dead
	Oldest  time.Duration // age of the oldest message that is not dead; zero when there is none
}
