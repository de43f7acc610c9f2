package proc

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test binary is also the application that is killed.
func TestMain(m *testing.M) {
	switch os.Getenv("PROC_TEST") {
	case "app":
		appMain()
	case "large":
		hold := make([]byte, 512<<20)
		for i := 0; i < len(hold); i += 4096 {
			hold[i] = 1
		}
		fmt.Println("ready")
		time.Sleep(time.Minute)
		os.Exit(int(hold[0]))
	case "try":
		tryMain()
	case "caged":
		cagedMain()
	case "where": // as the kernel sees it, not as the environment says
		buf := make([]byte, 4096)
		n, err := syscall.Getcwd(buf)
		fmt.Printf("%s %v", buf[:max(n-1, 0)], err)
		os.Exit(0)
	case "no-pid-namespaces": // inside a user namespace of its own
		if err := os.WriteFile("/proc/sys/user/max_pid_namespaces", []byte("0"), 0); err != nil {
			fmt.Println("skip", err)
			os.Exit(0)
		}
		appMain()
	}
	code := m.Run()
	if copied != "" {
		os.RemoveAll(filepath.Dir(copied))
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Println(err)
		code = 1
	}
	os.Exit(code)
}

// tree is a victim of four processes that listen to nobody: itself, a child, one in a session of its own, and a daemon whose parent is gone.
const tree = `trap "" TERM INT HUP; sleep 300 & setsid sleep 300 & (setsid sh -c "sleep 300 & exit" &) & wait; sleep 300`

// appMain runs a tree, or what it is given, and says what became of it.
func appMain() {
	argv := []string{"sh", "-c", tree}
	if s := os.Getenv("PROC_TEST_RUN"); s != "" {
		argv[2] = s
	}
	fmt.Println("level", Containment().Level)
	Notice(func(line string) { fmt.Println("notice", line) })
	spec := Spec{Argv: argv}
	if os.Getenv("PROC_TEST_MEMORY") != "" {
		spec.Limits.Memory = 1 << 30
	}
	spec.Isolation.NoFork = os.Getenv("PROC_TEST_NOFORK") != ""
	begin := Start
	if argv[2] == forked {
		begin = forkTree
	}
	p, err := begin(spec)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("started", p.PID())
	<-p.Done()
	fmt.Println("ended", p.Exit().Reason())
	io.Copy(io.Discard, os.Stdin) // until we are let go
	os.Exit(0)
}

// app is an application in a process of its own.
type app struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	lines *bufio.Scanner
	token string
	under bool // the application is a child of cmd
}

var (
	copied  string
	copying sync.Mutex
)

