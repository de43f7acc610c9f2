package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem"
	"tandem/internal/source"
)

// file is a sink with positions, as a file has them.
type file struct {
	lines []string // id outcome
	stop  int      // at so many lines call onStop
	on    func()
}

func (f *file) Write(ts []*tandem.Task) (int, error) {
	for _, t := range ts {
		f.lines = append(f.lines, t.ID+" "+string(t.Result.Outcome))
		if len(f.lines) == f.stop {
			f.on()
		}
	}
	return len(ts), nil
}
func (f *file) Close() error                   { return nil }
func (f *file) Position(bool) (int64, error)   { return int64(len(f.lines)), nil }
func (f *file) Resume(at int64) error          { f.lines = f.lines[:at]; return nil }
func (f *file) Forget(func(string) bool) error { return nil }
func (f *file) ids() (ids []string) {
	for _, l := range f.lines {
		id, _, _ := strings.Cut(l, " ")
		ids = append(ids, id)
	}
	return ids
}

// notes is a journal in memory. What is not in a transaction is lost with the run, as after a kill.
type notes struct {
	mu    sync.Mutex
	ended map[string]bool
	steps map[string][]Finished
	at    int64
	limit uint32 // of eight results so many are above the limit, and noted without their values
}

func (n *notes) Has(item string) bool        { n.mu.Lock(); defer n.mu.Unlock(); return n.ended[item] }
func (n *notes) Before(tandem.Outcome) int64 { return int64(len(n.ended)) }
func (n *notes) Finished(item string) ([]Finished, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := slices.Clone(n.steps[item])
	slices.SortFunc(list, func(a, b Finished) int { return a.Step - b.Step })
	return list, nil
}
func (n *notes) Steps(done []Finished) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range done {
		h := fnv.New32a()
		fmt.Fprint(h, f.Item, " ", f.Step)
		if h.Sum32()/8%8 < n.limit {
			f.Values = nil
		}
		f.Values = slices.Clone(f.Values)
		n.steps[f.Item] = append(n.steps[f.Item], f)
	}
}
func (n *notes) Begins(step int, items []string) error {
	for _, id := range items {
		n.Steps([]Finished{{Item: id, Step: step, Begun: true}})
	}
	return nil
}
func (n *notes) Withdraws(int, []string) {}
func (n *notes) Ended(items []*tandem.Task, whole []string, at int64) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range items {
		if t.Result.Outcome == tandem.Canceled {
			return errors.New("a canceled item has not ended")
		}
		n.ended[t.ID] = true
	}
	for _, id := range whole {
		n.ended[id] = true
	}
	n.at = at
	return nil
}

// fate is what a step does with a value: decided by the value, so that a model can say what must come out.
type fate struct {
	kind  string // ok, bad, memory, filter, fan
	fails int    // attempts that fail first
	n     int    // values it fans out into
}

func fateOf(step int, value string) fate {
	h := fnv.New32a()
	fmt.Fprint(h, step, " ", value)
	x := h.Sum32()
	f := fate{kind: "ok", fails: map[uint32]int{0: 1, 1: 2}[x/64%8]}
	switch x % 16 {
	case 0:
		f.kind = "bad"
		if x/4096%2 == 0 {
			f.kind = "memory"
		}
	case 1:
		f.kind = "filter"
	case 2, 3:
		f.kind, f.n = "fan", int(x/1024%4)+1
	}
	return f
}

// world runs handlers and remembers how often each value failed, and what was wrong with what earlier steps had given.
type world struct {
	mu    sync.Mutex
	steps []Step
	calls map[string]int
	wrong []string
}

