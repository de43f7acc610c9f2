package procpool

import (
	"time"

	"tandem"
)

// isolated notes how far a worker is kept from the machine, and tells of it when that is news.
func (p *Pool) isolated(i tandem.Isolation) {
	p.mu.Lock()
	news := p.stats.Isolation == nil || p.stats.Isolation.String() != i.String()
	if news {
		p.stats.Isolation = &i
	}
	p.mu.Unlock()
	if !news || p.cfg.OnEvent == nil || len(i.Requested) == 0 {
		return
	}
	p.cfg.OnEvent(tandem.Event{Time: time.Now(), What: "isolation", ID: p.cfg.Step, From: i.Level, To: i.State(), Reason: i.String()})
}
