package redis

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	client "github.com/redis/go-redis/v9"

	"tandem"
)

// Engine is a connection on which queues are opened.
type Engine struct {
	c client.UniversalClient
}

// Connect connects to the server at url: redis://[user:password@]host[:port][/db], rediss:// with TLS, or unix:///path. It fails when none answers; later it reconnects
// by itself. The caller closes the engine after its queues.
func Connect(ctx context.Context, url string) (*Engine, error) {
	o, err := client.ParseURL(url)
	if err != nil {
		return nil, &tandem.Error{Op: "connect to Redis at", On: url, Kind: tandem.KindInvalid, Message: err.Error(), Hint: "want redis://host:6379 or unix:///path/of/socket", Err: err}
	}
	o.MaxRetries = -1 // a script that may have run is not run again behind the caller's back
	o.DisableIdentity = true
	o.MaintNotificationsConfig = nil
	e := &Engine{client.NewClient(o)}
	if err := e.check(ctx); err != nil {
		return nil, errors.Join(err, e.c.Close())
	}
	return e, nil
}

// check refuses a server that cannot keep the promises.
func (e *Engine) check(ctx context.Context) error {
	wrong := func(kind, message, hint string, err error) error {
		return &tandem.Error{Op: "connect to Redis at", On: e.address(), Kind: kind, Message: message, Hint: hint, Err: err}
	}
	info, err := e.c.Info(ctx, "server").Result()
	switch {
	case err != nil && strings.HasPrefix(err.Error(), "NOAUTH"), err != nil && strings.HasPrefix(err.Error(), "WRONGPASS"):
		return wrong(tandem.KindNetwork, "the server does not take these credentials: "+err.Error(), "name user and password in the address", err)
	case err != nil:
		return wrong(tandem.KindNetwork, err.Error(), "check the address, and that the server runs", err)
	}
	version := field(info, "redis_version")
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err == nil && (major < 6 || major == 6 && minor < 2) {
		return wrong(tandem.KindInvalid, "the server is version "+version+", and LPOP with a count came with 6.2", "use a newer server", nil)
	}
	policy, most := e.setting(ctx, "maxmemory-policy"), e.setting(ctx, "maxmemory")
	if policy != "" && policy != "noeviction" && most != "0" {
		return wrong(tandem.KindInvalid, "the server drops keys when its memory is full (maxmemory-policy "+policy+"), so messages could be lost", "set maxmemory-policy to noeviction", nil)
	}
	return nil
}

// Safety is what the server's files survive, in words: "power", "process" (a killed server, up to two seconds lost), "none", or "unknown" where the server does
// not show its settings.
func (e *Engine) Safety(ctx context.Context) string {
	switch keep, sync := e.setting(ctx, "appendonly"), e.setting(ctx, "appendfsync"); {
	case keep == "":
		return "unknown"
	case keep != "yes":
		return "none"
	case sync == "always":
		return "power"
	}
	return "process"
}

// setting is one of the server's; empty where it does not tell.
func (e *Engine) setting(ctx context.Context, name string) string {
	all, err := e.c.ConfigGet(ctx, name).Result()
	if err != nil {
		return ""
	}
	return all[name]
}

func field(info, name string) string {
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func (e *Engine) address() string {
	if c, ok := e.c.(*client.Client); ok {
		return c.Options().Addr
	}
	return "the server"
}

// Close closes the connections.
func (e *Engine) Close() error { return e.c.Close() }

// RemoveQueue removes a queue by its name, and all it holds.
func (e *Engine) RemoveQueue(ctx context.Context, name string) error {
	q := Queue{e: e}
	q.cfg.Name = name
	for cursor := uint64(0); ; {
		keys, next, err := e.c.Scan(ctx, cursor, prefix(name)+"*", 1000).Result()
		if err == nil && len(keys) > 0 {
			err = e.c.Unlink(ctx, keys...).Err()
		}
		if err != nil {
			return q.failed("remove", err)
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// prefix of all keys of a queue. The braces keep them in one slot of a cluster.
func prefix(name string) string { return "{tandem:" + name + "}:" }

// failed words an error of the server; nil stays nil, and causes of a context stay what they are.
func (q *Queue) failed(op string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, tandem.ErrClosed) {
		return err
	}
	e := &tandem.Error{Op: op + " the queue", On: q.cfg.Name, Kind: tandem.KindQueue, Message: err.Error(), Err: err, Again: tandem.AgainYes}
	switch text := err.Error(); {
	case strings.HasPrefix(text, "OOM"):
		e.Hint = "the server has no memory left: raise maxmemory, or give the queue smaller bounds"
	case strings.HasPrefix(text, "MISCONF"):
		e.Hint = "the server cannot write its file: look at its disk"
	case strings.HasPrefix(text, "READONLY"):
		e.Hint = "this is a replica: connect to the primary"
	case strings.HasPrefix(text, "WRONGTYPE"):
		e.Hint, e.Again = "keys under "+strconv.Quote(prefix(q.cfg.Name))+" are not Tandem's: give the queue another name", tandem.AgainNever
	}
	return e
}
