package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func rows() (all []row) {
	for _, list := range [][]row{died(), memory(), hung(), left(), parts(), starting(), talking(), limited(), stopping()} {
		all = append(all, list...)
	}
	return all
}

// py is a step of two Python workers; more are keys.
func py(f string, more ...string) string {
	return strings.Join(append([]string{`python: "HANDLERS:` + f + `"`, "workers: 2", "mode: process"}, more...), ", ")
}

func golang(f string, more ...string) string {
	return strings.Join(append([]string{`worker: [WORKER], handler: ` + f, "workers: 2", "mode: process"}, more...), ", ")
}

// sh is a script per item, which is $n.
func sh(script string, more ...string) string {
	return strings.Join(append([]string{`shell: "n=${{ item.value }}; ` + script + `"`, "concurrency: 2"}, more...), ", ")
}

func java(what string, more ...string) string {
	return strings.Join(append([]string{`run: [java, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", -Xmx64m, "-XX:ErrorFile=hs_err.log", PLACE/Fault.java, ` + what + `, "${{ item }}"]`, "concurrency: 2"}, more...), ", ")
}

func node(what string, more ...string) string {
	return strings.Join(append([]string{`run: [node, --max-old-space-size=32, PLACE/fault.js, ` + what + `, "${{ item }}"]`, "concurrency: 2"}, more...), ", ")
}

const once = "retry: {attempts: 1}"

func five(outcome string) map[string]string { return map[string]string{"5": outcome} }

// replaced waits until a place has another worker.
func (r *run) replaced(place, old int, within time.Duration) {
	r.Helper()
	begun := time.Now()
	for r.shown(place) == old {
		if time.Since(begun) > within {
			r.Errorf("it is not replaced within %v", within)
			return
		}
	}
	r.Logf("replaced, and seen so by tandem ps, after %v", time.Since(begun).Round(time.Millisecond))
}

func killIdle(r *run) {
	pid := r.worker("worker", 1)
	r.signal(pid, syscall.SIGKILL)
	r.replaced(1, pid, 5*time.Second)
}

func killBusy(r *run) { r.signal(r.worker("worker", 0), syscall.SIGKILL) }

// counts compares the step's counters; -1 is not compared.
func counts(errors, crashes, losses int) func(*run) {
	return func(r *run) {
		_, e, c, l, _ := r.work()
		if errors >= 0 && e != errors || crashes >= 0 && c != crashes || losses >= 0 && l != losses {
			r.Errorf("%d errors, %d crashes, %d losses, want %d, %d, %d", e, c, l, errors, crashes, losses)
		}
	}
}

