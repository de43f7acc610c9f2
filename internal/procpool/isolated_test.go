package procpool

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"tandem"
	"tandem/internal/proc"
)

// How far workers are kept from the machine is told by an event, once, by the pool's state and by each crash report; and it holds while they work.
func TestIsolationHoldsAndIsTold(t *testing.T) {
	var r reports
	cfg := pyConfig(t, "")
	cfg.Handler, cfg.Workers, cfg.OnCrash = "box.py:f", 2, r.add
	code := "import os\ndef f(x):\n  if x == 'die': os.kill(os.getpid(), 9)\n  try: open('/etc/hostname').close(); return 'open'\n  except OSError as e: return e.strerror\n"
	if err := os.WriteFile(filepath.Join(cfg.Home, "box.py"), []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told []tandem.Event
	cfg.OnEvent = func(e tandem.Event) {
		mu.Lock()
		defer mu.Unlock()
		if e.What == "isolation" {
			told = append(told, e)
		}
	}
	where, err := proc.Run(t.Context(), proc.Command{Argv: []string{cfg.Argv[0], "-c", "import sys; print(sys.executable); print('\\n'.join([sys.prefix, sys.base_prefix] + [p for p in sys.path if p]))"}})
	if err != nil || where.Code != 0 {
		t.Fatal(err, where.Code)
	}
	lines := strings.Fields(string(where.Stdout))
	cfg.Argv = append([]string{lines[0]}, cfg.Argv[1:]...)
	cfg.Isolation = proc.Isolation{Sandbox: true}
	home, err := filepath.Abs(cfg.Home)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(lines[1:], home) {
		if _, err := os.Stat(p); err == nil {
			cfg.Isolation.Read = append(cfg.Isolation.Read, p)
		}
	}
	p := started(t, cfg)
	state := p.State().Isolation
	if state == nil {
		t.Fatal("the pool does not say how its workers are kept")
	}
	if state.Has("files") == "" {
		t.Skip("SKIPPED, NOT TESTED: ", state)
	}
	got := run(t, p, "a", "b", "die")
	for _, id := range []string{"a", "b"} {
		if v := string(got[id].Result.Value.Data); got[id].Result.Outcome != tandem.OK || v != `"Permission denied"` && v != "Permission denied" {
			t.Errorf("%s: %s %v", id, v, got[id].Result.Err)
		}
	}
	if got["die"].Result.Outcome != tandem.Crashed {
		t.Errorf("%+v", got["die"].Result)
	}
	if all := r.wait(t, 1); len(all) == 0 || all[0].Isolation == nil || all[0].Isolation.String() != state.String() {
		t.Errorf("%+v", all)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 1 || told[0].From != "sandbox" || told[0].To != state.State() {
		t.Errorf("%+v", told)
	}
}

func TestALimitOfProcessesBelowTheWorkersNeedIsNamed(t *testing.T) {
	cfg := testConfig("x")
	cfg.Argv, cfg.Isolation = []string{"/bin/sh", "-c", "sleep 60 & sleep 60 & exit 3"}, proc.Isolation{PIDs: 1}
	held, err := proc.Run(t.Context(), proc.Command{Argv: []string{"/bin/true"}, Isolation: cfg.Isolation})
	if err != nil || held.Isolation.Has("pids") == "" {
		t.Skip("SKIPPED, NOT TESTED: ", held.Isolation.String(), err)
	}
	e, ok := New(cfg).Run(t.Context()).(*tandem.Error)
	if !ok || e.Kind != tandem.KindCrash || !strings.Contains(e.Message, "cannot start with pids: 1") || !strings.HasPrefix(e.Hint, "raise pids") {
		t.Errorf("got %v", e)
	}
}
