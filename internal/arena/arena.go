// Package arena is the memory that Tandem and a worker share: the in-arena, the out-arena and the control page.
//
// Regions are memfds, sealed against resizing, mapped once on each side and used again for every large value, so their pages stay
// warm. They are sparse: a region of 1 GiB costs only what was touched. Nothing here starts or signals a process.
package arena

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	ControlSize = 64 << 10 // bytes of the control page
	DefaultSize = 1 << 30  // bytes of an arena, sparse
	MaxSlots    = (ControlSize/8 - 64) / 2
)

// Words of the control page; see protocol/SPEC.md section 7.
const (
	wordVersion  = 0
	wordReleased = 8
	wordHalt     = 9
	wordAtOnce   = 10
	wordStarted  = 16
	wordFinished = 17
	wordSlots    = 64
)

// Region is one mapped memfd.
type Region struct {
	Mem  []byte
	file *os.File
}

// New makes a region of size bytes that can be handed to one child process.
func New(name string, size int64) (*Region, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make shared memory %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := f.Truncate(size); err != nil {
		f.Close()
		return nil, fmt.Errorf("size shared memory %s to %d bytes: %w", name, size, err)
	}
	mem, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("map shared memory %s of %d bytes: %w", name, size, err)
	}
	return &Region{Mem: mem, file: f}, nil
}

// Seal forbids resizing for ever: a mapping can never run past the end of the file, so neither side can be killed by the other that way.
func (r *Region) Seal() error {
	if _, err := unix.FcntlInt(r.file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return fmt.Errorf("seal shared memory %s: %w", r.file.Name(), err)
	}
	return nil
}

// File is the descriptor to hand to the child; it stays the region's.
func (r *Region) File() *os.File { return r.file }

// Discard gives the memory behind [from, to) back to the system; the bytes read as zero afterwards.
func (r *Region) Discard(from, to int64) {
	// Best effort: where the kernel refuses, the pages just stay.
	_ = unix.Fallocate(int(r.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
}

// Close unmaps the region. Nobody may hold a part of Mem.
func (r *Region) Close() error {
	err := unix.Munmap(r.Mem)
	r.Mem = nil
	r.file.Close()
	return err
}

// Severed says that err comes of a descriptor that somebody here has closed, rather than of what was at its other end.
func Severed(err error) bool { return errors.Is(err, unix.EBADF) || errors.Is(err, unix.ENOTSOCK) }

// Open maps an inherited descriptor, as a worker does.
func Open(fd uintptr, size int64, write bool) ([]byte, error) {
	prot := unix.PROT_READ
	if write {
		prot |= unix.PROT_WRITE
	}
	mem, err := unix.Mmap(int(fd), 0, int(size), prot, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map descriptor %d of %d bytes: %w", fd, size, err)
	}
	return mem, nil
}

// Control is a control page. Every word is read and written atomically.
type Control struct{ words []uint64 }

// ControlOf is the control page at the head of mem.
func ControlOf(mem []byte) Control {
	return Control{words: unsafe.Slice((*uint64)(unsafe.Pointer(&mem[0])), ControlSize/8)}
}

// Reset clears the page for a fresh worker.
func (c Control) Reset() {
	for i := range c.words {
		c.words[i] = 0
	}
	atomic.StoreUint64(&c.words[wordVersion], 1)
}

func (c Control) Released() uint64     { return atomic.LoadUint64(&c.words[wordReleased]) }
func (c Control) Release(to uint64)    { atomic.StoreUint64(&c.words[wordReleased], to) }
func (c Control) Halt()                { atomic.StoreUint64(&c.words[wordHalt], 1) }
func (c Control) Halted() bool         { return atomic.LoadUint64(&c.words[wordHalt]) != 0 }
func (c Control) SetAtOnce(n int)      { atomic.StoreUint64(&c.words[wordAtOnce], uint64(n)) }
func (c Control) AtOnce() int          { return int(atomic.LoadUint64(&c.words[wordAtOnce])) }
func (c Control) Started() uint64      { return atomic.LoadUint64(&c.words[wordStarted]) }
func (c Control) Finished() uint64     { return atomic.LoadUint64(&c.words[wordFinished]) }
func (c Control) AddStarted()          { atomic.AddUint64(&c.words[wordStarted], 1) }
func (c Control) AddFinished()         { atomic.AddUint64(&c.words[wordFinished], 1) }
func (c Control) SetStarted(n uint64)  { atomic.StoreUint64(&c.words[wordStarted], n) }
func (c Control) SetFinished(n uint64) { atomic.StoreUint64(&c.words[wordFinished], n) }

// Begin marks slot s as running task id since now.
func (c Control) Begin(s int, id uint64, now int64) {
	atomic.StoreUint64(&c.words[wordSlots+2*s], id)
	atomic.StoreUint64(&c.words[wordSlots+2*s+1], uint64(now))
}

// End marks slot s as idle.
func (c Control) End(s int) { atomic.StoreUint64(&c.words[wordSlots+2*s+1], 0) }

// Slot tells what slot s runs; since is 0 when it is idle.
func (c Control) Slot(s int) (id uint64, since int64) {
	since = int64(atomic.LoadUint64(&c.words[wordSlots+2*s+1]))
	return atomic.LoadUint64(&c.words[wordSlots+2*s]), since
}

// Now is the clock of the control page: CLOCK_MONOTONIC in nanoseconds, the same in every process of this machine. It costs no system call.
func Now() int64 { return clockBase + int64(time.Since(clockStart)) }

var (
	clockStart = time.Now()
	clockBase  = monotonic()
)

func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// DumpSignal asks a worker in Go where its goroutines are: one that nobody else uses.
const DumpSignal = unix.Signal(60)

// QuitSignal asks a worker in Go the same; it ends by it.
const QuitSignal = unix.SIGQUIT

// CloseOnExec keeps inherited descriptors from the programs that this process starts.
func CloseOnExec(fds ...uintptr) {
	for _, fd := range fds {
		unix.CloseOnExec(int(fd))
	}
}
