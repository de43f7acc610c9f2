package proc

import (
	"encoding/binary"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rlimits are what a program may have, as the kernel takes it. All but core are left alone when they are zero.
type rlimits struct{ data, cpu, core uint64 }

const rlimitsSize = 24

func (l Limits) rlimits() rlimits {
	r := rlimits{data: uint64(max(l.Data, 0)), core: uint64(max(l.Core, 0))}
	if l.CPUTime > 0 {
		r.cpu = uint64((l.CPUTime + time.Second - 1) / time.Second) // the kernel counts in seconds
	}
	return r
}

func (r rlimits) put(b []byte) {
	binary.LittleEndian.PutUint64(b, r.data)
	binary.LittleEndian.PutUint64(b[8:], r.cpu)
	binary.LittleEndian.PutUint64(b[16:], r.core)
}

func rlimitsOf(b []byte) rlimits {
	return rlimits{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])}
}

// cpuGrace is how long a program may go on after SIGXCPU before the kernel kills it.
const cpuGrace = 2

// apply limits a program that was started directly. What it did before is not bounded.
func (r rlimits) apply(pid int) {
	set := func(which int, soft, hard uint64) {
		var old unix.Rlimit
		if unix.Prlimit(pid, which, nil, &old) == nil {
			_ = unix.Prlimit(pid, which, &unix.Rlimit{Cur: min(soft, old.Max), Max: min(hard, old.Max)}, nil)
		}
	}
	if r.data > 0 {
		set(unix.RLIMIT_DATA, r.data, r.data)
	}
	if r.cpu > 0 {
		set(unix.RLIMIT_CPU, r.cpu, r.cpu+cpuGrace)
	}
	set(unix.RLIMIT_CORE, r.core, r.core)
}

// What follows runs in the shim's child: see shim.go.

// bind gives the program its limits. None goes above what the warden has.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) bind() {
	if s.limits.data > 0 {
		s.bound(unix.RLIMIT_DATA, s.limits.data, s.limits.data)
	}
	if s.limits.cpu > 0 {
		s.bound(unix.RLIMIT_CPU, s.limits.cpu, s.limits.cpu+cpuGrace)
	}
	s.bound(unix.RLIMIT_CORE, s.limits.core, s.limits.core)
}

//go:nosplit
//go:norace
//go:nocheckptr
func (s *shimState) bound(which uintptr, soft, hard uint64) {
	if _, _, err := syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, which, 0, uintptr(unsafe.Pointer(&s.former)), 0, 0); err != 0 {
		return
	}
	if soft > s.former.Max {
		soft = s.former.Max
	}
	if hard > s.former.Max {
		hard = s.former.Max
	}
	s.limit.Cur, s.limit.Max = soft, hard
	syscall.RawSyscall6(unix.SYS_PRLIMIT64, 0, which, uintptr(unsafe.Pointer(&s.limit)), 0, 0, 0)
}
