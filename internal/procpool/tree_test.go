package procpool

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem"
)

const pyAwful = `
import os, signal, subprocess, threading, time
def spin():
    while True: pass
def lock():
    l = threading.Lock(); l.acquire(); l.acquire()
def awful(x):
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(s, signal.SIG_IGN)
    what, script = x.split(" ", 1)
    subprocess.Popen(["sh", "-c", script])
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: spin()
        os._exit(0)
    time.sleep(0.3)
    globals()[what]()
`

// having finds the processes that have this in their environment.
func having(t *testing.T, text string) (pids []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range all {
		if b, err := os.ReadFile(file); err == nil && bytes.Contains(b, []byte(text)) {
			pids = append(pids, strings.Split(file, "/")[2])
		}
	}
	return pids
}

// A hard timeout ends all of it, whatever it does, and says where it was.
func TestATimeoutEndsTheTree(t *testing.T) {
	for _, c := range []struct {
		language, how string
		caps          tandem.Caps
		reason        string
		function      string
	}{
		{"python", "spin", tandem.Caps{}, "", "spin"},
		{"python", "lock", tandem.Caps{}, "", "lock"},
		{"python", "spin", tandem.Caps{Soft: time.Second}, "", "spin"},
		{"python", "spin", tandem.Caps{CPUTime: 2 * time.Second}, tandem.ReasonCPUTime, "spin"},
		{"go", "spin", tandem.Caps{}, "", "spin"},
		{"go", "wait", tandem.Caps{}, "", "behave"},
		{"go", "wait", tandem.Caps{Soft: time.Second}, "", "behave"},
	} {
		name := fmt.Sprint(c.language, " ", c.how, " ", c.caps.Soft, " ", c.caps.CPUTime)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit := 2 * time.Second
			if c.caps.CPUTime > 0 {
				limit = 20 * time.Second // processor time comes first, also on a busy machine
			}
			run := fmt.Sprintf("awful-%d-%d", os.Getpid(), time.Now().UnixNano())
			cfg, item := testConfig("behave"), "awful "+c.how
			if c.language == "python" {
				cfg, item = pyConfig(t, ""), c.how+" "+awful
				cfg.Handler = "awful.py:awful"
				if err := os.WriteFile(filepath.Join(cfg.Home, "awful.py"), []byte(pyAwful), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var r reports
			cfg.Workers, cfg.Run, cfg.Timeout, cfg.Caps, cfg.OnCrash = 1, run, limit, c.caps, r.add
			p := started(t, cfg)
			tree := make(chan []string, 1) // before it is gone; the replacement is none of it
			go func() {
				time.Sleep(700 * time.Millisecond)
				p.mu.Lock()
				home := p.current
				p.mu.Unlock()
				were := having(t, run)
				if c.language == "python" { // what the next worker is forked from is none of it, nor is the process that waits to hold it
					were = slices.DeleteFunc(were, func(pid string) bool {
						below, _ := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
						return pid == strconv.Itoa(home.PID()) || above(pid) == home.PID() && len(below) == 0
					})
				}
				tree <- were
			}()
			begun := time.Now()
			res := call(t, p, item).Result
			if res.Outcome != tandem.TimedOut || res.Err.Reason != c.reason || !strings.Contains(res.Err.Message, c.function+" (") {
				t.Errorf("%s %v, want timed_out in %s", res.Outcome, res.Err, c.function)
			}
			dead := r.wait(t, 1)[0]
			were := <-tree
			if len(were) < 4 {
				t.Errorf("only %d processes in the tree", len(were))
			}
			left := were
			for {
				now := having(t, run)
				left = slices.DeleteFunc(left, func(pid string) bool { return !slices.Contains(now, pid) })
				if len(left) == 0 || time.Since(begun) > limit+5*time.Second {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			if len(left) > 0 {
				t.Errorf("processes %v are left %v after the limit", left, time.Since(begun)-limit)
			}
			t.Logf("gone %v after the limit", time.Since(begun)-limit)
			if dead.Stack == nil || !strings.Contains(dead.Stack.Function, c.function) {
				t.Errorf("stack %+v, want %s", dead.Stack, c.function)
			}
		})
	}
}

// above is the process above pid.
func above(pid string) (parent int) {
	status, _ := os.ReadFile("/proc/" + pid + "/status")
	if _, rest, ok := strings.Cut(string(status), "\nPPid:\t"); ok {
		_, _ = fmt.Sscan(rest, &parent)
	}
	return parent
}