// check sees to it that an item carries what those steps before this one gave that were to be kept: values only grow, so its value says what they were.
func (w *world) check(step int, t *tandem.Task) {
	at := len(t.Source.Data)
	for i, s := range w.steps[:step] {
		want := ""
		if s.When == nil || at%2 == 1 {
			if at++; t.Value.Data[at-1] == '.' {
				at++
			}
			if s.Keep {
				want = string(t.Value.Data[:at])
			}
		}
		got := ""
		if t.Earlier != nil {
			got = string(t.Earlier[i].Data)
		}
		if got != want {
			w.wrong = append(w.wrong, fmt.Sprintf("item %s in step %d: step %d gave %q, it carries %q", t.ID, step, i, want, got))
		}
	}
}

var (
	errBad    = &tandem.Error{Kind: "exception", Message: "bad"}
	errBusy   = &tandem.Error{Kind: "exception", Reason: "busy", Message: "busy"}
	errMemory = &tandem.Error{Kind: "memory", Message: "too much"}
)

func (w *world) handler(step int) func(context.Context, *tandem.Task) tandem.Result {
	return func(_ context.Context, t *tandem.Task) tandem.Result {
		w.mu.Lock()
		defer w.mu.Unlock()
		in := []tandem.Value{t.Value}
		if t.Batch != nil {
			in, _ = t.Value.Values()
			for _, b := range t.Batch {
				w.check(step, b)
			}
		} else {
			w.check(step, t)
		}
		var out []tandem.Value
		var failed *tandem.Error
		for _, v := range in {
			value := string(v.Data)
			f := fateOf(step, value)
			key := fmt.Sprint(step, " ", value)
			w.calls[key]++
			switch {
			case f.kind == "bad":
				failed = errBad
			case f.kind == "memory":
				failed = errMemory
			case w.calls[key] <= f.fails && failed == nil:
				failed = errBusy
			case t.Batch == nil && f.kind == "filter":
				return tandem.Result{Outcome: tandem.Filtered}
			case t.Batch == nil && f.kind == "fan":
				for i := range f.n {
					out = append(out, tandem.TextValue(value+"."+strconv.Itoa(i)))
				}
			default:
				out = append(out, tandem.TextValue(value+"-"))
			}
		}
		if failed != nil {
			e := *failed
			if failed == errMemory {
				return tandem.Result{Outcome: tandem.OutOfMemory, Err: &e}
			}
			return tandem.Result{Outcome: tandem.Failed, Err: &e}
		}
		return tandem.Result{Outcome: tandem.OK, Value: out[0], Rest: out[1:], Count: len(out)}
	}
}

// expect is the model: what must become of an item.
func expect(steps []Step, at int, id, value string, into map[string]string) {
	for ; at < len(steps); at++ {
		f := fateOf(at, value)
		batch := steps[at].Batch.Size > 0
		switch {
		case steps[at].When != nil && len(value)%2 == 0:
			continue
		case f.kind == "bad":
			into[id] = "failed"
			return
		case f.kind == "memory":
			into[id] = "out_of_memory"
			return
		case f.kind == "filter" && !batch:
			into[id] = "filtered"
			return
		case f.kind == "fan" && !batch && f.n > 1:
			for i := range f.n {
				expect(steps, at+1, id+"/"+strconv.Itoa(i+1), value+"."+strconv.Itoa(i), into)
			}
			return
		case f.kind == "fan" && !batch:
			value += ".0"
		default:
			value += "-"
		}
	}
	into[id] = "ok"
}

