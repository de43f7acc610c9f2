package proc

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tandem"
)

// patience with a warden that neither answers nor dies.
const patience = 10 * time.Second

// The one warden of this process. It is started by the first Start and, when it has died, by the next.
var guard struct {
	mu        sync.Mutex
	cmd       *exec.Cmd
	sock      int
	contained Contained
	known     bool
	refused   bool // it cannot be had; programs are started directly
	serial    int
	settled   bool
	notice    func(line string)
	janitor   janitor
}

// errWarden is why a start was not even tried by the warden.
var errWarden = errors.New("the warden, which starts processes, was lost")

// Containment tells how what Start starts is held. The first call tries it out, which takes some milliseconds.
func Containment() Contained {
	guard.mu.Lock()
	defer guard.mu.Unlock()
	if !guard.known {
		if err := raise(); err != nil {
			return Contained{Level: BestEffort, How: "nothing yet", Missing: []Missing{{"warden", errnoOf(err), "no program can be started now"}}}
		}
	}
	c := guard.contained
	c.Missing = append([]Missing(nil), c.Missing...)
	return c
}

// raise starts the warden when there is none. The mutex is held. A warden that is killed while it starts is no reason to do without.
func raise() error {
	if guard.cmd != nil || guard.refused {
		return nil
	}
	err := errWarden
	for range 3 {
		if err = newWarden(); err != errWarden {
			break
		}
	}
	if err != nil && err != errWarden && !guard.known {
		guard.refused, guard.known = true, true
		guard.contained = Contained{Level: BestEffort, How: "process groups and the parent-death signal", Missing: []Missing{{"warden", errnoOf(err),
			"a program's processes that left its group stay until the next run, and starting one takes longer the more memory this process has"}}}
		return nil
	}
	return err
}

// newWarden starts a warden. The error is errWarden when it was killed or did not answer, else why there can be none.
func newWarden() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "warden")
	defer theirs.Close()
	tv := unix.NsecToTimeval(int64(patience))
	_ = unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	_ = unix.SetsockoptTimeval(fds[0], unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{WardenName}
	cmd.Env = []string{wardenEnv + "=" + wardenMagic, "GOMAXPROCS=1", "GOTRACEBACK=all"}
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		_ = unix.Close(fds[0])
		return err
	}
	theirs.Close()
	buf := make([]byte, 8<<10)
	var n int
	for {
		if n, err = unix.Read(fds[0], buf); err != unix.EINTR {
			break
		}
	}
	var c Contained
	if err == nil {
		err = json.Unmarshal(buf[:n], &c)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = unix.Close(fds[0])
		if code := cmd.ProcessState.ExitCode(); code > 0 {
			return fmt.Errorf("it ended with exit code %d", code)
		}
		return errWarden
	}
	guard.cmd, guard.sock, guard.contained, guard.known = cmd, fds[0], c, true
	guard.serial++
	watchWarden(guard.serial)
	return nil
}

// wardenLook is how long a warden that was killed may stay a zombie.
const wardenLook = 500 * time.Millisecond

// watchWarden buries a warden that has ended though nobody wants to start anything just then. A goroutine that waits would be there to the end of every program
// that uses the library; a look from time to time costs a microsecond.
func watchWarden(serial int) {
	time.AfterFunc(wardenLook, func() {
		tidy()
		guard.mu.Lock()
		defer guard.mu.Unlock()
		if guard.serial == serial && guard.cmd != nil {
			watchWarden(serial)
		}
	})
}

// lose gives up a warden that did not do what it was asked; serial tells which, for another caller may have seen it first.
func lose(serial int) {
	guard.mu.Lock()
	defer guard.mu.Unlock()
	if serial == guard.serial {
		drop()
	}
}

// tidy buries a warden that was killed; it is also called when a program ends, as that is what the end of a warden brings about.
func tidy() {
	if !guard.mu.TryLock() {
		return // somebody starts something, and will see it
	}
	defer guard.mu.Unlock()
	if guard.cmd != nil && hasEnded(guard.cmd.Process.Pid) {
		drop()
	}
}

// hasEnded says whether a child has ended; it is not buried by that.
func hasEnded(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
	return err == nil && info.Signo != 0 || err == unix.ECHILD
}

func drop() {
	if guard.cmd == nil {
		return
	}
	_ = unix.Close(guard.sock)
	_ = guard.cmd.Process.Kill()
	_ = guard.cmd.Wait()
	guard.cmd = nil
}

// request asks the warden to start a program that speaks to us through ctl. It closes nothing.
func request(body []byte, fds []int) (serial int, direct bool, err error) {
	guard.mu.Lock()
	defer guard.mu.Unlock()
	if err := raise(); err != nil {
		return 0, false, err
	}
	if guard.refused {
		return 0, true, nil
	}
	rights := unix.UnixRights(fds...)
	for len(body) > 0 {
		n, err := unix.SendmsgN(guard.sock, body, rights, nil, unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			drop()
			return 0, false, errWarden
		}
		body, rights = body[n:], nil
	}
	return guard.serial, false, nil
}

// encode is a request: the sizes and the limits, then the path, the arguments and the environment, each ended by a zero byte, then the cage.
func encode(cmd *exec.Cmd, keep bool, limits rlimits, cage []byte) ([]byte, error) {
	env := cmd.Environ()
	size := headerSize + len(cmd.Path) + 1
	for _, list := range [][]string{cmd.Args, env} {
		for _, s := range list {
			size += len(s) + 1
		}
	}
	b := make([]byte, headerSize, size+len(cage))
	binary.LittleEndian.PutUint32(b, uint32(size+len(cage)-headerSize))
	argc := uint32(len(cmd.Args))
	if keep {
		argc |= keepTree
	}
	binary.LittleEndian.PutUint32(b[4:], argc)
	binary.LittleEndian.PutUint32(b[12:], uint32(len(cage)))
	binary.LittleEndian.PutUint32(b[8:], uint32(len(env)))
	limits.put(b[16:])
	for _, list := range [][]string{{cmd.Path}, cmd.Args, env} {
		for _, s := range list {
			if strings.IndexByte(s, 0) >= 0 {
				return nil, &os.PathError{Op: "fork/exec", Path: cmd.Path, Err: unix.EINVAL}
			}
			b = append(append(b, s...), 0)
		}
	}
	b = append(b, cage...)
	if len(b) > maxRequest {
		return nil, &os.PathError{Op: "fork/exec", Path: cmd.Path, Err: unix.E2BIG}
	}
	return b, nil
}

// stageError is what the shim or the warden said of a start that failed.
func stageError(cmd *exec.Cmd, stage int64, errno syscall.Errno) error {
	at := map[int64]string{atUser: "map the user", atMount: "make mounts private", atProc: "mount /proc", atFiles: "arrange descriptors", atFork: "fork", atDeath: "arrange its end with ours"}[stage]
	switch stage {
	case atExec:
		return &os.PathError{Op: "fork/exec", Path: cmd.Path, Err: errno}
	case atDir:
		return &os.PathError{Op: "chdir", Path: cmd.Dir, Err: errno}
	case atFork:
		if errno == unix.ENOSPC {
			return &tandem.Error{Op: "start", On: cmd.Path, Kind: tandem.KindStart, Message: "no more PID namespaces: " + errno.Error(),
				Hint: "see /proc/sys/user/max_pid_namespaces", Err: errno}
		}
	}
	return os.NewSyscallError(at, errno)
}

func errnoOf(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errnoName(errno)
	}
	return err.Error()
}
