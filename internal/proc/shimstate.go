package proc

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// shimState is all the memory that a shim writes to, and its child until it executes. It is not the collector's.
type shimState struct {
	shimVars
	buffer [4096]byte
	stack  [8192]byte
	_      [16]byte // behind the stack, which begins at its end
}

// shimVars begin at zero.
type shimVars struct {
	order
	mask     uint64 // of signals, as the program gets it
	packet   packet
	poll     [2]unix.PollFd
	usage    syscall.Rusage
	status   int32
	stat     [2]unix.Statx_t
	worker   uintptr
	ended    bool
	interval unix.Timespec
	rule     struct {
		rights uint64
		fd     int32
		_      int32
	}
	prog struct {
		n    uint16
		_    [6]byte
		code uintptr
	}
	detail int64 // which of several it was
	ifreq  struct {
		name  [16]byte
		flags uint16
		_     [22]byte
	}
	limit, former unix.Rlimit
	message       unix.Msghdr
	vector        unix.Iovec
	rights        struct {
		size  uint64
		level int32
		kind  int32
		fd    [maxFiles + 2 + maxJoins]int32
	}
}

// block is where a shim lives: its state, and behind that what its order points to.
type block struct {
	mem       []byte
	state     *shimState
	argv, env []uintptr
	dirPath   []byte
}

const (
	stateSize = int(unsafe.Sizeof(shimState{}))
	blockSize = 64 << 10 // of one that is used again
	maxBlocks = 64       // that wait for it
)

// take gives a block with room for a body.
func (w *warden) take(body int) (*block, error) {
	w.mu.Lock()
	n := len(w.free)
	if n > 0 && stateSize+body <= blockSize {
		b := w.free[n-1]
		w.free = w.free[:n-1]
		w.mu.Unlock()
		b.state.shimVars = shimVars{}
		return b, nil
	}
	w.mu.Unlock()
	mem, err := unix.Mmap(-1, 0, max(stateSize+body, blockSize), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	return &block{mem: mem, state: (*shimState)(unsafe.Pointer(&mem[0]))}, nil
}

func (b *block) body() []byte { return b.mem[stateSize:] }

// give takes a block back whose shim has ended. The child of one that was killed may live for a moment more, so nobody else gets that. The mutex is held.
func (w *warden) give(b *block, again bool) {
	if again && len(b.mem) == blockSize && len(w.free) < maxBlocks {
		w.free = append(w.free, b)
		return
	}
	_ = unix.Munmap(b.mem)
}

// start forks the shim of a block and notes it.
func (w *warden) start(b *block, spare bool) (pid int, errno syscall.Errno) {
	w.mu.Lock() // or it could be buried before it is known
	defer w.mu.Unlock()
	n, errno := launch(b.state)
	if errno != 0 {
		w.give(b, true)
		return 0, errno
	}
	pid = int(n)
	if w.shims[pid] = b; spare {
		w.shims[pid] = nil
	}
	select {
	case w.forked <- struct{}{}:
	default:
	}
	return pid, 0
}

// launch forks a shim, with all signals blocked: those that come would find the runtime's handlers in it. The warden's first goroutine stays on its thread.
func launch(s *shimState) (pid uintptr, err syscall.Errno) {
	const setMask = 2
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, setMask, uintptr(unsafe.Pointer(&everySignal)), uintptr(unsafe.Pointer(&s.mask)), 8, 0, 0)
	run := shim
	code := **(**uintptr)(unsafe.Pointer(&run)) // a func value points to where its code's address stands
	pid, errno := fork(s.flags|uintptr(unix.SIGCHLD), unsafe.Pointer(&s.stack[len(s.stack)-1]), s, code)
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, setMask, uintptr(unsafe.Pointer(&s.mask)), 0, 8, 0, 0)
	return pid, syscall.Errno(errno)
}
