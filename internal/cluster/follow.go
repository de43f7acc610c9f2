package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"tandem"
	"tandem/internal/queue/jetstream"
)

// silence is how long the queue may say nothing before that is said: choosing a leader takes a few seconds.
const silence = 10 * time.Second

// follow looks at what becomes of the run elsewhere, until ctx is done: a run that was canceled ends its submitter, and Say is told what it waits for.
func (s *Submission) follow(ctx context.Context, end func(error)) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	said := ""
	say := func(now string) {
		if now != said {
			if said = now; s.Say != nil {
				s.Say(now)
			}
		}
	}
	answered := time.Now()
	for {
		m, err := s.Hub.Get(ctx, s.Manifest.Run)
		switch {
		case ctx.Err() != nil:
			return
		case isKind(err, tandem.KindInvalid):
			end(&tandem.Error{Op: "follow the run", On: s.Manifest.Run, Kind: tandem.KindCanceled, Message: "it was removed from the cluster", Hint: "what had come back is in the sink; submit it again for the rest"})
			return
		case err == nil && m.State == Canceled:
			end(&tandem.Error{Op: "follow the run", On: m.Run, Kind: tandem.KindCanceled, Message: "it was canceled: " + m.Why, Hint: "what had come back is in the sink; submit it again for the rest"})
			return
		case err == nil:
			answered = time.Now()
			say(s.waits(ctx, m))
		case time.Since(answered) > silence:
			say("no word from the queue: " + cause(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// waits says what the run waits for; empty when it goes on.
func (s *Submission) waits(ctx context.Context, m Manifest) string {
	if m.State == Paused {
		return strings.TrimSuffix("the run is paused: "+m.Why, ": ")
	}
	if d := time.Until(m.NotBefore); d > 0 {
		return "nodes begin at " + m.NotBefore.Local().Format(time.DateTime)
	}
	nodes, err := s.Hub.Nodes(ctx)
	if err != nil {
		return ""
	}
	if len(nodes) == 0 {
		return "no node is there"
	}
	all := Unable(m, nodes)
	for _, n := range nodes {
		for _, i := range n.Steps {
			if i.Run == m.Run && i.State == Serving && i.Why != "" {
				all = append(all, fmt.Sprintf("step %s on %s: %s", i.Step, n.Name, i.Why))
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full != "" {
		all = append(all, "the source: "+s.full)
	}
	return strings.Join(all, "; ")
}

// stuck notes why nothing can be fed; nil says that it goes on.
func (s *Submission) stuck(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full = ""; why != nil {
		s.full = cause(why)
	}
}

// cause words an error of the queue in one line.
func cause(err error) string {
	e, ok := errors.AsType[*tandem.Error](err)
	switch {
	case ok && jetstream.Full(err):
		return e.Message + "; " + e.Hint
	case ok && e.Hint != "":
		return e.Hint
	}
	return err.Error()
}

func isKind(err error, kind string) bool {
	e, ok := errors.AsType[*tandem.Error](err)
	return ok && e.Kind == kind
}