// died are faults 1 to 10: a worker ends.
func died() []row {
	return []row{
		{n: 1, fault: "kill -9 of an idle worker", lang: "python", step: py("good"), why: "killed_externally/unknown", says: "did not send SIGKILL", idle: killIdle, check: counts(0, 0, 1), quick: true},
		{n: 1, fault: "kill -9 of an idle worker", lang: "go", step: golang("good"), why: "killed_externally/unknown", idle: killIdle, check: counts(0, 0, 1)},
		{n: 2, fault: "kill -9 of a busy worker", lang: "python", step: py("sleeps", once), bad: five("crashed"), why: "killed_externally/unknown", inject: killBusy, check: counts(0, 1, 0), quick: true},
		{n: 2, fault: "kill -9 of a busy worker", lang: "go", step: golang("sleeps", once), bad: five("crashed"), why: "killed_externally/unknown", inject: killBusy, check: counts(0, 1, 0)},
		{n: 2, fault: "kill -9 of a busy worker, tried again", lang: "python", step: py("sleeps_once"), why: "killed_externally/unknown", inject: killBusy, check: counts(0, 1, 0)},
		{n: 2, fault: "kill -9 of a busy worker, tried again", lang: "go", step: golang("once"), why: "killed_externally/unknown", inject: killBusy, check: counts(0, 1, 0)},
		{n: 2, fault: "kill -9 of a command", lang: "command", step: sh(`test $n != 5 || { echo -n 0 > culprit; exec sleep 600; }`, once), bad: five("crashed"), why: "killed_externally/unknown", inject: func(r *run) { r.signal(r.command(), syscall.SIGKILL) }},
		{n: 3, fault: "segmentation fault in C code", lang: "python", step: py("segv", once), bad: five("crashed"), why: "signal/proven", says: "in segv", check: counts(0, 1, 0), quick: true},
		{n: 3, fault: "segmentation fault", lang: "command", step: sh(`test $n != 5 || kill -SEGV $$`, once), bad: five("crashed"), why: "signal/proven", says: "SIGSEGV"},
		{n: 3, fault: "a bad address", lang: "go", step: golang("segv", once), bad: five("crashed"), why: "app_error/proven", says: "fault in main.poke", check: counts(0, 1, 0)},
		{n: 3, fault: "segmentation fault", lang: "node", needs: "node", step: node("segv", once), items: 6, bad: five("crashed"), why: "signal/proven", says: "SIGSEGV"},
		{n: 4, fault: "abort()", lang: "python", step: py("abort", once), bad: five("crashed"), why: "signal/proven", says: "SIGABRT", quick: true},
		{n: 4, fault: "abort()", lang: "command", step: sh(`test $n != 5 || kill -ABRT $$`, once), bad: five("crashed"), why: "signal/proven", says: "SIGABRT"},
		{n: 4, fault: "abort()", lang: "node", needs: "node", step: node("abort", once), bad: five("crashed"), why: "signal/proven", says: "SIGABRT"},
		{n: 4, fault: "SIGABRT", lang: "go", step: golang("abort", once), bad: five("crashed"), why: "app_error/proven", says: "SIGABRT"},
		{n: 4, fault: "SIGABRT", lang: "java", needs: "java", step: java("abort", once), items: 6, bad: five("crashed"), why: "signal/proven", says: "SIGABRT"},
		{n: 5, fault: "exit(0) with no result", lang: "python", step: py("exit0", once), bad: five("crashed"), why: "app_error/proven", says: "exited without result", quick: true},
		{n: 5, fault: "exit(0) with no result", lang: "go", step: golang("exit0", once), bad: five("crashed"), why: "app_error/proven", says: "exited without result"},
		{n: 5, fault: "exit(0) with nothing said: a success", lang: "command", step: sh(`test $n = 5 || echo $n`, once), check: counts(0, 0, 0)},
		{n: 6, fault: "exit codes 1, 3, 77, 128, 255", lang: "python", step: py("codes", once), bad: map[string]string{"2": "crashed", "4": "crashed", "6": "crashed", "8": "crashed", "10": "crashed"}, why: "app_error/proven", check: codes(map[string]int{"2": 1, "4": 3, "6": 77, "8": 128, "10": 255})},
		{n: 6, fault: "exit codes 1 to 255", lang: "go", items: 255, step: golang("codes", once), bad: everything("crashed", 255), why: "app_error/proven", check: codes(nil)},
		{n: 6, fault: "exit codes 1 to 255", lang: "command", items: 255, step: sh(`exit $n`, once), bad: everything("failed", 255), why: "any", check: func(r *run) {
			for id, i := range r.items_ {
				if !strings.Contains(i.Error.Message+" "+i.Error.Reason+" ", " "+id+" ") && !strings.Contains(i.Error.Message+i.Error.Reason, id) {
					r.Errorf("item %s: %+v", id, i.Error)
				}
			}
		}, quick: true},
		{n: 6, fault: "exit code 77", lang: "node", needs: "node", step: node("exit", once), items: 6, bad: five("failed")},
		{n: 6, fault: "exit code 77", lang: "java", needs: "java", step: java("exit", once), items: 6, bad: five("failed")},
		{n: 7, fault: "a panic beside the handler", lang: "go", step: golang("beside", once), bad: five("crashed"), why: "app_error/proven", says: "index out of range", quick: true},
		{n: 7, fault: "a fatal error: stack overflow", lang: "go", step: golang("overflow", once), bad: five("crashed"), why: "app_error/proven", says: "main.deep"},
		{n: 7, fault: "all goroutines asleep: deadlock", lang: "go", step: golang("deadlock", once), bad: five("crashed"), why: "app_error/proven", says: "deadlock"},
		{n: 8, fault: "the Java machine gets SIGSEGV", lang: "java", needs: "java", step: java("segv", once), items: 6, bad: five("crashed"), why: "signal/proven", says: "SIGSEGV in Fault.main"},
		{n: 8, fault: "SIGSEGV, told as exit code 1", lang: "java", needs: "java", env: []string{"JAVA_TOOL_OPTIONS=-XX:-CreateCoredumpOnCrash"}, step: java("segv", once), items: 6, bad: five("failed"), why: "signal/probable", says: "SIGSEGV in Fault.main"},
		{n: 8, fault: "no memory, and told to crash for it", lang: "java", needs: "java", env: []string{"JAVA_TOOL_OPTIONS=-XX:+CrashOnOutOfMemoryError"}, step: java("oom", once), items: 6, bad: five("crashed"), why: "mem_limit/probable", says: "Java heap space"},
		{n: 8, fault: "the Java machine has no memory", lang: "java", needs: "java", step: java("oom", once), items: 6, bad: five("failed"), why: "mem_limit/probable", says: "OutOfMemory"},
		{n: 9, fault: "the heap of Node is full", lang: "node", needs: "node", step: node("oom", once), items: 6, bad: five("crashed"), why: "mem_limit/probable", says: "heap"},
		{n: 10, fault: "an uncaught exception", lang: "python", step: py("raises", once), bad: five("failed"), check: counts(1, 0, 0), quick: true},
		{n: 10, fault: "a panic in the handler", lang: "go", step: golang("panics", once), bad: five("failed"), check: counts(1, 0, 0), quick: true},
		{n: 10, fault: "an uncaught exception", lang: "node", needs: "node", step: node("throws", once), items: 6, bad: five("failed")},
		{n: 10, fault: "an uncaught exception", lang: "java", needs: "java", step: java("throws", once), items: 6, bad: five("failed")},
	}
}

