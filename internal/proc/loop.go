package proc

import (
	"errors"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tandem"
)

// Loop runs many short programs at the least cost. One thread starts them, reads what they write and buries them; no goroutine, no timer and
// no lock belongs to a single program, and what it costs beside the program itself is about forty microseconds.
//
//   - All methods but Wake are called by the goroutine that made the loop; it stays on its thread until Close.
//   - As with Start, each program leads a process group and is killed when Tandem dies; when it ends, what it left in its group is killed.
//     A process that has left the group by itself is not followed.
//   - A program reads nothing (/dev/null) and writes into pipes of its own: what a process that outlives it writes cannot turn up under the
//     name of another.
//   - While a program starts, the loop waits (vfork): a thread starts some thousands a second.
type Loop struct {
	cfg    LoopConfig
	epoll  int
	wake   int
	null   int
	attr   syscall.ProcAttr
	pidfd  int
	jobs   []*job // by id
	spare  []*job
	serial uint64  // of the last start
	young  []youth // started lately, in order; their pipes are not watched yet
	hold   bool
	events [128]unix.EpollEvent
	ended  []Ending
	buf    []byte
}

// LoopConfig says where output goes.
type LoopConfig struct {
	Env []string // of the programs; nil means ours
	Dir string   // their working directory; empty means ours
	// Output is told what program id writes to stream 1 or 2, during Wait and before its end is reported. It must not keep chunk.
	Output func(id, stream int, chunk []byte)
}

// Ending is how a program of a loop ended.
type Ending struct {
	ID int
	Exit
	Wall     time.Duration
	RunQueue time.Duration // time its main thread was ready to run but had no processor; -1 where it was not looked up or cannot be told
}

type job struct {
	id, pid, pidfd int
	pipes          [2]int // -1 when at its end
	watched        bool
	serial         uint64
	begun          time.Time
}

type youth struct {
	id     int
	serial uint64
	since  time.Time
}

const (
	// The pipes of a program that ends sooner are looked at once, at its end, which saves waking up for each of them. They hold 64 KiB.
	watchAfter = 2 * time.Millisecond
	// Looking up the run queue costs ten microseconds: of programs that are shorter than this, one in sixteen.
	queueAfter = 5 * time.Millisecond
	queueEvery = 16
	briefly    = 2 // milliseconds
	// The most that is read from a pipe after the end; a pipe holds no more unless somebody goes on writing.
	maxLeft = 1 << 20
)

// NewLoop makes a loop and binds the calling goroutine to its thread.
func NewLoop(cfg LoopConfig) (*Loop, error) {
	l := &Loop{cfg: cfg, epoll: -1, wake: -1, null: -1, buf: make([]byte, 64<<10)}
	fail := func(op string, err error) (*Loop, error) {
		l.closeFiles()
		return nil, os.NewSyscallError(op, err)
	}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fail("epoll_create", err)
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return fail("eventfd", err)
	}
	if l.null, err = unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fail("open "+os.DevNull, err)
	}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, l.wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: -1}); err != nil {
		return fail("epoll_ctl", err)
	}
	env := cfg.Env
	if env == nil {
		env = syscall.Environ()
	}
	l.attr = syscall.ProcAttr{Env: env, Dir: cfg.Dir, Files: []uintptr{uintptr(l.null), 0, 0},
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: &l.pidfd}}
	runtime.LockOSThread() // a parent-death signal follows the thread that started the child
	return l, nil
}

