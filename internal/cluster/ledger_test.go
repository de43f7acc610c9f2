package cluster

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// came is an item as a tree: each alternative is what one run of a step made of it, itself or several.
type came struct {
	letter letter
	ways   [][]*came // an empty one means itself
}

func grow(r *rapid.T, l letter, depth int) *came {
	c := &came{letter: l}
	for way := range rapid.IntRange(1, 2).Draw(r, "runs") {
		n := rapid.IntRange(1, 3).Draw(r, "parts")
		if n == 1 || depth > 2 {
			c.ways = append(c.ways, nil)
			continue
		}
		share, rest := l.Shares/int64(n), l.Shares%int64(n)
		split := fmt.Sprint(l.name(), ".", way, ".", n)
		var parts []*came
		for i := range n {
			p := l
			p.ID, p.Shares, p.Splits = fmt.Sprintf("%s/%d", l.ID, i+1), share, append(slices.Clone(l.Splits), split)
			if i == 0 {
				p.Shares += rest
			}
			parts = append(parts, grow(r, p, depth+1))
		}
		c.ways = append(c.ways, parts)
	}
	return c
}

// all gives what gets to the submitter: everything that any run has made.
func (c *came) all() (letters []*letter) {
	for _, way := range c.ways {
		if way == nil {
			letters = append(letters, &c.letter)
		}
		for _, p := range way {
			letters = append(letters, p.all()...)
		}
	}
	return letters
}

// whole counts the lines of the one way of which all is in the sink; zero when there is none.
func (c *came) whole(sink map[string]string) int {
	for _, way := range c.ways {
		if way == nil && sink[c.letter.ID] == c.letter.name() {
			return 1
		}
		lines := 0
		for _, p := range way {
			n := p.whole(sink)
			if n == 0 {
				lines = 0
				break
			}
			lines += n
		}
		if lines > 0 {
			return lines
		}
	}
	return 0
}

// Whatever is split, run twice with another result, repeated, reordered and killed: the ledger takes a run for done exactly when all that came of one run of each step
// is there, and takes nothing else.
func TestLedgerIsDoneWhenAllIsThere(t *testing.T) {
	dirs := t.TempDir()
	runs := 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		dir := fmt.Sprint(dirs, "/", runs)
		must(r, mkdir(dir))
		var roots []*came
		var all []*letter
		for i := range rapid.IntRange(1, 5).Draw(r, "roots") {
			id := fmt.Sprint(i + 1)
			roots = append(roots, grow(r, letter{head: head{ID: id, Root: id, Shares: sharesIn1}}, 0))
			all = append(all, roots[i].all()...)
		}
		all = append(all, rapid.SliceOfN(rapid.SampledFrom(all), 0, 5).Draw(r, "repeated")...)
		todo := rapid.Permutation(all).Draw(r, "order")
		sink := map[string]string{}   // what the journal would know
		var under []*letter           // taken, and on the way to the sink
		has := func(id string) bool { // a journal knows the roots of which all has ended, too
			return sink[id] != "" || slices.ContainsFunc(roots, func(c *came) bool { return c.letter.ID == id && c.whole(sink) > 0 })
		}
		l, err := openLedger(dir, has, 0)
		must(r, err)
		must(r, l.feed(int64(len(roots)), true))
		for len(todo) > 0 {
			p := todo[0]
			todo = todo[1:]
			useless, err := l.knows(p)
			must(r, err)
			first, _, err := l.take(p)
			must(r, err)
			if first == useless {
				r.Fatalf("%s: first is %v, useless %v", p.name(), first, useless)
			}
			if first {
				under = append(under, p)
			}
			switch rapid.IntRange(0, 9).Draw(r, "fate") {
			case 0, 1: // killed: what is not in the sink comes again
				todo, under = append(todo, under...), nil
				must(r, l.close())
				l, err = openLedger(dir, has, int64(len(sink)))
				must(r, err)
			case 2, 3, 4, 5:
				for _, p := range under {
					if sink[p.ID] != "" {
						r.Fatalf("%s would be in the sink twice", p.ID)
					}
					sink[p.ID] = p.name()
				}
				under = nil
			}
			taken := maps.Clone(sink)
			for _, p := range under {
				taken[p.ID] = p.name()
			}
			whole, lines := true, 0
			for _, c := range roots {
				n := c.whole(taken)
				whole, lines = whole && n > 0, lines+n
			}
			n, fed := l.fed()
			if done := fed && l.roots() == n; done != whole {
				r.Fatalf("done is %v with %d of %d roots; everything there: %v", done, l.roots(), n, whole)
			}
			if whole && lines != len(taken) {
				r.Fatalf("%d lines in the sink, of which %d belong together", len(taken), lines)
			}
		}
		if l.roots() != int64(len(roots)) {
			r.Fatalf("all has come, and %d of %d roots are whole", l.roots(), len(roots))
		}
		must(r, l.close())
	})
}

func must(r *rapid.T, err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func mkdir(dir string) error { return os.Mkdir(dir, 0o700) }
