package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tandem"
	"tandem/internal/queue/jetstream"
)

// oldestServer syncs an atomic batch once; before it each message of one.
var oldestServer = [2]int{2, 15}

// clusterFindings looks at a cluster, or at the node of this machine, from here.
func clusterFindings(ctx context.Context, l link) []finding {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	reach := finding{name: "reach", costs: "nothing can be submitted, and no node can work"}
	e, err := l.connect("doctor", nil)
	if err != nil {
		reach.found = err.Error()
		if t, ok := err.(*tandem.Error); ok && t.Hint != "" {
			reach.costs += "; " + t.Hint
		}
		return []finding{reach}
	}
	defer func() { _ = e.Close() }()
	f, err := e.Facts(ctx)
	where := f.Server
	if f.Cluster != "" {
		where += " of cluster " + f.Cluster
	}
	reach.ok, reach.found = true, fmt.Sprintf("%s, round trip %v", where, f.Slowest.Round(10*time.Microsecond))
	list := []finding{reach, safety(l, f), serverVersion(f)}
	js := finding{name: "JetStream", ok: err == nil, found: "takes and keeps messages", costs: "there are no queues: start nats-server with -js, or enable it for the account"}
	if err != nil {
		js.found = err.Error()
		if t, ok := err.(*tandem.Error); ok && t.Hint != "" {
			js.costs = "there are no queues; " + t.Hint
		}
		return append(list, js)
	}
	list = append(list, js, copies(ctx, l, e, f), storage(f), messageSize(f), clock(f), syncing(l))
	return list
}

// safety is how the connection is kept from others.
func safety(l link, f jetstream.Facts) finding {
	c := finding{name: "access", costs: "whoever reaches the port reads and writes every run: ask for credentials, and use tls:// addresses"}
	switch {
	case l.nats == "":
		c.ok, c.found = true, "a socket that only this user may open"
	default:
		c.ok = f.Secured
		c.found = map[bool]string{true: "credentials", false: "no credentials asked for"}[f.Secured] + ", " + map[bool]string{true: "encrypted", false: "not encrypted"}[f.TLS]
	}
	return c
}

func serverVersion(f jetstream.Facts) finding {
	v := finding{name: "server", found: "nats-server " + f.Version, costs: fmt.Sprintf("older than %d.%d: with sync_interval: always each message of a batch is synced alone, some ten times slower, and before 2.12 there are no atomic batches at all; update the servers, one after the other", oldestServer[0], oldestServer[1])}
	parts := strings.SplitN(strings.TrimPrefix(f.Version, "v"), ".", 3)
	if len(parts) >= 2 {
		major, _ := strconv.Atoi(parts[0])
		minor, _ := strconv.Atoi(parts[1])
		v.ok = major > oldestServer[0] || major == oldestServer[0] && minor >= oldestServer[1]
	}
	return v
}

func copies(ctx context.Context, l link, e *jetstream.Engine, f jetstream.Facts) finding {
	c := finding{name: "copies", costs: "a server that is lost takes what it has with it: three servers keep three copies"}
	by, err := e.Replicas(ctx)
	if err != nil {
		c.found = err.Error()
		return c
	}
	most, few := min(3, f.Servers), 0
	for n, streams := range by {
		if n < most {
			few += streams
		}
	}
	c.found = plural(int64(f.Servers), "server") + fmt.Sprintf(", up to %d copies", most)
	c.ok = l.nats == "" || f.Servers >= 3 && few == 0
	if few > 0 {
		c.found += fmt.Sprintf("; %s made when there were fewer keep less", plural(int64(few), "stream"))
		c.costs = "those are lost with one server: nats stream edit --replicas 3, or let the runs end and submit anew"
	}
	if l.nats == "" {
		c.found += ", on this machine alone"
	}
	return c
}

func storage(f jetstream.Facts) finding {
	s := finding{name: "storage", ok: true, costs: "puts are refused when it is full: remove old runs (tandem runs rm --cluster --ended), or give the servers more (max_file_store)"}
	s.found = sizeText(f.Stored) + " used, no limit for the account; how full the servers' disks are only they can say"
	if f.Free >= 0 {
		s.found = fmt.Sprintf("%s used, %s left", sizeText(f.Stored), sizeText(f.Free))
		s.ok = f.Free > f.MaxStored/10
	}
	return s
}

func messageSize(f jetstream.Facts) finding {
	return finding{name: "messages", ok: f.Payload >= 1<<20, found: "up to " + sizeText(f.Payload), costs: "values up to 256 KiB travel in messages: set max_payload: 1MB or more"}
}

func clock(f jetstream.Facts) finding {
	skew := f.Skew
	if skew < 0 {
		skew = -skew
	}
	c := finding{name: "clock", ok: skew-f.SkewBound < 2*time.Second, costs: "--delay, the age of items and retention are off by as much; leases are not, each side measures them alone. Run chrony or ntpd on both"}
	side := "ahead of here"
	if f.Skew < 0 {
		side = "behind here"
	}
	c.found = fmt.Sprintf("the server is %v %s, ± %v", skew.Round(100*time.Microsecond), side, f.SkewBound.Round(100*time.Microsecond))
	return c
}

func syncing(l link) finding {
	s := finding{name: "sync", ok: true, found: "a setting of the servers that no client sees: sync_interval is 2 minutes unless set; always survives a power cut of all copies at once"}
	if l.nats == "" {
		s.found = "tandem node says it when it starts: --level process (0.1 s) or power (always)"
	}
	return s
}