func everything(outcome string, n int) map[string]string {
	all := map[string]string{}
	for i := range n {
		all[strconv.Itoa(i+1)] = outcome
	}
	return all
}

// codes checks that reports tell exit codes as they were: of these items, or of each item its own number.
func codes(of map[string]int) func(*run) {
	return func(r *run) {
		if want := max(len(of), len(r.bad)); len(r.crashes) != want {
			r.Errorf("%d reports, want %d", len(r.crashes), want)
		}
		for _, c := range r.crashes {
			code := of[c.Item]
			if of == nil {
				code, _ = strconv.Atoi(c.Item)
			}
			if c.What != fmt.Sprintf("exit code %d", code) && !strings.HasPrefix(c.What, fmt.Sprintf("exit code %d ", code)) {
				r.Errorf("item %s: %s", c.Item, c.What)
			}
		}
	}
}

// memory are faults 11 to 14.
func memory() []row {
	return []row{
		{n: 11, fault: "more memory than the control group gives", lang: "python", as: "root", needs: "memory group", step: py("hog", "memory: 100MiB", once), bad: five("out_of_memory"), why: "oom_limit/proven", check: held("kernel"), quick: true},
		{n: 11, fault: "more memory than the control group gives", lang: "command", as: "root", needs: "memory group", step: sh(`test $n != 5 || head -c 400m /dev/zero | tail -c 400m | wc -c`, "memory: 100MiB", once), bad: five("out_of_memory"), why: "any"},
		{n: 12, fault: "a grandchild has too much memory", lang: "python", as: "root", needs: "memory group", step: py("hog_child", "memory: 100MiB", once), bad: five("out_of_memory"), why: "oom_limit/proven"},
		{n: 12, fault: "two grandchildren have too much together", lang: "python", step: py("hog_pair", "memory: 120MiB", once), bad: five("out_of_memory"), why: "oom_limit/proven"},
		{n: 12, fault: "a grandchild has too much memory", lang: "command", as: "root", needs: "memory group", step: sh(`test $n != 5 || { (head -c 400m /dev/zero | tail -c 400m | wc -c) & wait; }`, "memory: 100MiB", once), bad: five("out_of_memory"), why: "any"},
		{n: 13, fault: "the process may not have more (RLIMIT_DATA)", lang: "python", step: py("hog_data", "memory: 150MiB", once), bad: five("out_of_memory"), check: counts(1, 0, 0), quick: true},
		{n: 13, fault: "more memory than it may have", lang: "go", step: golang("hog", "memory: 150MiB", once), bad: five("out_of_memory"), why: "any"},
		{n: 13, fault: "more memory than it may have", lang: "node", needs: "node", items: 6, step: node("oom", "memory: 300MiB", once), bad: five("out_of_memory"), why: "any"},
		{n: 13, fault: "more memory than it may have", lang: "java", needs: "java", items: 6, step: java("oom", "memory: 700MiB", once), bad: five("out_of_memory"), why: "any"},
		{n: 14, fault: "kill -9 from outside under a memory limit", lang: "go", step: golang("sleeps", "memory: 200MiB", once), bad: five("crashed"), why: "killed_externally/unknown", inject: killBusy},
		{n: 14, fault: "kill -9 from outside under a memory limit", lang: "command", step: sh(`test $n != 5 || { echo -n 0 > culprit; exec sleep 600; }`, "memory: 200MiB", once), bad: five("crashed"), why: "killed_externally/unknown", inject: func(r *run) { r.signal(r.command(), syscall.SIGKILL) }},
		{n: 14, fault: "kill -9 from outside under a memory limit", lang: "python", step: py("sleeps", "memory: 200MiB", once), bad: five("crashed"), why: "killed_externally/unknown", inject: killBusy, quick: true},
	}
}

