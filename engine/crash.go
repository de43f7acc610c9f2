package engine

import "tandem"

// crashed passes a report on, without secrets.
func (e *Engine) crashed(c tandem.Crash) {
	if e.cfg.OnCrash == nil && e.picture == nil {
		return
	}
	if redact := e.flow.Redact; redact != nil {
		clean := func(texts ...*string) {
			for _, s := range texts {
				*s = string(redact(tandem.Value{Kind: tandem.Text, Data: []byte(*s)}).Data)
			}
		}
		clean(&c.Input, &c.Stderr, &c.What, &c.Why)
		c.Evidence = append([]tandem.Evidence(nil), c.Evidence...)
		for i := range c.Evidence {
			clean(&c.Evidence[i].Says)
		}
		if c.Stack != nil {
			s := *c.Stack
			clean(&s.Message, &s.Function, &s.File, &s.Text)
			c.Stack = &s
		}
	}
	if e.picture != nil {
		e.picture.crash(&c)
	}
	if e.cfg.OnCrash != nil {
		e.cfg.OnCrash(c)
	}
}
