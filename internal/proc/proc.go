// Package proc is the only place that starts, signals and reaps operating-system processes.
//
// Start asks the warden, a small process that this package runs from our own binary, to fork a shim, and the shim starts the program: Start costs the same
// however large the caller is. The shim is the first process of the program's PID namespace, so whatever the program leaves behind, in whatever group or
// session, ends with the program, with Kill, or with Tandem, however it dies; Containment says where the machine allows less. The program itself is never the
// first process of its namespace, leads a process group, and reports its exit code, signal and usage as if it were our child. PIDs are ours, not the
// namespace's. A lost warden harms no program that runs; the next Start makes another one.
//
// Start is safe for many callers. A Process has one goroutine that waits for it; Gone is closed when the program has ended, Done when its tree is gone as
// well and its output has been read. Limits, working directory and environment are the caller's at the time of Start, but for umask, resource limits and
// priorities, which are those of the first.
package proc

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tandem"
)

// Spec is a program to start.
type Spec struct {
	Argv      []string
	Dir       string
	Env       []string                       // nil means this process's own
	Extra     []string                       // added to Env; the last of a name counts
	Stdin     *os.File                       // nil means nothing to read
	Files     []*os.File                     // become descriptors 3, 4, …
	Output    func(stream int, chunk []byte) // told what the process writes to stream 1 or 2; may be nil
	Limits    Limits
	Isolation Isolation

	name string // what the program is told it is called; empty means Argv[0]
}

// Exit is how a process ended.
type Exit struct {
	Code   int // -1 when a signal ended it
	Signal syscall.Signal
	CPU    time.Duration
	MaxRSS int64  // bytes
	Tail   string // the last of its output
	Group  Counted
	Over   *Over // the proof that it reached its limit of memory; nil when it did not
	Lost   bool  // nobody told how it ended: what held it died first, and it with it
}

func (e Exit) String() string {
	if e.Signal != 0 {
		return unix.SignalName(e.Signal) + " (" + e.Signal.String() + ")"
	}
	return "exit code " + itoa(e.Code)
}

// Reason is the end in one word: SIGKILL, or exit 7.
func (e Exit) Reason() string {
	if e.Signal != 0 {
		return unix.SignalName(e.Signal)
	}
	return "exit " + itoa(e.Code)
}

// Process is a started program.
type Process struct {
	cmd    *exec.Cmd
	held   *held // nil when it was started directly
	forked bool  // from a template
	keep   bool  // its tree outlives it, until Kill
	pid    int
	done   chan struct{}
	gone   chan struct{}
	doomed chan struct{} // closed by the first Kill
	exit   Exit
	mu     sync.Mutex // guards reaped against Kill: a reaped pid may belong to somebody else
	reaped bool
	tail   tail
	cage   *plan // nil when nothing was asked for
	report tandem.Isolation
	memory tandem.Memory
	over   atomic.Pointer[Over]
	peak   atomic.Int64
	looks  sync.WaitGroup
}

// Start starts the program. The error is a *tandem.Error of kind start.
func Start(spec Spec) (*Process, error) { return start(spec, false) }

func start(spec Spec, direct bool) (*Process, error) { return startAs(spec, direct, false) }

