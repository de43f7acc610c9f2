package mapper

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	memoryEvery = 100 * time.Millisecond // how often free memory is looked at with --memory
	boundEvery  = time.Second            // and for auto
	sayAfter    = 2 * time.Second        // waiting for memory is worth a word
	sayAgain    = 30 * time.Second
)

// lookAtMemory sees, now and then, whether there is enough free memory for another command. When less than half of that is left, the youngest command
// is killed and runs again later, as with parallel --memfree; the last one is left alone, because nothing else would go on.
func (r *run) lookAtMemory() {
	now := time.Now()
	if r.cfg.Memory == 0 || now.Sub(r.memoryAt) < memoryEvery {
		return
	}
	free := r.m.free()
	r.memoryAt, r.enough = now, free < 0 || free >= r.cfg.Memory
	switch {
	case r.enough:
		r.waiting = time.Time{}
		return
	case r.waiting.IsZero():
		r.waiting = now
	case now.Sub(r.waiting) > sayAfter && r.running == 0:
		r.cfg.OnNotice(fmt.Sprintf("waiting for memory: %s is free, --memory wants %s", bytesOf(free), bytesOf(r.cfg.Memory)))
		r.waiting = now.Add(sayAgain)
	}
	if free < r.cfg.Memory/2 && r.running > 1 && !r.killed && !r.newest.evicted {
		r.newest.evicted = true
		r.loop.Kill(r.newest.place)
	}
}

// bound lets more commands start again after the system has refused, one more each second, and lowers the bound of auto to what memory allows: the commands that run, and as many of their size as fit into half of what is free.
func (r *run) bound() {
	now := time.Now()
	if now.Sub(r.boundAt) < boundEvery {
		return
	}
	r.boundAt = now
	if r.room > 0 {
		r.room++
	}
	if r.sizer == nil || r.totals.rss == 0 {
		return
	}
	most := r.most
	if free := r.m.free(); free >= 0 {
		most = min(most, max(r.running, r.cfg.Cores)+int(free/2/r.totals.rss))
	}
	if r.room > 0 {
		most = min(most, r.room)
	}
	r.sizer.Most(most)
}

func bytesOf(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	default:
		return fmt.Sprintf("%d MiB", n>>20)
	}
}

func sortReasons(all []Reason) {
	slices.SortFunc(all, func(a, b Reason) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.What, b.What)) })
}
