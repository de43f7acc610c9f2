package faults

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"tandem"
)

// left are faults 22 to 24: what a program leaves behind.
func left() []row {
	return []row{
		{n: 22, fault: "a daemon is left (setsid, two forks)", lang: "python", step: py("daemon")},
		{n: 22, fault: "a daemon is left (setsid, two forks)", lang: "go", step: golang("daemon")},
		{n: 22, fault: "a daemon is left (setsid, two forks)", lang: "command", step: sh(`(setsid sleep 600 >/dev/null 2>&1 &) ; echo $n`), late: func(r *run) {
			if n := len(r.watch.parts()["child"]); n > 0 {
				r.Errorf("%d daemons of commands that have ended", n)
			}
		}, quick: true},
		{n: 23, fault: "a fork bomb", lang: "python", as: "root", needs: "pids group", step: py("bomb", "isolation: {pids: 60}", "timeout: 2s", once), bad: five("timed_out"), why: "timeout/proven", check: func(r *run) {
			if b, _ := os.ReadFile(filepath.Join(r.dir, "bomb")); string(b) != "Resource temporarily unavailable" {
				r.Errorf("the bomb got %q", b)
			}
		}},
		{n: 23, fault: "a tree that forks and exits without end", lang: "command", step: sh(`test $n != 5 || { comet() { (setsid sh comet.sh >/dev/null 2>&1 &) ; }; echo 'sleep 0.01; (setsid sh comet.sh &)' > comet.sh; for i in 1 2 3 4 5 6; do comet; done; sleep 600; }`, "timeout: 1s", once), bad: five("timed_out"), why: "timeout/proven", late: func(r *run) {
			if n := len(r.watch.parts()["child"]); n > 0 {
				r.Errorf("%d of the tree are left", n)
			}
		}},
		{n: 24, fault: "1000 zombies: forks that nobody waits for", lang: "python", step: py("zombies"), quick: true},
		{n: 24, fault: "1000 zombies: forks that nobody waits for", lang: "command", step: sh(`i=0; while test $n = 5 -a $i -lt 1000; do (: &); i=$((i + 1)); done; echo $n`)},
	}
}