// Start starts a program under a small number that no other program of the loop has now. path is the program's file, see Look. The error is a
// *tandem.Error of kind start; Exhausted says of it whether fewer programs at a time would help.
func (l *Loop) Start(id int, path string, argv []string) error {
	for len(l.jobs) <= id {
		l.jobs = append(l.jobs, nil)
	}
	if l.jobs[id] != nil {
		return &tandem.Error{Op: "start", On: path, Kind: tandem.KindStart, Message: "place " + itoa(id) + " is taken"}
	}
	var pipes [2][2]int
	for i := range pipes {
		err := unix.Pipe2(pipes[i][:], unix.O_CLOEXEC)
		if err == nil {
			_, err = unix.FcntlInt(uintptr(pipes[i][0]), unix.F_SETFL, unix.O_NONBLOCK)
		}
		if err != nil {
			closeAll(pipes[:i])
			return startError(path, os.NewSyscallError("pipe", err))
		}
	}
	l.attr.Files[1], l.attr.Files[2] = uintptr(pipes[0][1]), uintptr(pipes[1][1])
	l.pidfd = -1
	begun := time.Now()
	pid, err := syscall.ForkExec(path, argv, &l.attr)
	if err != nil {
		closeAll(pipes[:])
		return startError(path, err)
	}
	_ = unix.Close(pipes[0][1])
	_ = unix.Close(pipes[1][1])
	j := l.take()
	l.serial++
	*j = job{id: id, pid: pid, pidfd: l.pidfd, pipes: [2]int{pipes[0][0], pipes[1][0]}, serial: l.serial, begun: begun}
	err = unix.EBADF
	if j.pidfd >= 0 {
		err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, j.pidfd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(id) << 2})
	}
	l.jobs[id] = j
	if err != nil { // we would never hear of its end
		_ = unix.Kill(-pid, unix.SIGKILL)
		l.bury(j)
		return &tandem.Error{Op: "start", On: path, Kind: tandem.KindStart, Message: "this kernel has no descriptors of processes: " + err.Error(),
			Hint: "Linux 5.4 or newer is needed", Err: err}
	}
	l.young = append(l.young, youth{id, j.serial, begun})
	return nil
}

func (l *Loop) take() *job {
	if n := len(l.spare); n > 0 {
		j := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return j
	}
	return &job{}
}

func closeAll(pipes [][2]int) {
	for _, p := range pipes {
		_ = unix.Close(p[0])
		_ = unix.Close(p[1])
	}
}

// Exhausted says whether a start failed for want of processes, descriptors or memory.
func Exhausted(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// Wait blocks until a program ends, one writes, Wake, or the limit (negative: none) and returns those that have ended. The slice is good until the
// next call.
func (l *Loop) Wait(limit time.Duration) ([]Ending, error) {
	l.ended = l.ended[:0]
	if next := l.watch(time.Now()); next >= 0 && (limit < 0 || next < limit) {
		limit = next
	}
	ms := -1
	if limit >= 0 {
		ms = int(min(int64((limit+time.Millisecond-1)/time.Millisecond), math.MaxInt32))
	}
	n, err := l.poll(ms)
	if err == unix.EINTR {
		return nil, nil
	}
	if err != nil {
		return nil, os.NewSyscallError("epoll_wait", err)
	}
	for _, e := range l.events[:n] {
		if e.Fd < 0 {
			_, _ = unix.Read(l.wake, l.buf[:8])
			continue
		}
		j := l.jobs[e.Fd>>2]
		if j == nil { // its end came first in this round
			continue
		}
		if kind := e.Fd & 3; kind == 0 {
			l.ended = append(l.ended, l.bury(j))
		} else if !l.hold {
			l.read(j, int(kind))
		}
	}
	return l.ended, nil
}

// poll waits for events. The first milliseconds it blocks the thread without telling the runtime, which would use the time to wake another thread
// that finds nothing to do: with programs of a millisecond that costs as much as all the rest of the loop.
func (l *Loop) poll(ms int) (int, error) {
	brief := briefly
	if ms >= 0 {
		brief = min(ms, briefly)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events[0])), uintptr(len(l.events)), uintptr(brief), 0, 0)
	switch {
	case errno != 0:
		return 0, errno
	case n > 0 || ms == brief:
		return int(n), nil
	case ms > 0:
		ms -= brief
	}
	return unix.EpollWait(l.epoll, l.events[:], ms)
}

// watch begins to watch the pipes of programs that have run for a while; it says when the next one will be due, or -1.
func (l *Loop) watch(now time.Time) time.Duration {
	if l.hold {
		return -1
	}
	i := 0
	for ; i < len(l.young); i++ {
		y := l.young[i]
		j := l.jobs[y.id]
		if j == nil || j.serial != y.serial {
			continue
		}
		if left := watchAfter - now.Sub(y.since); left > 0 {
			l.young = append(l.young[:0], l.young[i:]...)
			return left
		}
		l.register(j)
	}
	l.young = l.young[:0]
	return -1
}

func (l *Loop) register(j *job) {
	j.watched = true
	for i, fd := range j.pipes {
		if fd >= 0 {
			_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(j.id)<<2 | int32(i+1)})
		}
	}
}

