package compare

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem"
	"tandem/engine"
)

// scripted is a candidate whose runs are given.
func scripted(name string, seconds float64, foreign func(round int) float64) *Candidate {
	k := &Candidate{Name: name}
	for i := range 6 {
		s := seconds * (1 + .01*float64(i%3))
		k.samples = append(k.samples, Sample{Seconds: s, CPU: time.Duration(s * 1e9), Foreign: foreign(i)})
	}
	return k
}

func settled(a, b *Candidate) *Comparison {
	c := &Comparison{Candidates: []*Candidate{a, b}, cores: 2, Steady: -1, cfg: Config{Rounds: 6, Precise: .05}}
	c.settle()
	c.judge()
	return c
}

// A load that jumps while one of two runs takes the number away; one that is always there, or leaves a processor free, does not.
func TestForeignLoad(t *testing.T) {
	quiet := func(int) float64 { return 0 }
	for _, tt := range []struct {
		name             string
		a, b             func(int) float64
		withheld, jumped bool
	}{
		{"quiet", quiet, quiet, false, false},
		{"steady", func(int) float64 { return .9 }, func(int) float64 { return .9 }, false, false},
		{"jumps in two rounds", quiet, func(i int) float64 { return map[bool]float64{true: 1.6}[i > 3] }, false, true},
		{"jumps all the time", func(i int) float64 { return float64(i%2) * 1.8 }, func(i int) float64 { return float64(i%3) * .9 }, true, true},
		{"cannot be told", func(int) float64 { return -1 }, func(int) float64 { return -1 }, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := settled(scripted("a", 1, tt.a), scripted("b", 2, tt.b))
			if (c.Withheld != "") != tt.withheld || (c.Disturbed > 0) != tt.jumped {
				t.Fatalf("withheld %q, disturbed %d", c.Withheld, c.Disturbed)
			}
			d := c.Document("x", nil)
			if tt.withheld {
				if !strings.Contains(d.Sentence, "no number: other programs used 0.0 to 1.8") || d.Candidates[1].Ratio != nil || d.Candidates[1].Median == 0 && d.Fastest != "" {
					t.Errorf("%q %+v", d.Sentence, d.Candidates)
				}
				return
			}
			if r := c.Ratio(c.Candidates[1], c.Candidates[0]); math.Abs(r.Times-2) > .01 || !r.Told() {
				t.Errorf("%+v", r)
			}
			if !strings.HasPrefix(d.Sentence, "a is 2.00 ± 0.00 times as fast as b") {
				t.Error(d.Sentence)
			}
		})
	}
}

// The interval holds the true ratio about as often as it says, and says nothing of a single pair.
func TestRatioHoldsTheTruth(t *testing.T) {
	if r := ratioOf([]float64{math.Log(2)}); r.Told() {
		t.Errorf("one pair decides: %+v", r)
	}
	rapid.Check(t, func(t *rapid.T) {
		truth := rapid.Float64Range(.1, 10).Draw(t, "truth")
		noise := rapid.SliceOfN(rapid.Float64Range(-.1, .1), 3, 20).Draw(t, "noise")
		var logs []float64
		for _, n := range noise {
			logs = append(logs, math.Log(truth)+n)
		}
		r := ratioOf(logs)
		if r.Low > r.Times || r.High < r.Times || r.Times < truth*.9 || r.Times > truth*1.12 || r.Pairs != len(noise) {
			t.Fatalf("%+v for %v", r, truth)
		}
	})
}

func TestShapes(t *testing.T) {
	for text, want := range map[string]string{"process:2": "process ×2", "thread:8": "thread ×8", "thread:2x8": "thread 2×8", "process:2x8": "thread 2×8", "async:16": "async ×16", "goroutine:64": "goroutine ×64"} {
		if s, err := ParseShape(text); err != nil || s.String() != want {
			t.Errorf("%s is %s, %v", text, s, err)
		}
	}
	for _, bad := range []string{"", "process", "process:0", "process:-1", "process:99999", "fork:2", "goroutine:2x2", "thread:x", "thread:2x"} {
		if s, err := ParseShape(bad); err == nil {
			t.Errorf("%q is %v", bad, s)
		}
	}
}

func inputs(n int) (in []*tandem.Task) {
	for i := range n {
		v := tandem.TextValue(fmt.Sprint(i))
		in = append(in, &tandem.Task{ID: fmt.Sprint(i), Source: v, Value: v})
	}
	return in
}

