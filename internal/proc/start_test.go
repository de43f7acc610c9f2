package proc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem"
)

// Both ways to start a program must tell the same about its end.
func eachWay(t *testing.T, f func(t *testing.T, direct bool)) {
	t.Run("contained", func(t *testing.T) {
		if Containment().Level == BestEffort {
			t.Skip("SKIPPED, NOT TESTED: there is no warden here: ", Containment())
		}
		f(t, false)
	})
	t.Run("direct", func(t *testing.T) { f(t, true) })
}

func ended(t *testing.T, direct bool, argv ...string) Exit {
	t.Helper()
	p, err := start(Spec{Argv: argv}, direct)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	return p.Exit()
}

func TestExitCodes(t *testing.T) {
	eachWay(t, func(t *testing.T, direct bool) {
		for code := range 256 {
			if x := ended(t, direct, "sh", "-c", "exit "+strconv.Itoa(code)); x.Code != code || x.Signal != 0 {
				t.Errorf("exit %d is reported as %v", code, x)
			}
		}
	})
}

// The first process of a namespace ignores most signals: none may be missing, or the program would be that.
func TestSignals(t *testing.T) {
	eachWay(t, func(t *testing.T, direct bool) {
		for _, s := range []string{"ABRT", "SEGV", "TERM", "INT", "HUP", "KILL", "QUIT", "USR1", "PIPE", "XCPU"} {
			if s == "HUP" && signal.Ignored(syscall.SIGHUP) { // nohup go test: programs inherit that
				continue
			}
			if x := ended(t, direct, "sh", "-c", "kill -"+s+" $$"); x.Reason() != "SIG"+s || x.Code != -1 {
				t.Errorf("SIG%s is reported as %v", s, x)
			}
		}
	})
}

func TestSignalFromOutside(t *testing.T) {
	eachWay(t, func(t *testing.T, direct bool) {
		p, err := start(Spec{Argv: []string{"sleep", "60"}}, direct)
		if err != nil {
			t.Fatal(err)
		}
		// The kernel lets go of the one who waits for an execution just before it sets the command line.
		for end := time.Now().Add(time.Second); ; time.Sleep(time.Millisecond) {
			cmd, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID()))
			if err == nil && strings.HasPrefix(string(cmd), "sleep\x00") {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("PID() is not the program: %q, %v", cmd, err)
			}
		}
		_ = syscall.Kill(p.PID(), syscall.SIGTERM)
		<-p.Done()
		if x := p.Exit(); x.Reason() != "SIGTERM" {
			t.Error(x)
		}
	})
}

func TestUsageAndTailSurviveKill(t *testing.T) {
	eachWay(t, func(t *testing.T, direct bool) {
		said := make(chan struct{}, 100)
		p, err := start(Spec{Argv: []string{"sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done; sleep 60"},
			Output: func(int, []byte) { said <- struct{}{} }}, direct)
		if err != nil {
			t.Fatal(err)
		}
		<-said
		p.Kill()
		<-p.Gone()
		<-p.Done()
		x := p.Exit()
		if x.Reason() != "SIGKILL" || x.Tail != "done\n" || x.CPU < 10*time.Millisecond || x.MaxRSS < 100<<10 {
			t.Errorf("%+v", x)
		}
		p.Kill() // of what is gone: nothing
	})
}

func TestWhatAProgramIsGiven(t *testing.T) {
	dir, said := t.TempDir(), ""
	eachWay(t, func(t *testing.T, direct bool) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		in, feed, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(feed, "hello\n")
		feed.Close()
		p, err := start(Spec{Argv: []string{"sh", "-c", `read line; echo "$line $X $A $(pwd) $1 $(ulimit -Sn)" >&3; [ "$(cat /proc/$$/comm)" = sh ] && echo own proc >&3; head -c 100 /dev/zero >&4 || echo closed >&3`, "name", "a b"}, Dir: dir,
			Env: []string{"PATH=" + os.Getenv("PATH"), "X=1", "X=2"}, Extra: []string{"A=3"}, Stdin: in, Files: []*os.File{w}}, direct)
		w.Close()
		in.Close()
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1000)
		got := ""
		for n := 0; err == nil; n, err = r.Read(buf) {
			got += string(buf[:n])
		}
		r.Close()
		<-p.Done()
		head, _, _ := strings.Cut(got, "\n")
		if said == "" {
			said = head
		}
		if said != head {
			t.Errorf("%q one way, %q the other", said, head) // among others the limit of open files, which Go raises for itself
		}
		if !strings.HasPrefix(got, "hello 2 3 "+dir+" a b ") || !strings.Contains(got, "own proc\nclosed\n") {
			t.Errorf("%q", got)
		}
	})
}

