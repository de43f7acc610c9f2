package procpool

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem"
	"tandem/internal/proc"
)

const forkHandlers = `
import os, sys, time, random, signal, subprocess, threading, ctypes
ballast = bytearray(8 << 20)
def echo(x): return x
def where(x):
    place = os.environ["TANDEM_PLACE"]
    sys.stdout.write(f"out{place}\n"); sys.stderr.write(f"err{place}\n")
    return {"pid": os.getpid(), "parent": os.getppid(), "place": os.environ["TANDEM_PLACE"], "step": os.environ["TANDEM_STEP"],
            "draw": random.random(), "masked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "group": os.getpgrp() == os.getpid(),
            "init": open("/proc/1/comm").read().strip()}
def leaves(x):
    subprocess.Popen(["sleep", x], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(float(x))
        os._exit(0)
    return x
def dies(x):
    if x.startswith("leave"): leaves(x.split()[1])
    if x.startswith("die") or x.startswith("leave"): os.kill(os.getpid(), 9)
    if x == "segv": ctypes.string_at(0)
    return x
def init(x):
    for s in range(1, 65):
        if s not in (9, 19, 32, 33):
            try: os.kill(os.getppid(), s)
            except OSError: pass
    return x
def big(x):
    global held
    held = b"\1" * (int(x) << 20)
    return x
def nap(x): time.sleep(float(x)); return x
`

func forkConfig(t testing.TB, handler, extra string) Config {
	cfg := pyConfig(t, "")
	if err := os.WriteFile(filepath.Join(cfg.Home, "forked.py"), []byte(forkHandlers+extra), 0o644); err != nil {
		t.Fatal(err)
	}
	cfg.Handler, cfg.MustFork, cfg.ArenaSize = "forked.py:"+handler, true, 64<<20
	return cfg
}

// heard gathers events and output.
type heard struct {
	mu     sync.Mutex
	events []tandem.Event
	out    map[int]string
}

func (h *heard) listen(cfg *Config) {
	h.out = map[int]string{}
	cfg.OnEvent = func(e tandem.Event) { h.mu.Lock(); h.events = append(h.events, e); h.mu.Unlock() }
	cfg.OnOutput = func(worker, _ int, b []byte) { h.mu.Lock(); h.out[worker] += string(b); h.mu.Unlock() }
}

func (h *heard) find(what, says string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, e := range h.events {
		if e.What == what && strings.Contains(e.To+" "+e.Reason, says) {
			n++
		}
	}
	return n
}

func (p *Pool) forker() int {
	for range 1000 {
		p.mu.Lock()
		t := p.current
		p.mu.Unlock()
		if t != nil {
			return t.PID()
		}
		time.Sleep(5 * time.Millisecond)
	}
	return 0
}

func TestForkedWorkersAreOfTheirOwn(t *testing.T) {
	cfg := forkConfig(t, "where", "")
	cfg.Workers = 3
	var h heard
	h.listen(&cfg)
	p := started(t, cfg)
	draws, places := map[float64]bool{}, map[string]bool{}
	for end := time.Now().Add(10 * time.Second); len(places) < 3 && time.Now().Before(end); {
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				task := call(t, p, "x")
				var at struct {
					PID, Parent       int
					Place, Step, Init string
					Draw              float64
					Masked            []int
					Group             bool
				}
				if err := json.Unmarshal(task.Result.Value.Data, &at); err != nil {
					t.Error(err, task.Result.Err)
					return
				}
				if at.Step != cfg.Step || !at.Group || len(at.Masked) > 0 || proc.Containment().Level == proc.Kernel && (at.PID != 2 || at.Parent != 1 || at.Init != "tandem-shim") {
					t.Errorf("%+v", at)
				}
				h.mu.Lock()
				defer h.mu.Unlock()
				if draws[at.Draw] {
					t.Errorf("two draws are %v", at.Draw)
				}
				draws[at.Draw], places[at.Place] = true, true
			})
		}
		wg.Wait()
	}
	if len(places) != 3 || !places["1"] || !places["3"] {
		t.Error(places)
	}
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		h.mu.Lock()
		lines, errs := 0, 0
		for i, text := range h.out {
			lines += strings.Count(text, "out"+itoa(i+1)+"\n")
			errs += strings.Count(text, "err"+itoa(i+1)+"\n")
		}
		n, of := len(draws), len(h.out)
		h.mu.Unlock()
		if lines == n && errs == n && of == 3 {
			return
		}
	}
	t.Errorf("output %v of %d tasks", h.out, len(draws))
}