// parts are faults 25 to 31: Tandem itself is hit.
func parts() []row {
	return []row{
		{n: 25, fault: "kill -9 of Tandem", lang: "python", step: py("sleeps_once"), why: "any", inject: killParts("app"), check: resumed, quick: true},
		{n: 25, fault: "kill -9 of Tandem", lang: "go", step: golang("once"), why: "any", inject: killParts("app"), check: resumed},
		{n: 25, fault: "kill -9 of Tandem", lang: "command", step: sh(`test $n != 5 -o -e attempt || { touch attempt; sleep 1; echo -n 1 > culprit; sleep 600; }; echo $n`), why: "any", inject: killParts("app"), check: resumed},
		{n: 26, fault: "kill -9 of the warden: nothing that runs is harmed", lang: "go", step: golang("once"), why: "killed_externally/unknown", inject: func(r *run) {
			pid := r.worker("worker", 0)
			warden := r.part("warden")
			r.signal(warden, syscall.SIGKILL)
			time.Sleep(100 * time.Millisecond)
			r.signal(pid, syscall.SIGKILL) // its replacement needs another warden
		}, late: func(r *run) { r.part("warden") }, check: counts(0, 1, 0), quick: true},
		{n: 26, fault: "kill -9 of the warden: nothing that runs is harmed", lang: "python", step: py("sleeps_once"), why: "killed_externally/unknown", inject: func(r *run) {
			pid := r.worker("worker", 0)
			r.signal(r.part("warden"), syscall.SIGKILL)
			time.Sleep(100 * time.Millisecond)
			r.signal(pid, syscall.SIGKILL) // its replacement comes from the template
		}, check: counts(0, 1, 0)},
		{n: 26, fault: "kill -9 of the warden: the next command has another", lang: "command", step: sh(`test $n != 5 || echo -n 0 > culprit; sleep 0.4; echo $n`), inject: func(r *run) {
			r.until("culprit", "the culprit does not begin")
			r.signal(r.part("warden"), syscall.SIGKILL)
		}, late: func(r *run) { r.part("warden") }, check: counts(0, 0, 0)},
		{n: 27, fault: "kill -9 of a command's shim", lang: "command", step: sh(`test $n != 5 -o -e attempt || { touch attempt; echo -n 0 > culprit; exec sleep 600; }; echo $n`), why: "any", inject: func(r *run) { r.signal(r.parent(r.command()), syscall.SIGKILL) }},
		{n: 27, fault: "kill -9 of a busy worker's shim", lang: "python", step: py("sleeps_once"), why: "any", inject: killShim, check: counts(0, 0, 1), quick: true},
		{n: 27, fault: "kill -9 of a busy worker's shim", lang: "go", step: golang("once"), why: "any", inject: killShim, check: counts(0, 0, 1)},
		{n: 28, fault: "kill -9 of Tandem and the warden together", lang: "python", step: py("sleeps_once"), why: "any", inject: killParts("warden", "app"), check: resumed, quick: true},
		{n: 28, fault: "kill -9 of Tandem, warden and every shim together", lang: "go", step: golang("once"), why: "any", inject: killParts("warden", "shim", "app"), check: resumed},
		{n: 28, fault: "kill -9 of Tandem, warden and every shim together", lang: "command", step: sh(`test $n != 5 -o -e attempt || { touch attempt; echo -n 1 > culprit; sleep 600; }; echo $n`), why: "any", inject: killParts("warden", "shim", "app"), check: resumed},
		{n: 29, fault: "Tandem dies between a fork and the death signal", lang: "python", needs: "strace", flow: plainFlow, why: "any", free: true, inject: between,
			under: []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=prctl", "-e", "inject=prctl:delay_enter=150000"}},
		{n: 31, fault: "threads of the application end", lang: "go", flow: plainFlow, check: embedded, quick: true},
	}
}

const plainFlow = `tandem: v1
name: fault
from: {range: 1..12}
steps:
  - {name: work, python: "HANDLERS:good", mode: process, workers: 2}
into: {jsonl: out.jsonl}
`

// bigFlow fills what its journal and its sink lie on.
const bigFlow = `tandem: v1
name: fault
from: {range: 1..400}
steps:
  - {name: work, python: "HANDLERS:big", mode: process, workers: 2}
  - {name: then, python: "HANDLERS:same", mode: process, workers: 2}
into: {jsonl: out.jsonl}
`

// onSmall runs it with a file system of its own, of that size, on a directory.
func onSmall(dir, size string) []string {
	return []string{"unshare", "-U", "-r", "-m", "sh", "-c", `mkdir -p ` + dir + ` && mount -t tmpfs -o size=` + size + ` none ` + dir + ` && exec "$@"`, "sh"}
}

// full checks that a run that could not write says what and what to do, and that its totals are true.
func full(words ...string) func(*run) {
	return func(r *run) {
		refused(append(words, "no space left on device")...)(r)
		if n := r.report.Items["unwritten"]; r.report.Items["in"] == 0 || n == 0 || r.flow == bigFlow && len(r.items_) != r.report.Items["in"]-n {
			r.Errorf("%v, %d lines", r.report.Items, len(r.items_))
		}
	}
}

func killShim(r *run) { r.signal(r.worker("shim", 0), syscall.SIGKILL) }

// killParts kills parts of the run, in this order and with nothing between, when the culprit runs.
func killParts(names ...string) func(*run) {
	return func(r *run) {
		r.until("culprit", "the culprit does not begin")
		r.killed = true
		found := r.watch.parts()
		for _, name := range names {
			for _, pid := range found[name] {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		begun := time.Now()
		<-r.ended
		if left := r.watch.vanished(time.Second); len(left) > 0 {
			r.Errorf("a second after %s was killed: %s", strings.Join(names, " and "), strings.Join(left, "; "))
		}
		r.Logf("nothing is left after %v", time.Since(begun).Round(time.Millisecond))
	}
}

// resumed goes on with a run that was killed: then every item has its one outcome.
func resumed(r *run) {
	r.watch.end()
	r.write("release", "")
	r.out.Reset()
	r.start(r.user, "--resume")
	<-r.ended
	r.killed = false
	r.read()
	if code := r.cmd.ProcessState.ExitCode(); code != 0 || len(r.items_) != r.items {
		r.Errorf("resumed: exit code %d, %d of %d items", code, len(r.items_), r.items)
	}
	for id, i := range r.items_ {
		if i.Outcome != "ok" {
			r.Errorf("item %s: %s %s", id, i.Outcome, i.Error.Message)
		}
	}
}

// refused checks that nothing ran and that the run says why.
func refused(words ...string) func(*run) {
	return func(r *run) {
		for _, w := range words {
			w = strings.ReplaceAll(w, "PLACE", place)
			if !strings.Contains(string(r.said.b), w) {
				r.Errorf("it does not say %q", w)
			}
		}
		if r.there("gated") && r.exit == 2 {
			r.Error("the first item was run")
		}
	}
}

// starting are faults 32 to 36.
func starting() []row {
	return []row{
		{n: 32, fault: "the interpreter is not there", lang: "python", step: py("good"), env: []string{"TANDEM_PYTHON=/no/such/python"}, exit: 2, free: true, check: refused("/no/such/python", "no such")},
		{n: 32, fault: "the program of a worker is not there", lang: "go", step: `worker: [./no-such-worker], handler: x`, exit: 2, free: true, check: refused("no-such-worker")},
		{n: 32, fault: "a command is not there", lang: "command", step: `run: [no-such-command, "${{ item }}"], ` + once, bad: everything("failed", 12), check: said("no-such-command"), quick: true},
		{n: 32, fault: "a script with a bad first line", lang: "command", step: `run: [PLACE/bad.sh, "${{ item }}"], ` + once, bad: everything("failed", 12), check: said("bad.sh")},
		{n: 33, fault: "every worker dies while it is imported", lang: "python", step: strings.Replace(py("x"), "HANDLERS:x", "PLACE/dies.py:x", 1), exit: 2, free: true, check: refused("exit code 3"), quick: true},
		{n: 33, fault: "every worker ends before it is ready", lang: "go", step: `worker: [sh, -c, "exit 3"], handler: x, workers: 2`, exit: 2, free: true, why: "any", check: refused("exit code 3")},
		{n: 34, fault: "a worker never says that it is ready", lang: "command", step: `worker: [sleep, "600"], handler: x, workers: 1`, exit: 2, free: true, why: "any", long: 250 * time.Second, check: refused("not ready after")},
		{n: 35, fault: "an item that kills every worker it meets", lang: "python", items: 100, step: py("poison"), bad: five("quarantined"), why: "killed_externally/unknown", check: counts(0, 2, 0), quick: true},
		{n: 35, fault: "an item that kills every worker it meets", lang: "go", items: 100, step: golang("poison"), bad: five("quarantined"), why: "killed_externally/unknown", check: counts(0, 2, 0)},
		{n: 35, fault: "a command that is killed each time", lang: "command", items: 40, step: sh(`test $n != 5 || kill -KILL $$; echo $n`), bad: five("quarantined"), why: "killed_externally/unknown"},
		{n: 36, fault: "a crash beside other items of one event loop", lang: "python", items: 40, step: `python: "HANDLERS:poison_async", mode: async, concurrency: 8, workers: 1`, bad: five("quarantined"), why: "killed_externally/unknown", check: alone},
		{n: 36, fault: "a crash beside seven other items", lang: "python", items: 40, step: `python: "HANDLERS:poison_beside", mode: thread, threads: 8, workers: 1`, bad: five("quarantined"), why: "killed_externally/unknown", check: alone, quick: true},
		{n: 36, fault: "a crash beside seven other items", lang: "go", items: 40, step: `worker: [WORKER], handler: poison, mode: thread, threads: 8, workers: 1`, bad: five("quarantined"), why: "killed_externally/unknown", check: alone},
	}
}

func said(what string) func(*run) {
	return func(r *run) {
		if e := r.items_["1"].Error; e.Kind != "start" || !strings.Contains(e.Message, what) {
			r.Errorf("it says %q", e.Message)
		}
	}
}

func alone(r *run) {
	if n := len(r.crashes); n < 2 || n > 3 {
		r.Errorf("%d crashes, want 2 or 3", n)
	}
}

// talking are faults 37 to 42.
func talking() []row {
	return []row{
		{n: 37, fault: "garbage on the channel", lang: "python", step: py("garbage", once), bad: five("crashed"), why: "protocol/proven", quick: true},
		{n: 37, fault: "garbage on the channel", lang: "go", step: golang("garbage", once), bad: five("crashed"), why: "protocol/proven"},
		{n: 37, fault: "bytes on standard output", lang: "go", step: golang("prints")},
		{n: 37, fault: "a frame of 1 GiB", lang: "python", step: py("oversized", once), bad: five("crashed"), why: "protocol/proven"},
		{n: 37, fault: "half a frame, then the end", lang: "python", step: py("truncated", once), bad: five("crashed"), why: "app_error/proven", says: "exit code 4"},
		{n: 37, fault: "print() and bytes on standard output", lang: "python", step: py("prints")},
		{n: 38, fault: "a worker closes its channel and lives on", lang: "python", step: py("closes", once), bad: five("crashed"), why: "any", check: channelGone, quick: true},
		{n: 38, fault: "a handler closes its worker's channel", lang: "go", step: golang("closes", once), bad: five("crashed"), why: "any", check: channelGone},
		{n: 38, fault: "its channel is closed, and it answers", lang: "python", step: py("closes_and_answers"), bad: five("quarantined"), why: "any", check: channelClosed(6, 10)},
		{n: 38, fault: "its channel is closed, and it answers", lang: "go", step: golang("closes_and_answers"), bad: five("quarantined"), why: "any", check: channelClosed(6, 10)},
		{n: 38, fault: "its channel is closed, and it answers", lang: "python", step: py("closes_and_answers", once), bad: five("crashed"), why: "any", check: channelClosed(3, 10)},
		{n: 38, fault: "its channel is closed, and it answers", lang: "go", step: golang("closes_and_answers", once), bad: five("crashed"), why: "any", check: channelClosed(3, 10)},
		{n: 38, fault: "its channel's descriptor is another file", lang: "python", step: py("reuses", once), bad: five("crashed"), why: "any", check: channelGone},
		{n: 38, fault: "its channel's descriptor is another file", lang: "go", step: golang("reuses", once), bad: five("crashed"), why: "any", check: channelGone},
		{n: 38, fault: "its channel is closed on its event loop", lang: "python", items: 40, step: `python: "HANDLERS:closes_async", mode: async, concurrency: 8, workers: 1`, bad: five("quarantined"), why: "any", check: channelClosed(2, 3)},
		{n: 38, fault: "its channel is closed while a thread reads it", lang: "python", items: 40, step: `python: "HANDLERS:closes_beside", mode: thread, threads: 4, workers: 1`, bad: five("quarantined"), why: "any", check: channelClosed(2, 3), quick: true},
		{n: 38, fault: "its channel is closed while a thread reads it", lang: "go", items: 40, step: `worker: [WORKER], handler: closes_beside, mode: thread, threads: 4, workers: 1`, bad: five("quarantined"), why: "any", check: channelClosed(2, 3)},
		{n: 38, fault: "its channel is closed while a thread reads it, and it answers", lang: "python", items: 40, step: `python: "HANDLERS:closes_and_answers", mode: thread, threads: 4, workers: 1`, bad: five("quarantined"), why: "any", check: channelClosed(2, 5)},
		{n: 38, fault: "its channel is closed while a thread reads it, and it answers", lang: "go", items: 40, step: `worker: [WORKER], handler: closes_and_answers, mode: thread, threads: 4, workers: 1`, bad: five("quarantined"), why: "any", check: channelClosed(2, 5)},
		{n: 38, fault: "its channel's descriptor is another file while a thread reads it", lang: "python", items: 40, step: `python: "HANDLERS:reuses", mode: thread, threads: 4, workers: 1`, bad: five("quarantined"), why: "any", check: channelClosed(2, 3)},
		{n: 38, fault: "its channel's descriptor is another file while a thread reads it", lang: "go", items: 40, step: `worker: [WORKER], handler: reuses, mode: thread, threads: 4, workers: 1`, bad: five("quarantined"), why: "any", check: channelClosed(2, 3)},
		{n: 39, fault: "64 MiB on standard error without a newline", lang: "go", step: golang("flood"), check: bounded},
		{n: 39, fault: "64 MiB on standard error without a newline", lang: "command", step: sh(`test $n != 5 || head -c 64m /dev/zero >&2; echo $n`), check: bounded},
		{n: 39, fault: "1 GiB on standard error without a newline", lang: "python", step: py("flood"), check: bounded, long: 2 * time.Minute},
		{n: 39, fault: "64 MiB on standard error without a newline", lang: "python", env: []string{"FAULT_FLOOD=64"}, step: py("flood"), check: bounded, quick: true},
		{n: 40, fault: "a grandchild keeps standard output open", lang: "command", step: sh(`sleep 600 & echo $n`), long: 20 * time.Second, quick: true},
		{n: 40, fault: "a child keeps everything open, its parent exits", lang: "python", step: py("holds", once), bad: five("crashed"), why: "app_error/proven", says: "exit code 7", long: 20 * time.Second},
		{n: 40, fault: "a child keeps everything open, its parent exits", lang: "go", step: golang("holds", once), bad: five("crashed"), why: "app_error/proven", says: "exit code 7", long: 20 * time.Second},
		{n: 41, fault: "an answer after the timeout", lang: "go", step: `worker: [WORKER], handler: late, mode: thread, threads: 4, workers: 1, timeout: 500ms, ` + once, bad: five("timed_out"), why: "any"},
		{n: 41, fault: "an answer after the timeout", lang: "python", step: `python: "HANDLERS:late", mode: thread, threads: 4, workers: 1, timeout: 500ms, ` + once, bad: five("timed_out"), why: "any", quick: true},
		{n: 42, fault: "no descriptors left in Tandem (EMFILE)", lang: "command", step: `shell: "sleep 0.3; echo ${{ item }}", concurrency: 30, retry: {attempts: 500, backoff: 100ms..300ms, when: [start]}`, items: 60, under: []string{"sh", "-c", `ulimit -n 64; exec "$@"`, "sh"}, why: "any"},
		{n: 42, fault: "no descriptors (EMFILE), and workers are replaced", lang: "python", step: sh(`sleep 0.3; echo $n`, `retry: {attempts: 500, backoff: 100ms..300ms, when: [start]}`) + "}\n  - {name: then, " + py("dies_once", "recycle: {items: 3}", "retry: {attempts: 500, backoff: 100ms..300ms, when: [start, crash]}"), items: 60, under: []string{"sh", "-c", `ulimit -n 130; exec "$@"`, "sh"}, why: "any"},
		{n: 42, fault: "no descriptors to begin with", lang: "go", step: golang("good"), under: []string{"sh", "-c", `ulimit -n 20; exec "$@"`, "sh"}, exit: 2, free: true, why: "any", check: refused("too many open files")},
		{n: 42, fault: "nothing can be written where runs are kept", lang: "python", as: "nobody", env: []string{"TANDEM_HOME=/proc/no-such"}, step: py("good"), exit: 2, free: true, check: refused("/proc/no-such")},
		{n: 42, fault: "no room where runs are kept, from the start", lang: "python", needs: "userns", flow: bigFlow, under: onSmall("$TANDEM_HOME", "100k"), exit: 2, free: true, check: refused("no space left on device", "TANDEM_HOME")},
		{n: 42, fault: "the journal's disk is full (ENOSPC)", lang: "python", needs: "userns", flow: bigFlow, under: onSmall("$TANDEM_HOME", "1m"), exit: 1, free: true, lost: true, check: full("write the journal", "--resume")},
		{n: 42, fault: "the sink's disk is full (ENOSPC)", lang: "python", needs: "userns", flow: strings.Replace(bigFlow, "out.jsonl", "small/out.jsonl", 1), under: onSmall("small", "100k"), exit: 1, free: true, lost: true, check: full("write the sink", "--resume")},
		{n: 42, fault: "the sink cannot be written", lang: "python", flow: strings.Replace(plainFlow, "out.jsonl", "/proc/no-such/out.jsonl", 1), exit: 2, free: true, check: refused("/proc/no-such/out.jsonl")},
		{n: 42, fault: "no scratch directory (TMPDIR)", lang: "python", env: []string{"TMPDIR=/proc/no-such"}, step: py("good", "isolation: {level: sandbox}")},
		{n: 42, fault: "no scratch directory (TMPDIR)", lang: "go", env: []string{"TMPDIR=/proc/no-such"}, step: golang("good")},
		{n: 42, fault: "no scratch directory (TMPDIR)", lang: "command", env: []string{"TMPDIR=/proc/no-such"}, step: sh("echo $n")},
	}
}

// channelGone checks what becomes of a worker whose handler closed its channel: it is killed for that, or has seen it and gone before.
func channelGone(r *run) {
	if len(r.crashes) != 1 || r.crashes[0].Confidence != tandem.Proven ||
		!strings.Contains(told(r.crashes[0]), "closed its channel and went on") && !strings.Contains(told(r.crashes[0]), "exited without result") {
		r.Errorf("%d reports: %+v", len(r.crashes), r.crashes)
	}
	counts(0, 1, 0)(r)
}

// channelClosed checks the same where it dies more than once of it: tried alone after it was beside others, or run again because its answer was lost.
func channelClosed(least, most int) func(*run) {
	return func(r *run) {
		if n := len(r.crashes); n < least || n > most {
			r.Errorf("%d crashes, want %d to %d", n, least, most)
		}
		for _, c := range r.crashes {
			what := told(c) + "; " + c.Stderr
			if c.Confidence != tandem.Proven || !strings.Contains(what, "closed its channel and went on") && !strings.Contains(what, "has closed descriptor 3") && !strings.Contains(what, "exited without result") {
				r.Errorf("a report: %+v", c)
			}
		}
	}
}

// bounded checks that what a flood left is small.
func bounded(r *run) {
	var kept int64
	files, _ := filepath.Glob(r.dir + "/.tandem/runs/*/*")
	for _, f := range files {
		if i, err := os.Stat(f); err == nil {
			kept += i.Size()
		}
	}
	r.Logf("%d KiB are kept, %d KiB were shown", kept>>10, r.said.n>>10)
	if kept > 24<<20 {
		r.Errorf("%d bytes are kept", kept)
	}
}

// limited are faults 43 to 46.
func limited() []row {
	secret := []string{"FAULT_SECRET=" + place + ".secret"}
	return []row{
		{n: 43, fault: "more processor time than it may have", lang: "python", step: py("spins", "cpu_time: 1s", once), bad: five("timed_out"), why: "cpu_limit/proven", says: "in spin", quick: true},
		{n: 43, fault: "more processor time than it may have", lang: "go", step: golang("spins", "cpu_time: 1s", once), bad: five("timed_out"), why: "cpu_limit/proven", says: "in main.spin"},
		{n: 43, fault: "more processor time than it may have", lang: "node", needs: "node", items: 6, step: node("spins", "cpu_time: 2s", once), bad: five("timed_out"), why: "cpu_limit/proven"},
		{n: 43, fault: "more processor time than it may have", lang: "command", step: sh(`test $n != 5 || while :; do :; done`, "cpu_time: 1s", once), bad: five("timed_out"), why: "cpu_limit/proven"},
		{n: 44, fault: "write, read, connect, kill, ptrace, unshare, mount", lang: "python", env: secret, step: py("denied", "isolation: sandbox"), check: denied, quick: true},
		{n: 44, fault: "write, read, connect", lang: "command", env: secret, step: sh(deniedScript, "isolation: sandbox"), check: deniedCommand},
		{n: 44, fault: "runs in a sandbox, and cannot write", lang: "node", needs: "node", items: 6, step: node("writes", "isolation: {level: sandbox, files: {read: PLACE}}", once), bad: five("failed"), check: unwritten},
		{n: 44, fault: "runs in a sandbox, and cannot write", lang: "java", needs: "java", items: 6, step: java("writes", "isolation: {level: sandbox, files: {read: PLACE}}", once), bad: five("failed"), check: unwritten},
		{n: 44, fault: "runs in a sandbox, and cannot write", lang: "go", step: golang("writes", "isolation: sandbox", once), bad: five("failed"), check: unwritten},
		{n: 44, fault: "a sandbox that hides a script's interpreter", lang: "command", step: `run: [PLACE/interpreted, x, "${{ item }}"], isolation: sandbox`, exit: 2, free: true, check: refused("the sandbox hides PLACE/own/bin/sh", "files: {read: [PLACE/own]}"), quick: true},
		{n: 44, fault: "a sandbox that hides what a shim leads to", lang: "command", step: `run: [PLACE/own/shims/tool, x, "${{ item }}"], isolation: sandbox`, exit: 2, free: true, check: refused("the sandbox hides PLACE/own,", "files: {read: [PLACE/own]}")},
		{n: 44, fault: "a sandbox with what it had hidden before", lang: "command", step: `run: [PLACE/own/shims/tool, x, "${{ item }}"], isolation: {level: sandbox, files: {read: PLACE/own}}`},
		{n: 44, fault: "a sandbox that lets a script's interpreter be read", lang: "command", step: `run: [PLACE/interpreted, x, "${{ item }}"], isolation: {level: sandbox, files: {read: PLACE}}`},
		{n: 44, fault: "less memory than an interpreter needs to begin with", lang: "command", step: `run: [/usr/bin/python3, -c, "print(1)"], memory: 1MiB`, exit: 2, free: true, check: refused("memory: 1 MiB is less than python3 needs to begin with"), quick: true},
		{n: 44, fault: "just as much memory as a shell needs", lang: "command", step: `shell: "echo ${{ item }}", memory: 2MiB`},
		{n: 45, fault: "no PID namespaces: told, and goes on", lang: "python", needs: "userns", step: py("good"), under: noNamespaces, check: func(r *run) {
			if !strings.Contains(r.out.String(), "single-fault") {
				r.Error("the document does not say single-fault")
			}
		}},
		{n: 45, fault: "no PID namespaces: require refuses", lang: "python", needs: "userns", step: py("good", "isolation: {require: [containment]}"), under: noNamespaces, exit: 2, free: true, check: refused("containment")},
		{n: 45, fault: "another user is required and cannot be had", lang: "python", as: "nobody", step: py("good", "isolation: {user: 1, require: all}"), exit: 2, free: true, check: refused("user"), quick: true},
		{n: 46, fault: "Landlock fails", lang: "python", needs: "strace", env: secret, items: 6, step: py("denied", "isolation: {level: sandbox, require: all}"), under: failing("landlock_restrict_self:error=EPERM"), exit: 2, free: true, check: refused("files")},
		{n: 46, fault: "the filter of system calls fails", lang: "python", needs: "strace", env: secret, items: 6, step: py("denied", "isolation: {level: sandbox, require: all}"), under: failing("seccomp:error=EINVAL"), exit: 2, free: true, check: refused("required, and cannot be had here")},
		{n: 46, fault: "namespaces fail", lang: "python", needs: "strace", env: secret, items: 6, step: py("denied", "isolation: {level: sandbox, require: all}"), under: failing("clone:error=EPERM:when=2+"), exit: 2, free: true, check: refused("error:")},
	}
}

var noNamespaces = []string{"unshare", "-U", "-r", "sh", "-c", `echo 0 > /proc/sys/user/max_pid_namespaces && exec "$@"`, "sh"}

func failing(fault string) []string {
	call, _, _ := strings.Cut(fault, ":")
	return []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", "fault=" + fault}
}

func denied(r *run) {
	got, _ := r.items_["5"].Value.(map[string]any)
	for what, want := range map[string]string{"write": "Permission denied", "read": "Permission denied", "connect": "Network is unreachable", "kill": "No such process", "ptrace": "Operation not permitted", "unshare": "Operation not permitted", "mount": "Operation not permitted"} {
		if got[what] != want && (what != "ptrace" || got[what] != "No such process") && (what != "connect" || got[what] != "Permission denied") {
			r.Errorf("%s: %v, want %s", what, got[what], want)
		}
	}
}

// deniedScript says what a sandbox lets a script do.
const deniedScript = `(: > /tmp/tandem-faults-escaped) 2>/dev/null && echo wrote; cat $FAULT_SECRET 2>/dev/null; kill -0 $FAULT_OTHER 2>/dev/null && echo killed; echo $n`

func deniedCommand(r *run) {
	for id, i := range r.items_ {
		if fmt.Sprint(i.Value) != id {
			r.Errorf("item %s: %v", id, i.Value)
		}
	}
}

// unwritten checks that what the sandbox refused was writing.
func unwritten(r *run) {
	if e := r.items_["5"].Error; !strings.Contains(strings.ToLower(e.Message+e.Trace), "permission denied") && !strings.Contains(e.Message+e.Trace, "AccessDenied") {
		r.Errorf("%s %s", e.Message, e.Trace)
	}
	if _, err := os.Stat("/tmp/tandem-faults-escaped"); err == nil {
		r.Error("it wrote outside of its sandbox")
		os.Remove("/tmp/tandem-faults-escaped")
	}
}

// stopping are faults 47 to 51.
func stopping() []row {
	hog := func(r *run) {
		for range 4 { // on two processors
			c := exec.Command("sh", "-c", "while :; do :; done")
			c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			if err := c.Start(); err != nil {
				r.Fatal(err)
			}
			r.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
		}
	}
	return []row{
		{n: 47, fault: "every worker is replaced after one item", lang: "python", items: 60, step: py("good", "recycle: {items: 1}"), check: recycled, quick: true},
		{n: 47, fault: "every worker is replaced after one item", lang: "go", items: 200, step: golang("good", "recycle: {items: 1}"), check: recycled},
		{n: 47, fault: "workers are replaced for their age", lang: "go", items: 200, step: golang("good", "recycle: {age: 50ms}", "rate: 100/s"), check: recycled},
		{n: 48, fault: "SIGTERM twice, an item hangs", lang: "python", step: py("sleeps"), free: true, exit: 143, why: "any", inject: signals(syscall.SIGTERM, syscall.SIGTERM), quick: true},
		{n: 48, fault: "SIGTERM three times, an item hangs", lang: "go", step: golang("sleeps"), free: true, exit: 143, why: "any", inject: signals(syscall.SIGTERM, syscall.SIGTERM, syscall.SIGTERM)},
		{n: 48, fault: "SIGTERM once, an item hangs: the limit of --drain", lang: "command", args: []string{"--drain", "1s"}, step: sh(`test $n != 5 || { trap '' TERM; echo -n 1 > culprit; while :; do sleep 1; done; }`), free: true, exit: 143, why: "any", inject: signals(syscall.SIGTERM)},
		{n: 49, fault: "Ctrl-C to the foreground group", lang: "python", items: 12, step: py("slow"), free: true, exit: 130, inject: interrupt, check: ended, quick: true},
		{n: 49, fault: "Ctrl-C to the foreground group", lang: "go", items: 12, step: golang("slow"), free: true, exit: 130, inject: interrupt, check: ended},
		{n: 49, fault: "Ctrl-C to the foreground group", lang: "command", items: 12, step: sh(`sleep 0.4; test $n != 5 || echo -n 1 > culprit; echo $n`), free: true, exit: 130, inject: interrupt, check: ended},
		{n: 50, fault: "Tandem is stopped for 5 s (SIGSTOP), then goes on", lang: "python", items: 12, step: py("slow", "timeout: 2s", "hang: 1s", once), inject: asleep("app"), check: counts(0, 0, 0)},
		{n: 50, fault: "Tandem is stopped for 5 s (SIGSTOP), then goes on", lang: "go", items: 12, step: golang("slow", "timeout: 2s", "hang: 1s", once), inject: asleep("app"), check: counts(0, 0, 0)},
		{n: 50, fault: "Tandem is stopped for 5 s (SIGSTOP), then goes on", lang: "command", items: 12, step: sh(`sleep 0.4; test $n != 5 || echo -n 1 > culprit; echo $n`, "timeout: 2s", "hang: 1s", once), inject: asleep("app"), check: counts(0, 0, 0)},
		{n: 50, fault: "the machine sleeps for 5 s: all is stopped, then goes on", lang: "python", items: 12, step: py("slow", "timeout: 2s", "hang: 1s", once), inject: asleep("app", "warden", "shim", "worker", "child"), check: counts(0, 0, 0)},
		{n: 50, fault: "the machine sleeps for 5 s: all is stopped, then goes on", lang: "go", items: 12, step: golang("slow", "timeout: 2s", "hang: 1s", once), inject: asleep("app", "warden", "shim", "worker", "child"), check: counts(0, 0, 0)},
		{n: 50, fault: "the machine sleeps for 5 s: all is stopped, then goes on", lang: "command", items: 12, step: sh(`sleep 0.4; test $n != 5 || echo -n 1 > culprit; echo $n`, "timeout: 2s", "hang: 1s", once), inject: asleep("app", "warden", "shim", "worker", "child"), check: counts(0, 0, 0)},
		{n: 51, fault: "no processor for the workers (SCHED_IDLE, 4 hogs)", lang: "python", items: 6, step: py("idle_class", "hang: 1s", once), long: 4 * time.Minute, inject: hog, check: counts(0, 0, 0)},
		{n: 51, fault: "no processor for the workers (SCHED_IDLE, 4 hogs)", lang: "go", needs: "chrt", items: 6, step: `worker: [chrt, -i, "0", WORKER], handler: starved, workers: 2, mode: process, hang: 1s, ` + once, long: 4 * time.Minute, inject: hog, check: counts(0, 0, 0)},
	}
}

// interrupt is Ctrl-C at a terminal: the whole foreground group gets it.
func interrupt(r *run) {
	r.until("culprit", "no culprit")
	r.write("release", "")
	_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGINT)
}

// ended checks that what was read has ended well, and that no worker has.
func ended(r *run) {
	for id, i := range r.items_ {
		if i.Outcome != "ok" {
			r.Errorf("item %s: %s", id, i.Outcome)
		}
	}
	counts(0, 0, 0)(r)
}

// asleep stops these parts of the run for five seconds, Tandem first, and lets them go on, Tandem last: as when the machine was asleep, but that time went on meanwhile.
func asleep(names ...string) func(*run) {
	return func(r *run) {
		r.until("culprit", "no culprit")
		found := r.watch.parts()
		for _, name := range names {
			for _, pid := range found[name] {
				_ = syscall.Kill(pid, syscall.SIGSTOP)
			}
		}
		time.Sleep(5 * time.Second)
		for _, name := range slices.Backward(names) {
			for _, pid := range found[name] {
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		}
	}
}

func recycled(r *run) {
	_, e, c, l, n := r.work()
	if n == 0 || e+c+l > 0 {
		r.Errorf("%d recycled, %d errors, %d crashes, %d losses", n, e, c, l)
	}
	r.Logf("%d workers were replaced", n)
}

// signals sends these to Tandem, 300 ms apart, when the culprit runs. The run must end within 15 s.
func signals(list ...syscall.Signal) func(*run) {
	return func(r *run) {
		r.until("culprit", "the culprit does not begin")
		app := r.part("app")
		for _, s := range list {
			_ = syscall.Kill(app, s)
			time.Sleep(300 * time.Millisecond)
		}
		select {
		case <-r.ended:
		case <-time.After(15 * time.Second):
			r.Error("it has not ended 15 s after " + fmt.Sprint(list))
		}
	}
}

// between is fault 29: Tandem is killed while a prctl takes long, which is between a fork and the death signal of what was forked.
func between(r *run) {
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if found := r.watch.parts(); len(found["shim"]) > 0 && len(found["app"]) > 0 {
			r.killed = true
			r.signal(found["app"][0], syscall.SIGKILL)
			<-r.ended
			return
		}
	}
	r.Error("there is no shim")
}

// embedded is fault 31: a program of its own with the engine in it.
func embedded(r *run) {
	c := exec.Command(embed)
	c.Dir = r.dir
	out, err := c.CombinedOutput()
	if err != nil || string(bytes.TrimSpace(out)) != "200" {
		r.Errorf("%v: %s, want 200 items at the first attempt", err, out)
	}
}