func TestStartErrors(t *testing.T) {
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("\x00\x01"), 0o755); err != nil {
		t.Fatal(err)
	}
	eachWay(t, func(t *testing.T, direct bool) {
		for _, c := range []struct {
			spec Spec
			want error
		}{
			{Spec{Argv: []string{"/no/such/program"}}, fs.ErrNotExist},
			{Spec{Argv: []string{"no-such-program"}}, nil},
			{Spec{Argv: []string{"/etc/passwd"}}, fs.ErrPermission},
			{Spec{Argv: []string{script}}, syscall.ENOEXEC},
			{Spec{Argv: []string{"true"}, Dir: "/no/such/dir"}, fs.ErrNotExist},
			{Spec{Argv: []string{"true", strings.Repeat("x", 3<<20)}}, syscall.E2BIG},
			{Spec{Argv: []string{"true", "a\x00b"}}, syscall.EINVAL},
		} {
			_, err := start(c.spec, direct)
			e, ok := errors.AsType[*tandem.Error](err)
			if !ok || e.Kind != tandem.KindStart || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("%.60v: %v, want %v", c.spec.Argv, err, c.want)
			}
		}
	})
}

// A parent-death signal follows a thread: threads of ours that end must take nobody with them.
func TestThreadsMayEnd(t *testing.T) {
	eachWay(t, func(t *testing.T, direct bool) {
		var list []*Process
		for range 10 {
			p, err := start(Spec{Argv: []string{"sleep", "60"}}, direct)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, p)
		}
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				runtime.LockOSThread() // never unlocked: the thread ends
				time.Sleep(time.Millisecond)
			})
		}
		wg.Wait()
		time.Sleep(50 * time.Millisecond)
		for _, p := range list {
			select {
			case <-p.Gone():
				t.Errorf("%d ended: %v", p.PID(), p.Exit())
			default:
			}
			p.Kill()
			<-p.Done()
		}
	})
}

// Descriptors, processes and zombies are back where they were, also when starts fail and many are made at once.
func TestNothingPilesUp(t *testing.T) {
	Containment()
	ended(t, true, "true") // what the runtime opens once
	before := open(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 40 {
				argv := []string{"sh", "-c", "sleep 0.01 & exit 0"}
				if j%5 == i%5 {
					argv = []string{"/no/such/program"}
				}
				p, err := Start(Spec{Argv: argv})
				if err == nil {
					if j%3 == 0 {
						p.Kill()
					}
					<-p.Done()
				}
			}
		})
	}
	wg.Wait()
	if after := open(t); after > before {
		t.Errorf("%d descriptors, were %d", after, before)
	}
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		list := children(os.Getpid())
		if w := wardenPID(); w > 0 {
			list = append(list, children(w)...)
			if n := openOf(t, w); n > 12 {
				t.Fatalf("the warden has %d descriptors", n)
			}
		}
		if len(list) <= 1 || len(list) == 2 && sharesMemory && len(children(list[1])) == 0 { // the warden, and a shim that waits
			return
		}
		if time.Now().After(end) {
			t.Fatalf("still there: %v", describe(list))
		}
	}
}

func open(t *testing.T) int { return openOf(t, os.Getpid()) }

func openOf(t *testing.T, pid int) int {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func wardenPID() int {
	guard.mu.Lock()
	defer guard.mu.Unlock()
	if guard.cmd == nil {
		return 0
	}
	return guard.cmd.Process.Pid
}

// Wardens are killed and stopped while programs are being started: every start succeeds, or says that the warden was lost.
func TestLostWarden(t *testing.T) {
	if Containment().Level == BestEffort {
		t.Skip("SKIPPED, NOT TESTED: there is no warden here")
	}
	stop := make(chan struct{})
	var killer sync.WaitGroup
	wardens := map[int]bool{}
	killer.Go(func() {
		for {
			pid := wardenPID() // waits while one is being made
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rand.IntN(40)) * time.Millisecond):
			}
			if pid > 0 {
				wardens[pid] = true
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	})
	var mu sync.Mutex
	good, lost := 0, 0
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 60 {
				e, err := Run(context.Background(), Command{Argv: []string{"sh", "-c", "echo $0", "x"}})
				mu.Lock()
				switch {
				case err == nil && e.Code == 0 && string(e.Stdout) == "x\n":
					good++
				case errors.Is(err, errWarden):
					lost++
				default:
					t.Errorf("%+v, %v", e, err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	close(stop)
	killer.Wait()
	t.Logf("%d wardens killed, %d programs ran, %d starts lost", len(wardens), good, lost)
	if good < 120 || len(wardens) < 2 {
		t.Error("too few")
	}
	if Containment().Level == BestEffort {
		t.Error(Containment())
	}
}
func TestKillWhileItEnds(t *testing.T) {
	eachWay(t, func(t *testing.T, direct bool) {
		for i := range 300 {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			p, err := start(Spec{Argv: []string{"sh", "-c", "exit 7"}, Files: []*os.File{w}}, direct)
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = r.Read(make([]byte, 1))
			p.Kill()
			r.Close()
			<-p.Done()
			if x := p.Exit(); x.Code != 7 {
				t.Fatalf("run %d: %v, %v, %d bytes", i, x, x.CPU, x.MaxRSS)
			}
		}
	})
}

// A program can be told where it is: its directory lies below its own root, also in a mount namespace of its own.
func TestTheWorkingDirectoryHasAName(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range []string{dir, "/", "/usr"} {
		x, err := Run(t.Context(), Command{Argv: []string{os.Args[0]}, Dir: in, Env: []string{"PROC_TEST=where"}})
		if want := in + " <nil>"; err != nil || string(x.Stdout) != want {
			t.Errorf("in %s: %q %v, want %q", in, x.Stdout, err, want)
		}
	}
}