func held(how string) func(*run) {
	return func(r *run) {
		for _, c := range r.crashes {
			if string(c.Memory) != how {
				r.Errorf("memory was held by %q, want %s", c.Memory, how)
			}
		}
	}
}

// hung are faults 16 to 21.
func hung() []row {
	late := func(within time.Duration) func(*run) {
		return func(r *run) {
			if i := r.items_["5"]; i.Error.Kind == "" {
				r.Errorf("no error: %+v", i)
			}
			for _, c := range r.crashes {
				if c.Seconds > within.Seconds() {
					r.Errorf("killed after %.1f s", c.Seconds)
				}
			}
		}
	}
	return []row{
		{n: 16, fault: "a busy loop past its timeout", lang: "python", step: py("spins", "timeout: 1s", once), bad: five("timed_out"), why: "timeout/proven", says: "in spin", check: late(6 * time.Second), quick: true},
		{n: 16, fault: "a busy loop past its timeout", lang: "go", step: golang("spins", "timeout: 1s", once), bad: five("timed_out"), why: "timeout/proven", says: "in main.spin", check: late(6 * time.Second)},
		{n: 16, fault: "a busy loop past its timeout", lang: "command", step: sh(`test $n != 5 || while :; do :; done`, "timeout: 1s", once), bad: five("timed_out"), why: "timeout/proven", check: late(6 * time.Second), quick: true},
		{n: 16, fault: "a busy loop past its timeout", lang: "java", needs: "java", step: java("spins", "timeout: 8s", once), items: 6, bad: five("timed_out"), why: "timeout/proven", says: "in Fault.main", check: late(13 * time.Second)},
		{n: 16, fault: "a busy loop past its timeout", lang: "node", needs: "node", step: node("spins", "timeout: 4s", once), items: 6, bad: five("timed_out"), why: "timeout/proven", check: late(9 * time.Second)},
		{n: 17, fault: "a lock that nobody opens", lang: "python", step: py("locks", "hang: 1s", once), bad: five("timed_out"), why: "hung/proven", says: "in lock", check: waiting, quick: true},
		{n: 17, fault: "sleeps for ever", lang: "python", step: py("sleeps", "hang: 1s", once), bad: five("timed_out"), why: "hung/proven", says: "in nap", check: waiting},
		{n: 17, fault: "sleeps for ever", lang: "go", step: golang("sleeps", "hang: 1s", once), bad: five("timed_out"), why: "hung/proven"},
		{n: 17, fault: "sleeps for ever", lang: "command", step: sh(`test $n != 5 || sleep 600`, "hang: 1s", once), bad: five("timed_out"), why: "hung/proven"},
		{n: 17, fault: "waits for ever", lang: "node", needs: "node", step: node("hangs", "hang: 3s", once), items: 6, bad: five("timed_out"), why: "hung/proven"},
		{n: 17, fault: "waits for itself", lang: "java", needs: "java", step: java("locks", "hang: 5s", once), items: 6, bad: five("timed_out"), why: "hung/proven", says: "in Fault.main"},
		{n: 18, fault: "C calls hold the GIL for longer than hang", lang: "python", step: py("gil", "hang: 1s", once)},
		{n: 18, fault: "one C call holds the GIL for longer than hang", lang: "python", step: py("gil_whole", "hang: 1s", once)},
		{n: 18, fault: "computes for longer than hang", lang: "go", step: golang("computes", "hang: 1s", once)},
		{n: 18, fault: "computes for longer than hang", lang: "command", step: sh(`test $n != 5 || { i=0; end=$(($(date +%s) + 3)); while test $(date +%s) -lt $end; do i=0; while test $i -lt 20000; do i=$((i + 1)); done; done; }`, "hang: 1s", once)},
		{n: 19, fault: "SIGSTOP of a busy worker", lang: "python", step: py("sleeps", "hang: 4s", once), bad: five("timed_out"), why: "hung/proven", inject: func(r *run) { r.signal(r.worker("worker", 0), syscall.SIGSTOP) }, check: stopped, quick: true},
		{n: 19, fault: "SIGSTOP of a busy worker", lang: "go", step: golang("sleeps", "hang: 4s", once), bad: five("timed_out"), why: "hung/proven", inject: func(r *run) { r.signal(r.worker("worker", 0), syscall.SIGSTOP) }, check: stopped},
		{n: 19, fault: "SIGSTOP of a command", lang: "command", step: sh(`test $n != 5 || { echo -n 0 > culprit; exec sleep 600; }`, "hang: 4s", once), bad: five("timed_out"), why: "hung/proven", says: "stopped by a signal", inject: stopCommand, check: stopped},
		{n: 19, fault: "SIGSTOP while it waits", lang: "node", needs: "node", step: node("hangs", "hang: 5s", once), items: 6, bad: five("timed_out"), why: "hung/proven", says: "stopped by a signal", inject: stopCommand, check: stopped},
		{n: 19, fault: "SIGSTOP while it waits", lang: "java", needs: "java", step: java("locks", "hang: 6s", once), items: 6, bad: five("timed_out"), why: "hung/proven", says: "stopped by a signal", inject: stopCommand, check: stopped},
		{n: 20, fault: "frozen: nothing can kill it", lang: "python", as: "root", needs: "freezer", step: py("sleeps", "timeout: 3s", once), bad: five("timed_out"), why: "unkillable/proven", says: "frozen with the control group /tandem-faults-", inject: freeze, late: thawGivenUp, check: frozen},
		{n: 20, fault: "frozen: nothing can kill it", lang: "go", as: "root", needs: "freezer", step: golang("sleeps", "timeout: 3s", once), bad: five("timed_out"), why: "unkillable/proven", says: "frozen with the control group /tandem-faults-", inject: freeze, late: thawGivenUp, check: frozen},
		{n: 20, fault: "frozen: nothing can kill it", lang: "command", as: "root", needs: "freezer", step: sh(`test $n != 5 || { echo -n 0 > culprit; exec sleep 600; }`, "timeout: 3s", once), bad: five("timed_out"), why: "unkillable/proven", says: "frozen with the control group /tandem-faults-", inject: freeze, late: thawGivenUp, check: frozen},
		{n: 20, fault: "thawed when it has been killed: a death like any other", lang: "command", as: "root", needs: "freezer", step: sh(`test $n != 5 || { echo -n 0 > culprit; exec sleep 600; }`, "timeout: 3s", once), bad: five("timed_out"), why: "timeout/proven", says: "frozen with the control group /tandem-faults-", inject: freeze, late: thaw},
		{n: 20, fault: "frozen until the run has ended", lang: "python", as: "root", needs: "freezer", step: py("sleeps", "timeout: 3s", once), bad: five("timed_out"), why: "unkillable/proven", says: "SIGKILL is pending", inject: freeze, check: func(r *run) { thaw(r); frozen(r) }},
		{n: 20, fault: "frozen until the run has ended", lang: "command", as: "root", needs: "freezer", step: sh(`test $n != 5 || { echo -n 0 > culprit; exec sleep 600; }`, "hang: 3s", once), bad: five("timed_out"), why: "unkillable/proven", says: "SIGKILL is pending", inject: freeze, check: func(r *run) { thaw(r); frozen(r) }},
		{n: 20, fault: "frozen by a group of version 2: it can be killed", lang: "python", as: "root", needs: "freezer v2", step: py("sleeps", "hang: 4s", once), bad: five("timed_out"), why: "hung/proven", says: "frozen with the control group /tandem-faults-", inject: freeze2, check: counts(0, 1, 0)},
		{n: 21, fault: "ignores SIGTERM, SIGINT and SIGHUP", lang: "python", step: py("deaf", "timeout: {soft: 500ms, hard: 1s}", once), bad: five("timed_out"), why: "timeout/proven"},
		{n: 21, fault: "ignores SIGTERM, SIGINT and SIGHUP", lang: "go", step: golang("deaf", "timeout: {soft: 500ms, hard: 1s}", once), bad: five("timed_out"), why: "timeout/proven", says: "in main.spin"},
		{n: 21, fault: "ignores SIGTERM, SIGINT and SIGHUP", lang: "node", needs: "node", step: node("deaf", "timeout: {soft: 3s, hard: 4s}", once), items: 6, bad: five("timed_out"), why: "timeout/proven"},
		{n: 21, fault: "ignores SIGTERM, SIGINT and SIGHUP", lang: "command", step: sh(`test $n != 5 || { trap '' TERM INT HUP; while :; do sleep 1; done; }`, "timeout: {soft: 500ms, hard: 1s}", once), bad: five("timed_out"), why: "timeout/proven", quick: true},
	}
}

