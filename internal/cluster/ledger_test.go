package cluster

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is split, repeated, reordered and killed: the ledger takes a run for done exactly when everything of it has come back, and takes each item once.
func TestLedgerIsDoneWhenAllIsThere(t *testing.T) {
	dirs := t.TempDir()
	runs := 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		dir := fmt.Sprint(dirs, "/", runs)
		must(r, mkdir(dir))
		type part struct {
			id, root string
			shares   int64
		}
		var split func(p part, depth int) []part
		split = func(p part, depth int) []part {
			n := rapid.IntRange(1, 3).Draw(r, "parts")
			if n == 1 || depth > 2 {
				return []part{p}
			}
			share, rest := p.shares/int64(n), p.shares%int64(n)
			var all []part
			for i := range n {
				c := part{fmt.Sprintf("%s/%d", p.id, i+1), p.root, share}
				if i == 0 {
					c.shares += rest
				}
				all = append(all, split(c, depth+1)...)
			}
			return all
		}
		roots := rapid.IntRange(1, 5).Draw(r, "roots")
		var all []part
		for i := range roots {
			id := fmt.Sprint(i + 1)
			all = append(all, split(part{id, id, sharesIn1}, 0)...)
		}
		all = append(all, rapid.SliceOfN(rapid.SampledFrom(all), 0, 5).Draw(r, "repeated")...)
		all = rapid.Permutation(all).Draw(r, "order")
		sink := map[string]bool{} // what the journal would know
		has := func(id string) bool { return sink[id] }
		l, err := openLedger(dir, has, 0)
		must(r, err)
		must(r, l.feed(int64(roots), true))
		for todo := slices.Clone(all); len(todo) > 0; {
			p := todo[0]
			todo = todo[1:]
			first, _, err := l.take(p.id, p.root, p.shares)
			must(r, err)
			if first == sink[p.id] {
				r.Fatalf("%s: first is %v, and the sink has it: %v", p.id, first, sink[p.id])
			}
			switch rapid.IntRange(0, 9).Draw(r, "fate") {
			case 0: // killed before the line is in the sink: it comes again
				if first {
					todo = append(todo, p)
				} else {
					sink[p.id] = true
				}
				fallthrough
			case 1: // killed
				if len(todo) == 0 || todo[len(todo)-1] != p {
					sink[p.id] = true
				}
				must(r, l.close())
				l, err = openLedger(dir, has, int64(len(sink)))
				must(r, err)
			default:
				sink[p.id] = true
			}
			whole := true
			for _, p := range all {
				whole = whole && sink[p.id]
			}
			n, fed := l.fed()
			if done := fed && l.roots() == n; done != whole {
				r.Fatalf("done is %v with %d of %d roots; everything there: %v", done, l.roots(), n, whole)
			}
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