// startAs starts the program; with keep its tree outlives it, until Kill.
func startAs(spec Spec, direct, keep bool) (*Process, error) {
	if len(spec.Argv) == 0 || spec.Argv[0] == "" {
		return nil, &tandem.Error{Op: "start", Kind: tandem.KindStart, Message: "no program given"}
	}
	cmd := exec.Command(spec.Argv[0], spec.Argv[1:]...)
	if spec.name != "" {
		cmd.Args[0] = spec.name
	}
	cmd.Dir, cmd.Env, cmd.ExtraFiles = spec.Dir, spec.Env, spec.Files
	if len(spec.Extra) > 0 {
		cmd.Env = append(cmd.Environ(), spec.Extra...)
	}
	if token := settle(spec.Isolation.Open); token != "" {
		cmd.Env = append(cmd.Environ(), token)
	}
	if add := spec.Isolation.cpuEnv(cmd.Environ()); add != nil {
		cmd.Env = append(cmd.Environ(), add...)
	}
	if spec.Stdin != nil {
		cmd.Stdin = spec.Stdin
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p := &Process{cmd: cmd, keep: keep, done: make(chan struct{}), gone: make(chan struct{}), doomed: make(chan struct{})}
	out, closeChild, err := p.pipes(spec.Output)
	if err == nil {
		err = p.begin(cmd, spec, direct)
		closeChild()
	}
	if err != nil {
		out.abandon()
		return nil, startError(spec.Argv[0], err)
	}
	out.start()
	if p.memory == tandem.MemoryRlimit || p.memory == tandem.MemoryPolled {
		p.looks.Go(func() { p.bound(spec.Limits.Memory) })
	}
	if p.memory == tandem.MemoryKernel {
		p.oomWatch(p.cage.group)
	}
	go p.wait(out)
	return p, nil
}

// begin starts the program through the warden, or directly where there is none.
func (p *Process) begin(cmd *exec.Cmd, spec Spec, direct bool) (err error) {
	c := Containment()
	if direct {
		c = Contained{Level: BestEffort, How: "nothing but its process group", Missing: c.Missing}
	}
	ask := spec.Isolation
	if ask.closed() { // the program itself may always be read
		if _, serr := os.Stat(cmd.Path); serr == nil {
			ask.Read = append(slices.Clone(ask.Read), cmd.Path)
		}
	}
	if p.cage, err = newPlan(spec.Limits, ask, c); err != nil {
		return err
	}
	for !direct {
		p.held, p.pid, direct, err = startHeld(cmd, p.cage, p.keep)
		f, caught := errors.AsType[*cageFault](err)
		if !caught {
			break
		}
		if err = p.cage.weaken(f, c); err != nil {
			break
		}
	}
	if direct && p.keep && err == nil {
		err = &tandem.Error{Op: "start", On: cmd.Path, Kind: tandem.KindStart, Message: "there is no warden to hold what it forks"}
	}
	if direct && err == nil {
		if err = spawn(cmd); err == nil {
			p.pid = cmd.Process.Pid
			p.cage.rlimits().apply(p.pid)
		}
	}
	if err != nil {
		p.cage.drop()
	}
	p.report = p.cage.report
	p.memory = tandem.Memory(p.report.Memory)
	return err
}

// Isolation tells how far the program is kept from the machine.
func (p *Process) Isolation() tandem.Isolation { return p.report }

func startError(program string, err error) error {
	if e, ok := errors.AsType[*tandem.Error](err); ok {
		return e
	}
	e := &tandem.Error{Op: "start", On: program, Kind: tandem.KindStart, Message: err.Error(), Err: err}
	switch {
	case errors.Is(err, errWarden):
		e.Hint = "something kills the processes of Tandem or stops them; try again"
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		e.Message = "no such program"
		e.Hint = "install it, or give the path of the program; `tandem doctor` lists what is here"
	case errors.Is(err, fs.ErrPermission) && !aboutItself(err):
		e.Message = "not allowed to run it"
		e.Hint = "chmod +x " + program
	case errors.Is(err, syscall.EMFILE):
		e.Hint = "Tandem has as many files open as it may: raise the limit (ulimit -n), or lower workers and concurrency; retry: {when: [start]} waits for some"
	case errors.Is(err, syscall.EAGAIN):
		e.Hint = "the limit of processes is reached: see `ulimit -u`"
	case errors.Is(err, syscall.E2BIG):
		e.Message = "its arguments and environment are longer than this system takes"
		e.Hint = "pass large values through stdin, or in a file"
	case errors.Is(err, syscall.ENOEXEC):
		e.Message = "not a program this system can run"
		e.Hint = "a script needs a first line such as #!/bin/sh"
	}
	return e
}

// aboutItself says that an error is of the start and not of the program's file.
func aboutItself(err error) bool {
	_, call := errors.AsType[*os.SyscallError](err)
	_, cage := errors.AsType[*cageFault](err)
	return call || cage
}

func (p *Process) wait(out *outputs) {
	if p.held != nil {
		p.exit = p.held.bury(func() { close(p.gone) })
		p.mu.Lock()
		p.reaped = true
		p.held.close()
		p.mu.Unlock()
	} else {
		p.reap()
	}
	p.looks.Wait()
	if g := p.cage.group; g != nil {
		p.exit.Group = g.counted()
		g.remove()
		p.over.CompareAndSwap(nil, p.exit.proof())
	}
	tidy()
	out.finish()
	p.exit.Tail, p.exit.Over = p.tail.String(), p.over.Load()
	close(p.done)
}

// reap waits for a process that was started directly.
func (p *Process) reap() {
	// Wait without reaping first: as long as the zombie is there, the id of its group cannot belong to anybody else.
	for unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	_ = unix.Kill(-p.pid, unix.SIGKILL) // what the process left behind in its group goes with it
	close(p.gone)
	p.mu.Lock()
	_ = p.cmd.Wait() // the state below says more
	p.reaped = true
	p.mu.Unlock()
	release()
	st := p.cmd.ProcessState
	p.exit = Exit{Code: st.ExitCode(), CPU: st.UserTime() + st.SystemTime()}
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		p.exit.Signal = ws.Signal()
	}
	if ru, ok := st.SysUsage().(*syscall.Rusage); ok {
		p.exit.MaxRSS = ru.Maxrss << 10
	}
}

// Forked says whether it was forked from a template.
func (p *Process) Forked() bool { return p.forked }

// PID is the process's id.
func (p *Process) PID() int { return p.pid }

// Kill ends the process and all it has started. It may be called at any time, and does not wait.
func (p *Process) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.doomed:
	default:
		close(p.doomed)
	}
	switch {
	case p.reaped:
	case p.held != nil:
		p.held.kill()
	default:
		_ = unix.Kill(-p.pid, unix.SIGKILL)
	}
}

// Terminate asks the program and its process group to end.
func (p *Process) Terminate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		_ = unix.Kill(-p.pid, Terminate)
	}
}

// Gone is closed as soon as the process has ended; its output may still be under way.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// Done is closed when the process and all it has started have ended and its output has been read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit tells how it ended; call it after Done.
func (p *Process) Exit() Exit { return p.exit }

// Without a warden, children end with us by their parent-death signal. It follows the thread that started them, not the process. So all are started on one thread,
// which lives as long as any child does.
var spawner struct {
	mu   sync.Mutex
	live int
	work chan func()
}

func spawn(cmd *exec.Cmd) error {
	spawner.mu.Lock()
	if spawner.live == 0 {
		work := make(chan func())
		spawner.work = work
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, when no child is left
			for f := range work {
				f()
			}
		}()
	}
	spawner.live++
	work := spawner.work
	spawner.mu.Unlock()
	result := make(chan error, 1)
	work <- func() { result <- cmd.Start() }
	err := <-result
	if err != nil {
		release()
	}
	return err
}

func release() {
	spawner.mu.Lock()
	defer spawner.mu.Unlock()
	if spawner.live--; spawner.live == 0 {
		close(spawner.work)
	}
}
