package procpool

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"tandem"
	"tandem/internal/proc"
)

// maxTemplates is how often a template that dies is replaced before workers are started one by one again.
const maxTemplates = 5

// breed keeps a template: a process that has loaded the handler once and from which workers are forked. All are kept until the workers have ended, for with
// what holds a template what holds its workers would go.
func (p *Pool) breed(ctx context.Context) {
	for n := 1; ; n++ {
		t, why := p.template(ctx)
		var costs int64
		if t != nil {
			costs = forkedCosts + 2*t.PageTables()
		}
		p.mu.Lock()
		if t != nil {
			p.templates = append(p.templates, t)
		}
		p.current, p.noFork = t, t == nil
		p.spareCosts = costs
		close(p.bred)
		p.mu.Unlock()
		if t == nil {
			switch {
			case ctx.Err() != nil:
			case p.cfg.MustFork:
				p.giveUp(&tandem.Error{Op: "start worker", On: p.cfg.Step, Kind: tandem.KindStart, Message: "workers cannot be forked: " + why,
					Hint: "start: auto starts them one by one when they cannot be forked"})
			default:
				p.templateEvent("starting", "dead", why+"; workers are started one by one")
			}
			return
		}
		p.templateEvent("starting", "idle", "ready, pid "+itoa(t.PID()))
		select {
		case <-t.Gone():
		case <-ctx.Done():
			return
		}
		why = "it died, pid " + itoa(t.PID())
		p.templateEvent("idle", "dead", why)
		p.mu.Lock()
		p.current, p.bred = nil, make(chan struct{})
		if n == maxTemplates {
			p.noFork = true
			close(p.bred)
		}
		p.mu.Unlock()
		if n == maxTemplates {
			p.templateEvent("dead", "dead", "it died "+itoa(n)+" times; workers are started one by one")
			return
		}
	}
}

// template starts one and waits until it has loaded the handler, or says why it cannot.
func (p *Pool) template(ctx context.Context) (t *proc.Template, why string) {
	if spec := (proc.Spec{Limits: p.limitsOf(), Isolation: p.cfg.Isolation}); !spec.Forkable() {
		return nil, "the step has a limit of memory, core files or isolation, which is put around a program before it begins"
	}
	level := proc.Containment().Level
	if level == proc.BestEffort {
		return nil, "nothing here holds what is forked"
	}
	word, err := json.Marshal(map[string]any{"hello": p.hello(), "level": level})
	if err != nil {
		return nil, err.Error()
	}
	p.templateEvent("new", "starting", "")
	t, err = proc.StartTemplate(proc.Spec{Argv: p.cfg.Template, Dir: p.cfg.Dir, Env: p.environ(0, false), Output: func(stream int, chunk []byte) {
		if p.cfg.OnOutput != nil {
			p.cfg.OnOutput(0, stream, chunk) // what a module prints while it is imported, once for all
		}
	}})
	if err != nil {
		return nil, err.Error()
	}
	stop := context.AfterFunc(ctx, t.Kill)
	defer stop()
	answer, ok := t.Ask(word, p.cfg.StartTimeout)
	var said struct {
		Ready  bool
		Cannot string
	}
	if ok && json.Unmarshal(answer, &said) == nil && said.Ready {
		return t, ""
	}
	t.Close()
	if !ok {
		said.Cannot = "it died, or was not ready after " + p.cfg.StartTimeout.String() + ": " + t.Exit().String()
	}
	return nil, cmp.Or(said.Cannot, "it said nothing that is known")
}

func (p *Pool) templateEvent(from, to, reason string) {
	if p.cfg.OnEvent != nil {
		p.cfg.OnEvent(tandem.Event{Time: time.Now(), What: "template", ID: p.cfg.Step, From: from, To: to, Reason: reason})
	}
}

// launch starts a worker's program: forked from the template, or by itself where there is none.
func (p *Pool) launch(ctx context.Context, number int, spec proc.Spec) (*proc.Process, error) {
	alone := !spec.Forkable() // a limit or a cage is put around a program before it begins
	for p.cfg.Template != nil && !alone {
		p.mu.Lock()
		t, never, bred := p.current, p.noFork, p.bred
		p.mu.Unlock()
		if never {
			break
		}
		if t == nil {
			select {
			case <-bred:
				continue
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		spec.Extra = p.own(number)
		q, err := t.Fork(spec)
		if err == nil {
			return q, nil
		}
		p.templateEvent("idle", "idle", "worker "+itoa(number)+" is started by itself: "+err.Error())
		break
	}
	spec.Extra = nil
	return proc.Start(spec)
}

// closeTemplates ends them, when no worker is left.
func (p *Pool) closeTemplates() {
	for _, t := range p.templates {
		t.Close()
	}
	p.templates = nil
}
