package proc

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Template is a running program that makes others of itself by forking: they begin where it stands, with what it has loaded. It has the other end of a channel
// of packets as descriptor 3, and puts above each program a process that says of it what a shim says and does what a shim does. So what Fork gives is held as
// what Start gives; only, those of one template all end when the template is killed. They do not end when it dies.
type Template struct {
	*Process
	name string
	mu   sync.Mutex
	line *os.File
}

// errTemplate is why a fork was not even tried.
var errTemplate = errors.New("the process that others are forked from was lost")

// StartTemplate starts a template. The error is a *tandem.Error of kind start, also where programs are started without a shim.
func StartTemplate(spec Spec) (*Template, error) {
	if !spec.Forkable() {
		return nil, startError(spec.Argv[0], errors.New("what is forked from a process cannot have limits of its own"))
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, startError(spec.Argv[0], os.NewSyscallError("socketpair", err))
	}
	theirs := os.NewFile(uintptr(fds[1]), "template")
	defer theirs.Close()
	_ = unix.SetNonblock(fds[0], true)
	t := &Template{name: spec.Argv[0], line: os.NewFile(uintptr(fds[0]), "template")}
	spec.Files = append([]*os.File{theirs}, spec.Files...)
	if t.Process, err = startAs(spec, false, true); err != nil {
		t.line.Close()
		return nil, err
	}
	return t, nil
}

// Ask sends word and waits for the answer; false when there is none within limit, or the template has ended.
func (t *Template) Ask(word []byte, limit time.Duration) (answer []byte, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.line.SetDeadline(time.Now().Add(limit))
	defer func() { _ = t.line.SetDeadline(time.Time{}) }()
	if _, err := t.line.Write(word); err != nil {
		return nil, false
	}
	answer = make([]byte, 64<<10)
	n, err := t.line.Read(answer)
	return answer[:max(n, 0)], err == nil && n > 0
}

// Fork makes a program. Of spec it takes the environment in Extra, Stdin, Files and Output.
func (t *Template) Fork(spec Spec) (*Process, error) {
	env := map[string]string{}
	for _, kv := range spec.Extra {
		if name, value, ok := strings.Cut(kv, "="); ok {
			env[name] = value
		}
	}
	word, err := json.Marshal(map[string]any{"env": env})
	if err != nil {
		return nil, startError(t.name, err)
	}
	cmd := &exec.Cmd{Path: t.name, ExtraFiles: spec.Files}
	if spec.Stdin != nil {
		cmd.Stdin = spec.Stdin
	}
	p := &Process{cmd: cmd, forked: true, cage: &plan{}, report: t.report, memory: t.memory, done: make(chan struct{}), gone: make(chan struct{}), doomed: make(chan struct{})}
	out, closeChild, err := p.pipes(spec.Output)
	if err == nil {
		p.held, p.pid, err = t.fork(cmd, word)
		closeChild()
	}
	if err != nil {
		out.abandon()
		return nil, startError(t.name, err)
	}
	out.start()
	go p.wait(out)
	return p, nil
}

func (t *Template) fork(cmd *exec.Cmd, word []byte) (_ *held, pid int, err error) {
	h, theirs, err := newHeld()
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	files, done, err := descriptors(cmd)
	if err == nil {
		err = t.send(word, append([]int{theirs}, files...))
		done()
	}
	_ = unix.Close(theirs)
	if err != nil {
		return nil, 0, err
	}
	if pid, err = h.await(cmd); err == errWarden {
		err = errTemplate
	}
	return h, pid, err
}

func (t *Template) send(word []byte, fds []int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	raw, err := t.line.SyscallConn()
	if err != nil {
		return errTemplate
	}
	_ = t.line.SetWriteDeadline(time.Now().Add(patience))
	rights := unix.UnixRights(fds...)
	cerr := raw.Write(func(fd uintptr) bool {
		for {
			_, err = unix.SendmsgN(int(fd), word, rights, nil, unix.MSG_NOSIGNAL)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if err != nil || cerr != nil {
		return errTemplate
	}
	return nil
}

// Close kills the template with all that was forked from it, and waits for their end, but not for what cannot be killed.
func (t *Template) Close() {
	t.Kill()
	t.await(0)
	t.line.Close()
}

// Forkable says whether a template can make such a program: it has no limits and no cage of its own.
func (s Spec) Forkable() bool {
	return s.Limits == Limits{} && reflect.ValueOf(s.Isolation).IsZero()
}