// A handler that waits is faster with more in flight, gives the same, and sees each item as the step would.
func TestHandlerInGoroutines(t *testing.T) {
	h := &Handler{Inputs: inputs(40), Step: engine.Step{Name: "wait", Handler: engine.Func{Do: func(_ context.Context, t *tandem.Task) tandem.Result {
		time.Sleep(5 * time.Millisecond)
		if t.Source.Data == nil || string(t.Source.Data) != string(t.Value.Data) {
			return tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Message: "not its own source"}}
		}
		return tandem.Give(t.Value)
	}}}}
	c, err := h.Compare(t.Context(), Config{Rounds: 3, For: 2 * time.Second}, Plan{Shapes: []Shape{{tandem.Goroutine, 0, 4}}})
	if err != nil {
		t.Fatal(err)
	}
	d := c.Document("wait", h)
	k := slices.IndexFunc(d.Candidates, func(r Row) bool { return r.Name == "goroutine ×4" })
	if c.Withheld == "" && (d.Candidates[k].Ratio == nil || d.Candidates[k].Ratio.Times < 1.5) {
		t.Errorf("%+v", d.Candidates)
	}
	if d.Pick == nil || d.Pick.Name == "" {
		t.Errorf("pick %+v", d.Pick)
	}
	for _, n := range d.Notes {
		if strings.Contains(n, "WARNING") || strings.Contains(n, "do not end well") {
			t.Error(n)
		}
	}
}

// What gives something else in another mode is warned of; what gives something else each time is told.
func TestOutputsAreCompared(t *testing.T) {
	same, other := map[string]uint64{"1": 1, "2": 2}, map[string]uint64{"1": 1, "2": 3}
	a, b := &Candidate{Name: "a"}, &Candidate{Name: "b"}
	c := &Comparison{Candidates: []*Candidate{a, b}}
	for _, tt := range []struct {
		a, b []map[string]uint64
		want string
	}{
		{[]map[string]uint64{same, same}, []map[string]uint64{same, same}, ""},
		{[]map[string]uint64{same, same}, []map[string]uint64{same, other}, "WARNING: b gives something else than a for 1 of 2 items, item 2"},
		{[]map[string]uint64{same, other}, []map[string]uint64{same, other}, "something else each time"},
		{[]map[string]uint64{same}, []map[string]uint64{{"1": 1}}, "WARNING"},
	} {
		a.samples, b.samples = nil, nil
		for i := range tt.a {
			a.samples, b.samples = append(a.samples, Sample{Outputs: tt.a[i]}), append(b.samples, Sample{Outputs: tt.b[i]})
		}
		if got := strings.Join(c.outputs(), "\n"); tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestCommands(t *testing.T) {
	fast, slow, bad := Command("fast", []string{"sleep", "0.01"}), Command("slow", []string{"sleep", "0.05"}), Command("bad", []string{"sh", "-c", "echo no good >&2; exit 3"})
	c, err := Run(t.Context(), Config{Rounds: 3, For: 2 * time.Second}, []*Candidate{slow, fast, bad})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(bad.Left, "exit code 3: no good") {
		t.Errorf("bad is left out because of %q", bad.Left)
	}
	if r := c.Ratio(slow, fast); c.Withheld == "" && r.Times < 1.5 {
		t.Errorf("%+v", r)
	}
	d := c.Document("commands", nil)
	for _, ending := range Formats {
		var b bytes.Buffer
		if err := d.Write(&b, ending); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"fast", "slow", "no good"} {
			if !strings.Contains(b.String(), name) {
				t.Errorf("%s has no %q:\n%s", ending, name, &b)
			}
		}
		switch ending {
		case ".json":
			var back Document
			if err := json.Unmarshal(b.Bytes(), &back); err != nil || back.Sentence != d.Sentence {
				t.Errorf("%v %+v", err, back)
			}
		case ".csv":
			if rows, err := csv.NewReader(&b).ReadAll(); err != nil || len(rows) != 4 {
				t.Errorf("%v %v", rows, err)
			}
		}
	}
	if _, err := Run(t.Context(), Config{}, []*Candidate{Command("none", []string{"/does/not/exist"}), fast}); err == nil {
		t.Error("a program that is not there is compared")
	}
}

func TestOff(t *testing.T) {
	for _, tt := range []struct {
		p    [2]float64
		x    float64
		want float64
	}{{[2]float64{2, 4}, 3, 0}, {[2]float64{2, 4}, 1, -.5}, {[2]float64{2, 4}, 5, .25}} {
		if got := Off(tt.p, tt.x); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%v of %v is %v", tt.x, tt.p, got)
		}
	}
}
