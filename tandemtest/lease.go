package tandemtest

import (
	"errors"
	"fmt"
	"time"

	"tandem"
)

// tries is how many times a row is begun that must stay within a lease. A machine that stands still for as long shows nothing, neither good nor bad.
const tries = 20

// stalled tells whether so much of a lease has passed that it may be over.
func stalled(since time.Time, lease time.Duration) bool { return time.Since(since) > lease*8/10 }

// lapses checks what becomes of a lease that nobody extends.
func lapses(q queued, lease time.Duration) {
	q.put(message("a"))
	taken := time.Now()
	held := q.one()
	for range tries {
		begun := time.Now()
		next := q.take(1, lease/3)
		if len(next) > 0 && !stalled(taken, lease) {
			q.Fatal("it came again before its lease was over")
		}
		before := held
		if taken = begun; len(next) > 0 {
			held = next[0]
		} else {
			taken = time.Now()
			held = q.one()
		}
		if held.Message().ID != "a" || held.Attempt() != before.Attempt()+1 {
			q.Fatalf("came %s at attempt %d, want a at %d", held.Message().ID, held.Attempt(), before.Attempt()+1)
		}
		if err := q.Done(q.Context(), before); !errors.Is(err, tandem.ErrLost) {
			q.Fatalf("Done of a lapsed lease: %v, want ErrLost", err)
		}
		if err := q.Done(q.Context(), held); err == nil {
			q.none(2 * lease)
			return
		} else if !stalled(taken, lease) {
			q.Fatalf("Done: %v", err)
		}
	}
	q.Fatal("this machine stands still again and again: nothing was shown")
}

// extends checks that a lease that is extended in time stays for much longer than it is.
func extends(q queued, lease time.Duration) {
	q.put(message("a"))
next:
	for range tries {
		l := q.one()
		at := time.Now()
		if l.Extend(q.Context()) != nil { // it was long on its way
			continue
		}
		for range 8 {
			time.Sleep(lease * 3 / 8)
			late := stalled(at, lease)
			at = time.Now()
			if err := l.Extend(q.Context()); late {
				continue next
			} else if err != nil {
				if stalled(at, lease/2) {
					continue next
				}
				q.Fatalf("Extend: %v", err)
			}
		}
		came := q.take(1, lease/8)
		late := stalled(at, lease)
		if len(came) > 0 && !late {
			q.Fatal("it came again although its lease was extended")
		}
		if err := q.Done(q.Context(), l); err == nil {
			q.none(lease * 3 / 2)
			return
		} else if !late && !stalled(at, lease) {
			q.Fatalf("Done: %v", err)
		}
	}
	q.Fatal("this machine stands still again and again: nothing was shown")
}

// waits checks that a message with a time comes at that time, and one without before it.
func waits(q queued) {
	for try := range tries {
		later, now := fmt.Sprint("later", try), fmt.Sprint("now", try)
		due := time.Now().Add(400 * time.Millisecond)
		q.put(tandem.Message{ID: later, NotBefore: due}, message(now))
		first := q.one()
		s := q.stats()
		early := time.Now().Before(due)
		if early && s.Delayed+s.Leased < 2 {
			q.Errorf("stats: %+v; want the delayed message among them", s)
		}
		second := q.one()
		if time.Now().Before(due.Add(-5 * time.Millisecond)) {
			q.Errorf("it came %v early", time.Until(due))
		}
		q.done(first, second)
		if early {
			if first.Message().ID != now || second.Message().ID != later || second.Attempt() != 1 {
				q.Errorf("came %s, and %s at attempt %d", first.Message().ID, second.Message().ID, second.Attempt())
			}
			return
		}
	}
	q.Fatal("this machine stands still again and again: nothing was shown")
}
