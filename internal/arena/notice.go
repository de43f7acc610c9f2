package arena

import (
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The word of a control page that the kernel marks when the thread whose id is in it ends; see protocol/SPEC.md section 7.
const (
	deathByte = 192 // of the page
	deathRoom = 64  // with what belongs to it
	ownerDied = 1 << 30
	waiters   = 1 << 31
)

func (c Control) death() *uint32 {
	return (*uint32)(unsafe.Add(unsafe.Pointer(&c.words[0]), deathByte))
}

// robustHead is the kernel's struct robust_list_head.
type robustHead struct {
	next    uintptr
	offset  int64
	pending uintptr
}

// ownHead is for threads that no C library made. The kernel reads it when the thread ends.
var ownHead robustHead

// TellDeath lets the kernel mark the page when this process begins to die, before its memory is taken down, which for a gigabyte takes a tenth of a second. It holds
// a thread of its own until stop; at most one page of a process can be told. Where the kernel cannot do it nothing happens.
func TellDeath(c Control) (stop func()) {
	ended, held := make(chan struct{}), make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		armDeath(c)
		close(held)
		<-ended
	}()
	<-held
	return func() { close(ended) }
}

// armDeath adds the word to the locks that this thread holds.
func armDeath(c Control) {
	var head *robustHead
	var size uintptr
	if _, _, err := unix.RawSyscall(unix.SYS_GET_ROBUST_LIST, 0, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&size))); err != 0 {
		return
	}
	fresh := head == nil
	if fresh {
		head = &ownHead
		head.next, head.offset = uintptr(unsafe.Pointer(head)), -16
	} else if size != unsafe.Sizeof(ownHead) {
		return
	}
	at := deathByte - int(head.offset)
	if at < deathByte+16 || at > deathByte+deathRoom-8 {
		return
	}
	base := unsafe.Pointer(&c.words[0])
	*(*uintptr)(unsafe.Add(base, at)) = head.next
	*(*uintptr)(unsafe.Add(base, at-8)) = uintptr(unsafe.Pointer(head)) // a C library goes back by it
	atomic.StoreUint32(c.death(), uint32(unix.Gettid())|waiters)
	head.next = uintptr(unsafe.Add(base, at))
	if fresh {
		_, _, _ = unix.RawSyscall(unix.SYS_SET_ROBUST_LIST, uintptr(unsafe.Pointer(head)), unsafe.Sizeof(*head), 0)
	}
}

// notices waits for the marks of all pages of this process, on one thread for each 127 of them.
var notices struct {
	mu     sync.Mutex
	groups []*group
	off    bool // this kernel cannot wait for many words
}

type group struct {
	wake  uint32
	pages map[*notice]bool
}

type notice struct {
	word *uint32
	tell func()
}

const perGroup = 127 // and one word to be woken by

// OnDeath calls tell, once and on a thread that must not be held up, when the kernel has marked the page. It is a hint, which a worker can give without dying. The page must be
// mapped until stop has returned; from then on tell is not called.
func OnDeath(c Control, tell func()) (stop func()) {
	n := &notice{c.death(), tell}
	notices.mu.Lock()
	defer notices.mu.Unlock()
	if notices.off {
		return func() {}
	}
	var g *group
	for _, some := range notices.groups {
		if len(some.pages) < perGroup {
			g = some
		}
	}
	if g == nil {
		g = &group{pages: map[*notice]bool{}}
		notices.groups = append(notices.groups, g)
		go g.wait()
	}
	g.pages[n] = true
	g.stir()
	return func() {
		notices.mu.Lock()
		defer notices.mu.Unlock()
		delete(g.pages, n)
		g.stir()
	}
}

// stir wakes the group's thread to look again.
func (g *group) stir() {
	atomic.AddUint32(&g.wake, 1)
	const wake, private = 1, 128
	_, _, _ = unix.RawSyscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&g.wake)), wake|private, 1)
}

// waitv is the kernel's struct futex_waitv.
type waitv struct {
	value, address  uint64
	flags, reserved uint32
}

// wait ends when the group has no pages left.
func (g *group) wait() {
	const size32, private = 2, 128
	list := make([]waitv, 0, perGroup+1)
	for {
		list = list[:0]
		notices.mu.Lock()
		seen := atomic.LoadUint32(&g.wake)
		list = append(list, waitv{uint64(seen), uint64(uintptr(unsafe.Pointer(&g.wake))), size32 | private, 0})
		for n := range g.pages {
			v := atomic.LoadUint32(n.word)
			if v&ownerDied != 0 {
				delete(g.pages, n)
				n.tell()
				continue
			}
			list = append(list, waitv{uint64(v), uint64(uintptr(unsafe.Pointer(n.word))), size32, 0})
		}
		if len(g.pages) == 0 || notices.off {
			g.forget()
			notices.mu.Unlock()
			return
		}
		notices.mu.Unlock()
		_, _, err := unix.Syscall6(unix.SYS_FUTEX_WAITV, uintptr(unsafe.Pointer(&list[0])), uintptr(len(list)), 0, 0, 0, 0)
		if err == unix.ENOSYS || err == unix.EPERM {
			notices.mu.Lock()
			notices.off = true
			notices.mu.Unlock()
		}
		runtime.KeepAlive(g)
	}
}

// forget takes the group out; whoever comes next makes another. The mutex is held.
func (g *group) forget() {
	for i, some := range notices.groups {
		if some == g {
			notices.groups = append(notices.groups[:i], notices.groups[i+1:]...)
			return
		}
	}
}