// Whatever the steps do, and however often the run is stopped and resumed, every item ends once, as the model says, and in order where order is asked for.
func TestRandomFlowsEndAsTheModelSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, 120).Draw(t, "items")
		w := &world{calls: map[string]int{}}
		flow := Flow{Name: "random", Source: source.Range(1, n), Order: rapid.Bool().Draw(t, "order")}
		for i := range rapid.IntRange(1, 4).Draw(t, "steps") {
			s := Step{Name: fmt.Sprint("s", i), Handler: Func{Do: w.handler(i)}, Keep: rapid.Bool().Draw(t, "keep"), Concurrency: rapid.IntRange(1, 20).Draw(t, "concurrency"),
				Queue: Bounds{Items: rapid.IntRange(1, 50).Draw(t, "queue")},
				Retry: Retry{Attempts: 4, Base: time.Microsecond, Max: time.Millisecond, When: func(_ tandem.Outcome, e *tandem.Error) bool { return e.Reason == "busy" }}}
			if rapid.IntRange(0, 3).Draw(t, "batch") == 0 {
				s.Batch = Batch{Size: rapid.IntRange(1, 9).Draw(t, "size"), Every: time.Millisecond}
			}
			if rapid.IntRange(0, 3).Draw(t, "when") == 0 {
				s.When = func(t *tandem.Task) (bool, error) { return len(t.Value.Data)%2 == 1, nil }
			}
			if rapid.IntRange(0, 3).Draw(t, "limited") == 0 {
				s.Limits = Limits{Concurrency: rapid.IntRange(1, 5).Draw(t, "limit")}
			}
			flow.Steps = append(flow.Steps, s)
		}
		w.steps = flow.Steps
		want := map[string]string{}
		for i := range n {
			v := strconv.FormatInt(i+1, 10)
			expect(flow.Steps, 0, v, v, want)
		}
		out, journal := &file{}, &notes{ended: map[string]bool{}, steps: map[string][]Finished{}, limit: rapid.Uint32Range(0, 8).Draw(t, "limit of notes")}
		flow.Sink, flow.Journal = out, journal
		kills := rapid.SliceOfN(rapid.IntRange(1, 60), 0, 3).Draw(t, "kills")
		for i := 0; ; i++ {
			ctx, cancel := context.WithCancelCause(context.Background())
			out.stop = 0
			if i < len(kills) {
				out.stop, out.on = len(out.lines)+kills[i], func() { cancel(tandem.ErrInterrupted) }
			}
			begun := len(out.lines)
			r, err := New(Config{}).Run(ctx, flow)
			cancel(nil)
			if sum := r.Items.Ended(); sum != r.Items.In+r.Items.Made || int(sum) != len(out.lines)-begun {
				t.Fatalf("run %d: in %d + made %d, %d ended, %d lines: %+v", i, r.Items.In, r.Items.Made, sum, len(out.lines)-begun, r.Items)
			}
			if err == nil {
				break
			}
			if !errors.Is(err, tandem.ErrInterrupted) {
				t.Fatal(err)
			}
			if err := out.Resume(journal.at); err != nil {
				t.Fatal(err)
			}
		}
		if len(w.wrong) > 0 {
			t.Fatalf("%d times an item did not carry what earlier steps gave: %s", len(w.wrong), w.wrong[0])
		}
		for i := range n {
			if id := strconv.FormatInt(i+1, 10); !journal.ended[id] {
				t.Fatalf("the journal does not know that all of item %s has ended", id)
			}
		}
		got := map[string]string{}
		for _, l := range out.lines {
			id, outcome, _ := strings.Cut(l, " ")
			if got[id] != "" {
				t.Fatalf("%s has two lines: %v", id, slices.DeleteFunc(slices.Clone(out.lines), func(l string) bool { return !strings.HasPrefix(l, strings.Split(id, "/")[0]+"/") }))
			}
			got[id] = outcome
		}
		if !maps.Equal(got, want) {
			var odd []string
			for id := range want {
				if got[id] != want[id] {
					odd = append(odd, fmt.Sprintf("%s: %q, want %q", id, got[id], want[id]))
				}
			}
			t.Fatalf("%d lines, want %d: %v", len(got), len(want), odd)
		}
		if flow.Order && len(kills) == 0 && !slices.IsSortedFunc(out.ids(), byNumbers) {
			t.Fatalf("not in order: %v", out.ids())
		}
	})
}

// byNumbers orders 2, 10/1, 10/2/1.
func byNumbers(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "/"), strings.Split(b, "/"), func(a, b string) int {
		x, _ := strconv.Atoi(a)
		y, _ := strconv.Atoi(b)
		return x - y
	})
}