// Hold stops reading what programs write, so that they wait once their pipes are full, or goes on with it.
func (l *Loop) Hold(on bool) {
	if on == l.hold {
		return
	}
	l.hold = on
	for _, j := range l.jobs {
		switch {
		case j == nil:
		case on && j.watched:
			j.watched = false
			for _, fd := range j.pipes {
				if fd >= 0 {
					_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil)
				}
			}
		case !on && !j.watched:
			l.register(j) // also the young: watching them twice is refused by the kernel and does no harm
		}
	}
	if !on {
		l.young = l.young[:0]
	}
}

// read reads once; false when there is nothing more now.
func (l *Loop) read(j *job, stream int) (n int, more bool) {
	fd := j.pipes[stream-1]
	if fd < 0 {
		return 0, false
	}
	n, err := unix.Read(fd, l.buf)
	switch {
	case n > 0:
		if l.cfg.Output != nil {
			l.cfg.Output(j.id, stream, l.buf[:n])
		}
		return n, true
	case err == unix.EINTR:
		return 0, true
	case err == unix.EAGAIN:
		return 0, false
	}
	l.shut(j, stream-1)
	return 0, false
}

func (l *Loop) shut(j *job, i int) {
	if j.watched {
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, j.pipes[i], nil)
	}
	_ = unix.Close(j.pipes[i])
	j.pipes[i] = -1
}

// bury ends a program that is dead or has been killed. It is a zombie until wait4, so the id of its group cannot belong to anybody else yet.
func (l *Loop) bury(j *job) Ending {
	e := Ending{ID: j.id, Wall: time.Since(j.begun), RunQueue: -1}
	_ = unix.Kill(-j.pid, unix.SIGKILL) // what it left behind in its group goes with it
	if e.Wall >= queueAfter || j.serial%queueEvery == 0 {
		e.RunQueue = runQueue(j.pid)
	}
	for i := range j.pipes {
		for left := maxLeft; left > 0; {
			n, more := l.read(j, i+1)
			if left -= n; !more {
				break
			}
		}
		if j.pipes[i] >= 0 {
			l.shut(j, i)
		}
	}
	var ws unix.WaitStatus
	var ru unix.Rusage
	var err error
	for {
		if _, err = unix.Wait4(j.pid, &ws, 0, &ru); err != unix.EINTR {
			break
		}
	}
	if j.pidfd >= 0 {
		_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, j.pidfd, nil)
		_ = unix.Close(j.pidfd)
	}
	e.Code, e.CPU, e.MaxRSS = ws.ExitStatus(), time.Duration(ru.Utime.Nano()+ru.Stime.Nano()), ru.Maxrss<<10
	if err != nil { // somebody else has reaped it: how it ended is not known, and that is no success
		e.Code = -1
	}
	if ws.Signaled() {
		e.Signal = ws.Signal()
	}
	l.jobs[j.id] = nil
	l.spare = append(l.spare, j)
	return e
}

// runQueue is the second figure of /proc/PID/schedstat, in nanoseconds.
func runQueue(pid int) time.Duration {
	fd, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/schedstat", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	defer unix.Close(fd)
	var b [64]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return -1
	}
	f := strings.Fields(string(b[:n]))
	if len(f) < 2 {
		return -1
	}
	ns, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return -1
	}
	return time.Duration(ns)
}

// Kill ends a program and its group at once; its end is reported by Wait as any other.
func (l *Loop) Kill(id int) {
	if id < len(l.jobs) && l.jobs[id] != nil {
		_ = unix.Kill(-l.jobs[id].pid, unix.SIGKILL)
	}
}

// Wake makes Wait return. It may be called from anywhere until Close.
func (l *Loop) Wake() {
	one := [8]byte{1}
	_, _ = unix.Write(l.wake, one[:])
}

// Close kills what still runs, waits for it and lets the goroutine leave its thread.
func (l *Loop) Close() {
	for id := range l.jobs {
		l.Kill(id)
	}
	for _, j := range l.jobs {
		if j != nil {
			l.bury(j)
		}
	}
	l.closeFiles()
	runtime.UnlockOSThread()
}

func (l *Loop) closeFiles() {
	for _, fd := range []int{l.epoll, l.wake, l.null} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}