func waiting(r *run) {
	for _, c := range r.crashes {
		if len(c.Threads) == 0 || c.Threads[0].State != "S" {
			r.Errorf("threads %+v", c.Threads)
		}
	}
}

func stopped(r *run) {
	for _, c := range r.crashes {
		if len(c.Threads) == 0 || c.Threads[0].State != "T" || c.Stack != nil {
			r.Errorf("threads %+v, stack %+v", c.Threads, c.Stack)
		}
	}
}

func stopCommand(r *run) { r.signal(r.command(), syscall.SIGSTOP) }

// frozen checks what the item says whose worker cannot be killed, and that its report shows the threads.
func frozen(r *run) {
	e := r.items_["5"].Error
	if want := "not done "; !strings.Contains(e.Message, want) && !strings.Contains(e.Message, "killed, and it is still there: frozen with the control group") {
		r.Errorf("%+v", e)
	}
	for _, c := range r.crashes {
		if len(c.Threads) == 0 || c.Threads[0].State != "D" || c.What != "killed, and still there" {
			r.Errorf("%s, threads %+v", c.What, c.Threads)
		}
	}
	if r.lang != "command" {
		counts(0, 1, 0)(r)
	}
}

// freezer is a control group for what this run freezes.
func (r *run) freezer(root string) string {
	return filepath.Join(root, "tandem-faults-"+strconv.Itoa(os.Getpid())+"-"+filepath.Base(r.dir))
}

