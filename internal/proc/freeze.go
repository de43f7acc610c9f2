package proc

import (
	"hash/maphash"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Freezer stops single threads for a moment and tells where they are. It is for one goroutine that is locked to its thread and never unlocks it: the kernel knows the
// tracer by its thread, and lets go of everything when that ends, so that nothing stays frozen. What it may not stop it leaves out.
type Freezer struct {
	seed  maphash.Seed
	regs  [8 << 10]byte
	child int // is reaped elsewhere
	lost  []int
}

// Frozen is a thread that stands still.
type Frozen struct {
	PID, TID int
	State    uint64 // of its registers, all of them: the same number, the same place in the program with the same values at hand
	signal   int    // that was about to be delivered
}

// NewFreezer is one for the tree of a process that is this process's own child.
func NewFreezer(child int) *Freezer { return &Freezer{seed: maphash.MakeSeed(), child: child} }

// Freeze stops threads, given with their processes, and returns once they stand. Those that end meanwhile or may not be traced are not among them; refused says that there were such.
func (f *Freezer) Freeze(threads []Frozen) (still []Frozen, refused bool) {
	asked := make([]Frozen, 0, len(threads))
	for _, t := range threads {
		switch err := unix.PtraceSeize(t.TID); {
		case err == unix.EPERM:
			refused = true
		case err == nil && unix.PtraceInterrupt(t.TID) == nil:
			asked = append(asked, t)
		case err == nil:
			f.lost = append(f.lost, t.TID)
		}
	}
	for _, t := range asked {
		if !f.wait(&t) {
			continue
		}
		t.State = f.state(t.TID)
		still = append(still, t)
	}
	return still, refused
}

// wait waits until a thread stands; no when it has ended. It only looks, so that the end of a process is left for whoever waits for it.
func (f *Freezer) wait(t *Frozen) bool {
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, t.TID, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT|unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false
		}
		break
	}
	if anEnd(&info) {
		f.lost = append(f.lost, t.TID)
		return false
	}
	status := *(*int32)(unsafe.Add(unsafe.Pointer(&info), 24))
	if status>>8 == 0 && status != int32(unix.SIGTRAP) { // not our stop: a signal came first
		t.signal = int(status)
	}
	return true
}

// anEnd says whether what was waited for is an end: CLD_EXITED, CLD_KILLED, CLD_DUMPED.
func anEnd(info *unix.Siginfo) bool { return info.Code >= 1 && info.Code <= 3 }

// state is a digest of a thread's registers, those for numbers with a point included: a loop may keep all that it knows in them.
func (f *Freezer) state(tid int) uint64 {
	var h maphash.Hash
	h.SetSeed(f.seed)
	for _, set := range registers {
		v := unix.Iovec{Base: &f.regs[0], Len: uint64(len(f.regs))}
		if _, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GETREGSET, uintptr(tid), set, uintptr(unsafe.Pointer(&v)), 0, 0); e == 0 {
			_, _ = h.Write(f.regs[:v.Len])
		}
	}
	return h.Sum64()
}

// The sets of registers: NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE. What a machine does not have it refuses.
var registers = []uintptr{1, 2, 0x202}

// Thaw lets threads go on.
func (f *Freezer) Thaw(still []Frozen) {
	for _, t := range still {
		if _, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_DETACH, uintptr(t.TID), 0, uintptr(t.signal), 0, 0); e != 0 {
			f.lost = append(f.lost, t.TID)
		}
	}
	f.Bury()
}

// Bury sees to the threads that ended, or were killed, while they were held: they are not gone, nor is their process, before their tracer has seen it. Call it again and
// again until the process is gone.
func (f *Freezer) Bury() {
	left := f.lost[:0]
	for _, tid := range f.lost {
		if tid == f.child { // its parent waits for it
			continue
		}
		if n, err := unix.Wait4(tid, nil, unix.WALL|unix.WNOHANG, nil); err == unix.EINTR || err == nil && n == 0 {
			left = append(left, tid)
		}
	}
	f.lost = left
}