// What a forked worker leaves behind ends with it, and nobody but it. The process above it is deaf to what comes from below.
func TestForkedWorkersEndAlone(t *testing.T) {
	cfg := forkConfig(t, "dies", "")
	cfg.Workers = 2
	p := started(t, cfg)
	for i, item := range []string{"die", "leave 7654321", "segv", "leave 7654321"} {
		task := call(t, p, item)
		if r := task.Result; r.Outcome != tandem.Crashed || item == "segv" && !strings.Contains(r.Err.Trace, "dies") {
			t.Errorf("%s: %s %v %q", item, r.Outcome, r.Err, r.Err.Trace)
		}
		if task := call(t, p, "fine"); task.Result.Outcome != tandem.OK {
			t.Errorf("after %d: %v", i, task.Result.Err)
		}
		if left := sleeping("7654321"); left > 0 {
			t.Errorf("%s left %d processes behind", item, left)
		}
	}
	p = started(t, forkConfig(t, "init", ""))
	for range 3 {
		if r := call(t, p, "x").Result; proc.Containment().Level == proc.Kernel && r.Outcome != tandem.OK {
			t.Errorf("a worker that sends signals to what is above it: %s %v", r.Outcome, r.Err)
		}
	}
}

// sleeping counts processes by an argument of theirs.
func sleeping(arg string) (n int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), "sleep\x00"+arg) {
			n++
		}
	}
	return n
}

func TestTheTemplateIsReplaced(t *testing.T) {
	cfg := forkConfig(t, "nap", "")
	var h heard
	h.listen(&cfg)
	p := started(t, cfg)
	busy := make(chan *tandem.Task)
	go func() { busy <- call(t, p, "1") }()
	for range maxTemplates {
		pid := p.forker()
		_ = syscall.Kill(pid, syscall.SIGKILL)
		for end := time.Now().Add(5 * time.Second); h.find("template", "it died, pid "+itoa(pid)) == 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		if r := call(t, p, "0.001").Result; r.Outcome != tandem.OK {
			t.Error(r.Err)
		}
	}
	if task := <-busy; task.Result.Outcome != tandem.OK || task.Attempts != 1 {
		t.Errorf("a template's death is felt by its workers: %v", task.Result.Err)
	}
	if n := h.find("template", "it died "+itoa(maxTemplates)+" times"); n != 1 {
		t.Errorf("%d events say that it is given up: %v", n, h.events)
	}
	p.mu.Lock()
	workers := slices.Clone(p.workers)
	p.mu.Unlock()
	for _, w := range workers {
		_ = syscall.Kill(w.process.PID(), syscall.SIGKILL)
	}
	if r := call(t, p, "0.001").Result; r.Outcome != tandem.OK { // by workers that were started one by one
		t.Error(r.Err)
	}
}

// Workers and templates are killed at random while items run: each item has an outcome, and nothing is left.
func TestRandomKillsBesideATemplate(t *testing.T) {
	cfg := forkConfig(t, "nap", "")
	token := "PROCPOOL_TEST=" + itoa(os.Getpid()) + t.Name()
	cfg.Env = append(os.Environ(), token)
	cfg.Workers = 3
	p := New(cfg)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(context.Background()) }()
	<-p.Ready()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	outcomes := map[tandem.Outcome]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				task := call(t, p, "0.002")
				mu.Lock()
				outcomes[task.Result.Outcome]++
				mu.Unlock()
			}
		})
	}
	const kills = 100
	killed, good := 0, -1
	for end := time.Now().Add(time.Minute); killed < kills && time.Now().Before(end); {
		time.Sleep(time.Duration(random.IntN(10000)) * time.Microsecond)
		mu.Lock()
		now := outcomes[tandem.OK]
		mu.Unlock()
		if now == good { // after each kill work goes on, however long a template takes to load
			continue
		}
		p.mu.Lock()
		pid := 0
		if killed%25 == 24 && p.current != nil {
			pid = p.current.PID()
		} else if n := len(p.workers); n > 0 {
			pid = p.workers[random.IntN(n)].process.PID()
		}
		p.mu.Unlock()
		if pid > 0 && syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed, good = killed+1, now
		}
	}
	close(stop)
	wg.Wait()
	if killed < kills || outcomes[tandem.OK] < kills || outcomes[tandem.Crashed] > kills {
		t.Errorf("%d kills: %v", killed, outcomes)
	}
	for o := range outcomes {
		if o != tandem.OK && o != tandem.Crashed {
			t.Errorf("%v", outcomes)
		}
	}
	t.Log(outcomes)
	p.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range environs {
		if b, _ := os.ReadFile(f); strings.Contains(string(b), token) {
			cmd, _ := os.ReadFile(filepath.Dir(f) + "/status")
			t.Errorf("left behind: %s %.100s", f, cmd)
		}
	}
}

