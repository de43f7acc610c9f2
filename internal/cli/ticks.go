package cli

import (
	"sync"
	"time"
)

// progressMode is how progress is shown: as asked, and when nothing was asked redrawn in place on a terminal, a line now and then elsewhere.
func (a *app) progressMode(asked string) string {
	switch {
	case asked != "auto":
		return asked
	case a.tty:
		return "tty"
	}
	return "plain"
}

// drawnEvery is the time between two pictures, by mode. A mode that is not here shows none.
var drawnEvery = map[string]time.Duration{"tty": 100 * time.Millisecond, "plain": 5 * time.Second, "json": time.Second}

// ticks has something drawn again and again.
type ticks struct {
	quit chan struct{}
	done sync.WaitGroup
}

func newTicks() *ticks { return &ticks{quit: make(chan struct{})} }

// start calls draw, from one goroutine, until stop. In a mode that shows nothing it never does.
func (t *ticks) start(mode string, draw func()) {
	every := drawnEvery[mode]
	if every == 0 {
		return
	}
	t.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				draw()
			case <-t.quit:
				return
			}
		}
	})
}

// stop returns when draw is not called any more.
func (t *ticks) stop() {
	close(t.quit)
	t.done.Wait()
}

// smoothly is a rate that is shown: on a terminal a two-second average, which is calm enough to read; elsewhere that since the last line.
func smoothly(mode string, before, now, seconds float64, known bool) float64 {
	if known && mode == "tty" {
		return before + (now-before)*min(1, seconds/2)
	}
	return now
}
