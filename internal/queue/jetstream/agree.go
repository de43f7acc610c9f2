package jetstream

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// Agree has everybody who connects to a server inside a process know its level, which decides how queues are made: the process with the server leaves word, and the
// others read it. Of a cluster of others there is no word, and its level is the servers' own business. The word is for one prefix; who does not find it makes queues
// that are as safe, and slower.
func (e *Engine) Agree(ctx context.Context) error {
	q := Queue{e: e, name: e.cfg.Prefix + "-level"}
	q.cfg.Name = q.name
	s, err := e.js.Stream(ctx, q.name)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return q.failed("ask for the level of the server in", err)
	}
	if e.settle == nil {
		if err == nil && s.CachedInfo().Config.Metadata[mark] == string(Power) {
			e.cfg.Level = Power
		}
		return nil
	}
	switch power := e.cfg.Level == Power; {
	case power && err != nil:
		_, err = q.create(ctx, jetstream.StreamConfig{Name: q.name, Subjects: []string{q.name}, Storage: jetstream.FileStorage, Replicas: e.cfg.Replicas, MaxMsgs: 1,
			Metadata: map[string]string{mark: string(Power)}})
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody was faster
			err = nil
		}
	case !power && err == nil: // an earlier start had another level
		err = e.js.DeleteStream(ctx, q.name)
	default:
		err = nil
	}
	return q.failed("leave word of the level of the server in", err)
}