// What must not be forked is not, and that is said; the workers are there all the same.
func TestWhatCannotBeForked(t *testing.T) {
	for source, says := range map[string]string{
		"t = threading.Thread(target=time.sleep, args=(60,), daemon=True); t.start()": "starts threads",
		"import socket; a, b = socket.socketpair()":                                   "leaves files or connections open",
		"f = open(__file__)":                                       "leaves files or connections open",
		"p = subprocess.Popen(['sleep', '60'], stdin=0)":           "starts processes",
		"os.environ['TANDEM_PLACE']":                               "TANDEM_PLACE",
		"if 'TANDEM_PLACE' not in os.environ: os._exit(5)":         "exit code 5",
		"if 'TANDEM_PLACE' not in os.environ: ctypes.string_at(0)": "SIGSEGV",
	} {
		t.Run(says, func(t *testing.T) {
			t.Parallel()
			cfg := forkConfig(t, "echo", source)
			err := New(cfg).Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), "cannot be forked") || !strings.Contains(err.Error(), says) {
				t.Errorf("where it must be forked: %v", err)
			}
			cfg.MustFork = false
			var h heard
			h.listen(&cfg)
			p := started(t, cfg)
			if r := call(t, p, "x").Result; r.Outcome != tandem.OK {
				t.Error(r.Err)
			}
			if h.find("template", says) != 1 {
				t.Errorf("it is not said: %+v", h.events)
			}
		})
	}
}

// A limit or a cage is put around a program before it begins: there is no template, and that is said.
func TestWhatIsLimitedIsNotForked(t *testing.T) {
	for name, limit := range map[string]func(*Config){
		"memory": func(c *Config) { c.Caps.Memory = 1 << 30 }, "core": func(c *Config) { c.Caps.Core = 1 << 20 }, "isolation": func(c *Config) { c.Isolation.PIDs = 100 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := forkConfig(t, "echo", "")
			limit(&cfg)
			if err := New(cfg).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be forked") {
				t.Errorf("where it must be forked: %v", err)
			}
			cfg.MustFork = false
			var h heard
			h.listen(&cfg)
			p := started(t, cfg)
			if r := call(t, p, "x").Result; r.Outcome != tandem.OK {
				t.Error(r.Err)
			}
			if h.find("template", "put around a program before it begins") != 1 || h.find("template", "idle") != 0 {
				t.Errorf("%+v", h.events)
			}
		})
	}
}

// A recycled worker's replacement is forked as well, and bears its number; the spare goes on waiting for a death.
func TestRecycledWorkersAreForked(t *testing.T) {
	cfg := forkConfig(t, "where", "")
	cfg.Workers, cfg.Spares, cfg.Recycle = 1, 1, Recycle{Items: 3}
	var h heard
	h.listen(&cfg)
	p := started(t, cfg)
	spare := p.spareIs(10 * time.Second)
	for end := time.Now().Add(20 * time.Second); p.State().Recycled < 3 && time.Now().Before(end); {
		r := call(t, p, "x").Result
		var at struct{ Place string }
		if err := json.Unmarshal(r.Value.Data, &at); err != nil || at.Place != "1" {
			t.Fatalf("%s %v %v", r.Value.Data, r.Err, err)
		}
	}
	if s := p.State(); s.Recycled < 3 || s.Crashes+s.Losses+s.BootFailures != 0 {
		t.Errorf("%+v", s)
	}
	if now := p.spareIs(time.Second); spare == 0 || now != spare {
		t.Errorf("spare %d, then %d", spare, now)
	}
	if h.find("template", "idle") != 1 || h.find("template", "started by itself") != 0 {
		t.Errorf("%+v", h.events)
	}
}

// A module that fails says the same, forked or not.
func TestAModuleThatFailsSaysTheSame(t *testing.T) {
	var said []string
	for _, fork := range []bool{true, false} {
		cfg := pyConfig(t, "")
		cfg.Handler = "broken.py:f"
		if err := os.WriteFile(filepath.Join(cfg.Home, "broken.py"), []byte("x = 1\ny = x / 0\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if !fork {
			cfg.Template = nil
		}
		e, ok := New(cfg).Run(t.Context()).(*tandem.Error)
		if !ok {
			t.Fatal("it runs")
		}
		said = append(said, strings.ReplaceAll(e.Kind+e.Message+e.Hint+e.Trace, cfg.Home, ""))
	}
	if said[0] != said[1] || !strings.Contains(said[0], "ZeroDivisionError") {
		t.Errorf("%q", said)
	}
}

// The death of a worker with much memory is known before the memory is gone, whatever language it is in.
func TestADeathIsSeenBeforeItsMemoryIsGone(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
	}{{"python", forkConfig(t, "big", "")}, {"go", testConfig("hold")}} {
		t.Run(c.name, func(t *testing.T) {
			var h heard
			c.cfg.Workers = 1
			h.listen(&c.cfg)
			p := started(t, c.cfg)
			if r := call(t, p, "256").Result; r.Outcome != tandem.OK {
				t.Fatal(r.Err)
			}
			p.mu.Lock()
			w := p.workers[0]
			p.mu.Unlock()
			_ = syscall.Kill(w.process.PID(), syscall.SIGKILL)
			<-w.process.Done()
			if h.find("worker", "the kernel is ending it") != 1 {
				t.Errorf("%+v", h.events)
			}
			if r := call(t, p, "1").Result; r.Outcome != tandem.OK {
				t.Error(r.Err)
			}
		})
	}
}
