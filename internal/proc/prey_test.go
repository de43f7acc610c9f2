package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tandem"
)

// attempts are what a program tries that is to be kept from it.
var attempts = map[string]func(arg string) error{
	"read": func(path string) error { _, err := os.ReadFile(path); return err },
	"list": func(path string) error { _, err := os.ReadDir(path); return err },
	"write": func(path string) error {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
		if err == nil {
			f.Close()
		}
		return err
	},
	"truncate": func(path string) error { return unix.Truncate(path, 0) },
	"rename":   func(path string) error { return os.Rename(path, path+".moved") },
	"mkdir":    func(path string) error { return os.Mkdir(path, 0o755) },
	"remove":   os.Remove,
	"connect": func(addr string) error {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			c.Close()
		}
		return err
	},
	"unix": func(path string) error {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		return err
	},
	"loopback": func(string) error {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			c.Close()
		}
		return err
	},
	"socket":  func(family string) error { return socketOf(family) },
	"kill":    func(pid string) error { n, _ := strconv.Atoi(pid); return unix.Kill(n, 0) },
	"ptrace":  func(pid string) error { n, _ := strconv.Atoi(pid); return unix.PtraceSeize(n) },
	"environ": func(pid string) error { _, err := os.ReadFile("/proc/" + pid + "/environ"); return err },
	"unshare": func(string) error {
		runtime.LockOSThread()
		return unix.Unshare(unix.CLONE_NEWUSER | unix.CLONE_NEWNS)
	},
	"mount": func(at string) error { return unix.Mount("none", at, "tmpfs", 0, "") },
	"bpf":   func(string) error { return raw(unix.SYS_BPF, 0, 0, 0) },
	"uring": func(string) error {
		var params [120]byte
		return raw(unix.SYS_IO_URING_SETUP, 1, address(params[:]), 0)
	},
	"keyctl": func(string) error { return raw(unix.SYS_KEYCTL, 0, ^uintptr(2), 0) }, // the session's keyring
	"clone3": func(string) error { return raw(unix.SYS_CLONE3, 0, 0, 0) },
	"tty":    func(string) error { return raw(unix.SYS_IOCTL, 0, unix.TIOCSTI, 0) },
	"fork":   func(string) error { return exec.Command("/bin/true").Run() },
	"thread": func(string) error {
		done := make(chan int)
		go func() { runtime.LockOSThread(); close(done) }()
		<-done
		return nil
	},
	"pdeath":  func(string) error { return unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0) },
	"setuid":  func(string) error { return syscall.Setuid(0) },
	"chown":   func(path string) error { return os.Chown(path, 1, 1) },
	"is":      func(uid string) error { return same(strconv.Itoa(os.Getuid())+":"+strconv.Itoa(os.Getgid()), uid) },
	"groups":  func(want string) error { g, _ := os.Getgroups(); return same(fmt.Sprint(g), want) },
	"caps":    func(want string) error { return same(statusOf("CapEff")+" "+statusOf("CapPrm"), want) },
	"nonew":   func(want string) error { return same(statusOf("NoNewPrivs"), want) },
	"filters": func(want string) error { return same(statusOf("Seccomp"), want) },
	"env": func(kv string) error {
		name, want, _ := strings.Cut(kv, "=")
		return same(os.Getenv(name), want)
	},
	"processes": func(n string) error {
		want, _ := strconv.Atoi(n)
		var all []*exec.Cmd
		defer func() {
			for _, c := range all {
				_ = c.Process.Kill()
				_ = c.Wait()
			}
		}()
		for range want {
			c := exec.Command("/bin/sleep", "20")
			if err := c.Start(); err != nil {
				return err
			}
			all = append(all, c)
		}
		return nil
	},
	"memory": func(mib string) error {
		n, _ := strconv.Atoi(mib)
		hold := make([]byte, n<<20)
		for i := 0; i < len(hold); i += 4096 {
			hold[i] = 1
		}
		fmt.Fprintln(os.Stderr, "held", hold[0])
		return nil
	},
}

func socketOf(family string) error {
	n, _ := strconv.Atoi(family)
	fd, err := unix.Socket(n, unix.SOCK_DGRAM, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

func raw(nr, a, b, c uintptr) error {
	if _, _, err := unix.RawSyscall(nr, a, b, c); err != 0 {
		return err
	}
	return nil
}

func same(got, want string) error {
	if got != want {
		return errors.New("it is " + got)
	}
	return nil
}

func statusOf(name string) string {
	b, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// tryMain tries what its arguments say, each "what argument", and tells how it went in a line each.
func tryMain() {
	for _, arg := range os.Args[1:] {
		what, with, _ := strings.Cut(arg, " ")
		err := attempts[what](with)
		said := "done"
		if errno, ok := errors.AsType[syscall.Errno](err); ok {
			said = errnoName(errno)
		} else if err != nil {
			said = err.Error()
		}
		fmt.Println(said)
	}
	os.Exit(0)
}

// order1 is a program to be caged by an application in a process of its own, as another user.
type caging struct {
	Limits    Limits
	Isolation Isolation
	Argv      []string
	Pretend   map[string]syscall.Errno
}

type caged struct {
	Isolation tandem.Isolation
	Exit      Exit
	Output    string
	Error     *tandem.Error
	Groups    []string // left behind
}

// run cages a program and tells how it went.
func (c caging) run() (r caged) {
	defer pretending(c.Pretend)()
	said := make(chan string, 1000)
	p, err := Start(Spec{Argv: c.Argv, Extra: []string{"PROC_TEST=try"}, Limits: c.Limits, Isolation: c.Isolation, Output: func(_ int, b []byte) { said <- string(b) }})
	if err != nil {
		r.Error, _ = errors.AsType[*tandem.Error](err)
		if r.Error == nil {
			r.Error = &tandem.Error{Message: "no tandem.Error: " + err.Error()}
		}
		r.Error.Err = nil
	} else {
		<-p.Done()
		r.Isolation, r.Exit = p.Isolation(), p.Exit()
	}
	close(said)
	for s := range said {
		r.Output += s
	}
	r.Groups = leftGroups()
	return r
}

// leftGroups are control groups of ours that have no program.
func leftGroups() (list []string) {
	groups.mu.Lock()
	defer groups.mu.Unlock()
	for _, r := range groups.runs {
		list = append(list, r.dir)
	}
	return list
}

func cagedMain() {
	var c caging
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	_ = json.NewEncoder(os.Stdout).Encode(c.run())
	os.Exit(0)
}

// pretending makes mechanisms fail until the returned function is called.
func pretending(list map[string]syscall.Errno) (end func()) {
	set := func(to map[string]error) {
		lacks.mu.Lock()
		defer lacks.mu.Unlock()
		lacks.pretend = to
	}
	errs := map[string]error{}
	for k, v := range list {
		errs[k] = v
	}
	set(errs)
	return func() { set(nil) }
}

func pretend(t *testing.T, list map[string]syscall.Errno) { t.Cleanup(pretending(list)) }