// copyOfUs is the test binary where everybody may run it, under a name by which its processes are known.
func copyOfUs(t *testing.T) string {
	copying.Lock()
	defer copying.Unlock()
	if copied != "" {
		return copied
	}
	dir, err := os.MkdirTemp("/tmp", "proc-test")
	if err != nil {
		t.Fatal(err)
	}
	us, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err == nil {
		err = os.Mkdir(dir+"/tmp", 0o777)
	}
	if err == nil {
		err = os.Chmod(dir+"/tmp", 0o777|os.ModeSticky)
	}
	if err == nil {
		err = os.WriteFile(dir+"/app", us, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	copied = dir + "/app"
	return copied
}

// who an application is run as.
type who struct {
	name  string
	level Level
	attr  func() *syscall.SysProcAttr
	role  string
	under []string // a program that runs the application
}

var everybody = []who{
	{name: "as we are", role: "app", level: "", attr: func() *syscall.SysProcAttr { return nil }},
	{name: "nobody", role: "app", level: Kernel, attr: func() *syscall.SysProcAttr {
		return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}},
	{name: "without namespaces", role: "no-pid-namespaces", level: SingleFault, attr: func() *syscall.SysProcAttr {
		id := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		return &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: id, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
	}},
}

var serial int

// run starts an application. The test is skipped where it cannot be had.
func (w who) run(t *testing.T, script string) *app {
	t.Helper()
	serial++
	a := &app{t: t, token: fmt.Sprintf("PROC_TEST_TOKEN=%d-%d", os.Getpid(), serial)}
	argv := append(slices.Clone(w.under), copyOfUs(t))
	a.cmd = exec.Command(argv[0], argv[1:]...)
	a.under = len(w.under) > 0
	a.cmd.Dir = "/"
	a.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + filepath.Dir(copied) + "/tmp", "PROC_TEST=" + w.role, "PROC_TEST_RUN=" + script, "PYTHONDONTWRITEBYTECODE=1", "GORACE=atexit_sleep_ms=0", a.token, "PROC_TEST_MEMORY=" + os.Getenv("PROC_TEST_MEMORY"), "PROC_TEST_NOFORK=" + os.Getenv("PROC_TEST_NOFORK")}
	a.cmd.SysProcAttr = w.attr()
	if !a.under { // strace is talkative
		a.cmd.Stderr = os.Stderr
	}
	in, err := a.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	a.stdin, a.lines = in, bufio.NewScanner(out)
	t.Cleanup(a.kill)
	if err := a.cmd.Start(); err != nil {
		t.Skipf("SKIPPED, NOT TESTED: cannot run an application as %s: %v", w.name, err)
	}
	return a
}

// ready waits until the level is known and checks it.
func (a *app) ready(w who) Level {
	a.t.Helper()
	got := a.line("level")
	if w.level != "" && Level(got) != w.level {
		a.kill()
		a.t.Skipf("SKIPPED, NOT TESTED: %s has level %s here, want %s", w.name, got, w.level)
	}
	return Level(got)
}

// line is the rest of the next line, which begins with what.
func (a *app) line(what string) string {
	a.t.Helper()
	if !a.lines.Scan() {
		a.t.Fatalf("the application ended, want %q: %v", what, a.lines.Err())
	}
	word, rest, _ := strings.Cut(a.lines.Text(), " ")
	if word == "notice" && what != word {
		return a.line(what)
	}
	if word == "skip" {
		a.kill()
		a.t.Skip("SKIPPED, NOT TESTED: " + rest)
	}
	if word != what {
		a.t.Fatalf("the application says %q, want %q", a.lines.Text(), what)
	}
	return rest
}

// kill ends the application as nothing else can and buries it.
func (a *app) kill() {
	if a.cmd.ProcessState != nil || a.cmd.Process == nil {
		return
	}
	_ = a.cmd.Process.Kill()
	a.stdin.Close()
	_ = a.cmd.Wait()
}

// living lists the processes of the application's programs (which have its token) and, with all, the application, its warden and its shims.
func (a *app) living(all bool) (list []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		exe, _ := os.Readlink(d + "/exe")
		if exe == copied {
			if all {
				list = append(list, pid)
			}
			continue
		}
		if a.under && pid == a.cmd.Process.Pid {
			continue
		}
		env, _ := os.ReadFile(d + "/environ")
		if slices.Contains(strings.Split(string(env), "\x00"), a.token) {
			list = append(list, pid)
		}
	}
	return list
}

// settle waits until n processes of the programs live.
func (a *app) settle(n int) {
	a.t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		got := a.living(false)
		if len(got) == n {
			return
		}
		if time.Now().After(end) {
			a.kill()
			a.t.Fatalf("%d processes live, want %d: %v", len(got), n, describe(got))
		}
	}
}

// vanished waits until nothing of the application is left; what is left is ended here and reported.
func (a *app) vanished() (left []string) {
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		pids := a.living(true)
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(end) {
			left = describe(pids)
			for _, pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			return left
		}
	}
}

func describe(pids []int) (list []string) {
	for _, pid := range pids {
		cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		list = append(list, fmt.Sprintf("%d %q %.30s", pid, strings.ReplaceAll(string(cmd), "\x00", " "), stat))
	}
	return list
}

// parts finds warden, shim and worker of an application, as far as they are there.
func (a *app) parts() map[string]int {
	found := map[string]int{"app": a.cmd.Process.Pid}
	if a.under {
		list := children(a.cmd.Process.Pid)
		if len(list) == 0 {
			return map[string]int{}
		}
		found["app"] = list[0]
	}
	for _, part := range []struct{ above, name string }{{"app", "warden"}, {"warden", "shim"}, {"shim", "worker"}} {
		if pid := found[part.above]; pid > 0 {
			if list := children(pid); len(list) > 0 {
				found[part.name] = list[0]
			}
		}
	}
	return found
}