const freezer1 = "/sys/fs/cgroup/freezer"

// freezer2 is version 2, which stands alone or beside version 1.
var freezer2 = func() string {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err == nil {
		return "/sys/fs/cgroup"
	}
	return "/sys/fs/cgroup/unified"
}()

func freeze(r *run) { r.freeze(freezer1, "freezer.state", "FROZEN") }

func freeze2(r *run) { r.freeze(freezer2, "cgroup.freeze", "1") }

func (r *run) freeze(root, file, how string) {
	r.Helper()
	pid := 0
	if r.lang == "command" {
		pid = r.command()
	} else {
		pid = r.worker("worker", 0)
	}
	dir := r.freezer(root)
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, file), []byte(how), 0)
	}
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		for end := time.Now().Add(10 * time.Second); os.Remove(dir) != nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		}
	})
}

// thawGivenUp thaws when its report is there: the item has ended before that.
func thawGivenUp(r *run) {
	for end := time.Now().Add(r.long); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if files, _ := filepath.Glob(r.dir + "/.tandem/runs/*/crashes/*.json"); len(files) > 0 {
			break
		}
	}
	thaw(r)
}

func thaw(r *run) {
	if err := os.WriteFile(filepath.Join(r.freezer(freezer1), "freezer.state"), []byte("THAWED"), 0); err != nil {
		r.Error(err)
	}
}
