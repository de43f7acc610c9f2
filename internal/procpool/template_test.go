package procpool

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem"
)

const forkHandlers = `
import os, sys, time, random, signal, subprocess, threading, ctypes
loaded = os.getpid()
ballast = bytearray(8 << 20)
def echo(x): return x
def where(x):
    print("out", x); print("err", x, file=sys.stderr)
    return {"pid": os.getpid(), "parent": os.getppid(), "loaded": loaded, "place": os.environ["TANDEM_PLACE"], "step": os.environ["TANDEM_STEP"],
            "draw": random.random(), "masked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "group": os.getpgrp() == os.getpid(),
            "fds": sorted(int(f) for f in os.listdir("/proc/self/fd")), "init": open("/proc/1/comm").read().strip()}
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
	cfg.Handler, cfg.MustFork = "forked.py:"+handler, true
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

func TestForkedWorkerIsOneOfItsOwn(t *testing.T) {
	cfg := forkConfig(t, "where", "")
	cfg.Workers = 3
	var h heard
	h.listen(&cfg)
	p := started(t, cfg)
	var got []string
	for i := range 30 {
		got = append(got, string(call(t, p, strconv.Itoa(i)).Result.Value.Data))
	}
	t.Log(got[0], got[29])
}

func TestForkedPlain(t *testing.T) {
	p := started(t, forkConfig(t, "dies", ""))
	for range 3 {
		r := call(t, p, "die").Result
		if r.Outcome != tandem.Crashed {
			t.Error(r.Outcome, r.Err)
		}
		if r := call(t, p, "x").Result; r.Outcome != tandem.OK {
			t.Error(r.Err)
		}
	}
	_ = context.Background
	_ = syscall.Kill
}
