package procpool

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem"
)

// A task that crashed its worker may be submitted again. Its attempts go on counting; nothing else is remembered of it.
func TestACrashedTaskMayBeSubmittedAgain(t *testing.T) {
	p := started(t, testConfig("behave"))
	task := &tandem.Task{ID: "bad", Value: tandem.TextValue("kill")}
	for n := 1; n <= 5; n++ {
		if err := p.Call(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		if task.Result.Outcome != tandem.Crashed || task.Attempts != n || task.Result.Err.Reason != "SIGKILL" {
			t.Errorf("time %d: %s %v after %d attempts", n, task.Result.Outcome, task.Result.Err, task.Attempts)
		}
	}
	task.Value = tandem.TextValue("good")
	if err := p.Call(t.Context(), task); err != nil || task.Result.Outcome != tandem.OK || task.Result.Err != nil || task.Attempts != 6 {
		t.Errorf("%+v after %d attempts, %v", task.Result, task.Attempts, err)
	}
	if s := p.State(); s.Attempts != 6 || s.Retries != 5 || s.Crashes != 5 {
		t.Errorf("state %+v", s)
	}
}

// A worker that dies without a word before it begins costs a task one of three lives. They are whole again when the task is submitted again.
func TestLossesDoNotAddUpOverSubmissions(t *testing.T) {
	cfg := testConfig("")
	deaths := filepath.Join(t.TempDir(), "deaths")
	cfg.Argv, cfg.Workers = []string{os.Args[0], "evil", "leaves", deaths}, 1
	p := started(t, cfg)
	task := &tandem.Task{ID: "x", Value: tandem.TextValue("x")}
	for n := 1; n <= 3; n++ {
		if err := os.WriteFile(deaths, []byte("12"), 0o644); err != nil { // as many deaths as there are bytes
			t.Fatal(err)
		}
		if err := p.Call(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		if task.Result.Outcome != tandem.OK || task.Attempts != n {
			t.Errorf("time %d: %s %v after %d attempts", n, task.Result.Outcome, task.Result.Err, task.Attempts)
		}
		p.mu.Lock()
		if len(p.lost) != 0 {
			t.Errorf("%d tasks are remembered", len(p.lost))
		}
		p.mu.Unlock()
	}
	if err := os.WriteFile(deaths, []byte("123"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := p.Call(t.Context(), task); err != nil || task.Result.Outcome != tandem.Crashed {
		t.Errorf("three deaths in a row: %s, %v", task.Result.Outcome, err)
	}
}

// What handlers say of another attempt reaches the task, whole; and what they do not say is not made up.
func TestWordsAboutAnotherAttempt(t *testing.T) {
	for name, cfg := range map[string]Config{"go": testConfig("again"), "python": pyConfig(t, "again")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := started(t, cfg)
			for text, want := range map[string]tandem.Error{
				"later": {Again: tandem.AgainYes, After: 1500 * time.Millisecond, Message: "busy"}, "again": {Again: tandem.AgainYes, Message: "busy"},
				"never": {Again: tandem.AgainNever, Message: "bad"}, "plain": {Message: "no"}, "wrapped": {Again: tandem.AgainNever, Message: "read: bad"},
			} {
				r := call(t, p, text).Result
				if e := r.Err; r.Outcome != tandem.Failed || e.Kind != tandem.KindException || e.Again != want.Again || e.After != want.After || !strings.HasSuffix(e.Message, want.Message) {
					t.Errorf("%s: %s %+v", text, r.Outcome, e)
				}
			}
		})
	}
}

// The environment of a worker.
func TestWorkersAreToldTheirBudgetAndRun(t *testing.T) {
	cfg := testConfig("env")
	cfg.Workers, cfg.Budget, cfg.Run = 1, 3, "r-17"
	cfg.Env = append(os.Environ(), "MKL_NUM_THREADS=9", "OMP_NUM_THREADS=")
	p := started(t, cfg)
	got := strings.Split(string(call(t, p, "").Result.Value.Data), "\n")
	for _, want := range []string{"TANDEM_RUN_ID=r-17", "TANDEM_STEP=test", "TANDEM_PLACE=1", "MKL_NUM_THREADS=9", "OMP_NUM_THREADS=", "OPENBLAS_NUM_THREADS=3", "GOMAXPROCS=3"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, no := range []string{"MKL_NUM_THREADS=3", "OMP_NUM_THREADS=3"} {
		if slices.Contains(got, no) {
			t.Errorf("%s is in the environment, against the user's own", no)
		}
	}
	cfg.Budget, cfg.Run = 0, ""
	got = strings.Split(string(call(t, started(t, cfg), "").Result.Value.Data), "\n")
	if slices.ContainsFunc(got, func(s string) bool {
		return strings.HasPrefix(s, "OPENBLAS_NUM_THREADS") || strings.HasPrefix(s, "TANDEM_RUN_ID")
	}) {
		t.Errorf("no budget and no run, but %q", got)
	}
}

// Batches through the pool, in both languages: as large as they come.
func TestBatches(t *testing.T) {
	for name, cfg := range map[string]Config{"go": testConfig("upper"), "python": pyConfig(t, "upper")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg.Batch = true
			p := started(t, cfg)
			for _, n := range []int{1, 2, 100, 20_000} {
				values := make([]tandem.Value, n)
				for i := range values {
					values[i] = tandem.TextValue(strings.Repeat("a", i%50))
				}
				values[n-1] = tandem.TextValue(strings.Repeat("b", 100_000))
				task := &tandem.Task{Value: tandem.ListOf(values)}
				if err := p.Call(t.Context(), task); err != nil {
					t.Fatal(err)
				}
				r := task.Result
				if r.Outcome != tandem.OK || r.Count != n || len(r.Rest) != n-1 {
					t.Fatalf("%d: %s %v, %d values", n, r.Outcome, r.Err, r.Count)
				}
				for i, v := range slices.Concat([]tandem.Value{r.Value}, r.Rest) {
					if v.Kind != tandem.Text || string(v.Data) != strings.ToUpper(string(values[i].Data)) {
						t.Fatalf("value %d of %d: %s %.20q for %.20q", i, n, v.Kind, v.Data, values[i].Data)
					}
				}
			}
			r := call(t, p, "short").Result
			if r.Outcome != tandem.Failed || r.Err.Reason != "batch" || !strings.Contains(r.Err.Message, "0 values for a batch of 1") || r.Err.Hint == "" {
				t.Errorf("a wrong count: %s %+v", r.Outcome, r.Err)
			}
		})
	}
}

func TestABatchNeedsAHandlerOfLists(t *testing.T) {
	for handler, want := range map[string]string{"fail": "takes string", "joins": "gives string"} {
		cfg := testConfig(handler)
		cfg.Batch = true
		err := New(cfg).Run(t.Context())
		if e, ok := err.(*tandem.Error); !ok || e.Kind != tandem.KindUnsupported || !strings.Contains(e.Message, want) {
			t.Errorf("%s: got %v, want %q", handler, err, want)
		}
	}
}
