package proc

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	wardenEnv    = "TANDEM_WARDEN"
	wardenSocket = 3
	wardenMagic  = "tandem warden 1"
	headerSize   = 16 + rlimitsSize // size of the body, arguments, variables, size of the cage in it, limits
	maxRequest   = 64 << 20
	keepTree     = 1 << 31 // in the number of arguments: the program's end is not the end of its tree
)

// A program that contains this package is its own warden: Start runs it again with TANDEM_WARDEN set, and then this is as far as it gets. Variables and init
// functions of the program itself come later and never run, nothing has to be called, and the warden stays small.
func init() {
	if v, ok := syscall.Getenv(wardenEnv); !ok || v != wardenMagic {
		return
	}
	if kind, err := unix.GetsockoptInt(wardenSocket, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || kind != unix.AF_UNIX {
		return
	}
	syscall.Exit(keepWatch())
}

// warden is the small process that starts all others. Its main thread never ends, and it owns a descriptor of a request only until the shim is forked.
type warden struct {
	flags  uintptr
	level  Level
	mu     sync.Mutex
	shims  map[int]*block // by pid, those not yet buried; nil of one that waits for an order
	free   []*block       // that nobody lives in
	forked chan struct{}
	spare  *spare
	mounts int // the list of mounts, to hear of changes
	body   []byte
	uidMap []byte
	gidMap []byte
	groups map[string]bool // control groups that this run has made
}

// keepWatch serves until the application is gone, and leaves no process behind.
func keepWatch() int {
	unix.CloseOnExec(wardenSocket)
	_ = unix.CloseRange(wardenSocket+1, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) // what we have by chance is nobody's
	// The Go runtime has raised the limit of open files for itself. An execution that fails gives it back, which no other call does; without that every
	// program would start with a limit that is not its user's.
	_ = syscall.Exec("", []string{""}, nil)
	debug.SetGCPercent(400)
	noteIgnored()
	_ = unix.Chdir("/") // to hold no file system
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(cWarden), 0, 0, 0)
	_ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	w := &warden{forked: make(chan struct{}, 1), shims: map[int]*block{}, groups: map[string]bool{}}
	w.uidMap = idMap(os.Geteuid())
	w.gidMap = idMap(os.Getegid())
	var err error
	if w.mounts, err = unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		w.mounts = -1 // then there are no spares
	}
	c := w.probe()
	w.level = c.Level
	word, err := json.Marshal(c)
	if err != nil {
		return 70
	}
	if _, err := unix.Write(wardenSocket, word); err != nil {
		return 0
	}
	go w.reap()
	for w.serve() {
	}
	w.leave()
	return 0
}

var cWarden = cString("tandem-warden")

func idMap(id int) []byte { return []byte(strconv.Itoa(id) + " " + strconv.Itoa(id) + " 1\n") }

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// serve carries out one request; false when there will be no more.
func (w *warden) serve() bool {
	var head [headerSize]byte
	oob := make([]byte, unix.CmsgSpace(4*(maxFiles+2+maxJoins)))
	n, oobn, err := receive(head[:], oob)
	if err != nil || n == 0 {
		return false
	}
	var fds []int
	if list, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(list) == 1 {
		fds, _ = unix.ParseUnixRights(&list[0])
	}
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	size, argc, envc, caged := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:]), binary.LittleEndian.Uint32(head[8:]), binary.LittleEndian.Uint32(head[12:])
	if !fill(head[n:]) || caged > size || size > maxRequest || len(fds) < 2 || len(fds) > maxFiles+2+maxJoins {
		return false
	}
	if uint32(cap(w.body)) < size {
		w.body = make([]byte, size)
	}
	r := wish{body: w.body[:size], argc: int(argc &^ keepTree), envc: int(envc), caged: int(caged), keep: argc&keepTree != 0, limits: rlimitsOf(head[16:])}
	if !fill(r.body) {
		return false
	}
	if !w.hand(r, fds) {
		w.fork(r, fds)
	}
	if waiting, err := unix.Poll([]unix.PollFd{{Fd: wardenSocket, Events: unix.POLLIN}}, 0); err == nil && waiting == 0 {
		w.prepare()
	}
	return true
}

// wish is a request of the application, as it came.
type wish struct {
	body       []byte
	argc, envc int
	caged      int // the size of the cage, which is the last of body
	keep       bool
	limits     rlimits
}

// open says that the program is to have no namespaces.
func (r wish) open() bool {
	return r.caged >= 8 && binary.LittleEndian.Uint64(r.body[len(r.body)-r.caged:])&cageOpen != 0
}

// fork makes a shim for a request.
func (w *warden) fork(r wish, fds []int) {
	// The program's own descriptors must not lie where others are to be put.
	for i, fd := range fds {
		moved, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, len(fds)+8)
		if err != nil {
			tell(fds[0], sayFailed, atFiles, err)
			return
		}
		_ = unix.Close(fd)
		fds[i] = moved
	}
	b, err := w.take(len(r.body))
	if err != nil {
		tell(fds[0], sayFailed, atFork, err)
		return
	}
	w.order(b, r, fds, fds)
	if _, errno := w.start(b, false); errno != 0 {
		tell(fds[0], sayFailed, atFork, errno)
	}
}

// order lays out in a block what the shim needs. own are the descriptors as the shim has them; a spare has yet to get them.
func (w *warden) order(b *block, r wish, fds, own []int) {
	s := b.state
	s.order = order{flags: w.flags, n: uintptr(len(fds) - 2), keep: r.keep, limits: r.limits}
	body := b.body()[:copy(b.body(), r.body)]
	w.cage(s, body[len(body)-r.caged:])
	if own != nil {
		s.ctl, s.dir = uintptr(own[0]), uintptr(own[1])
		for i, fd := range own[2 : 2+s.n] {
			s.fds[i] = uintptr(fd)
		}
		for i, fd := range own[2+s.n:] {
			s.cage.join[i] = uintptr(fd)
		}
	}
	if name, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fds[1])); err == nil && strings.HasPrefix(name, "/") {
		b.dirPath = append(append(b.dirPath[:0], name...), 0)
		s.dirPath = uintptr(unsafe.Pointer(&b.dirPath[0]))
	}
	w.maps(s)
	b.argv, b.env = b.argv[:0], b.env[:0]
	at := 0
	for i := range 1 + r.argc + r.envc {
		here := uintptr(unsafe.Pointer(&body[at]))
		for body[at] != 0 {
			at++
		}
		at++
		switch {
		case i == 0:
			s.path = here
		case i <= r.argc:
			b.argv = append(b.argv, here)
		default:
			b.env = append(b.env, here)
		}
	}
	b.argv, b.env = append(b.argv, 0), append(b.env, 0)
	s.argv, s.env = uintptr(unsafe.Pointer(&b.argv[0])), uintptr(unsafe.Pointer(&b.env[0]))
}

func (w *warden) maps(s *shimState) {
	s.uidMap, s.uidLen = address(w.uidMap), uintptr(len(w.uidMap))
	s.gidMap, s.gidLen = address(w.gidMap), uintptr(len(w.gidMap))
}

// receive reads the beginning of a request with its descriptors.
func receive(b, oob []byte) (n, oobn int, err error) {
	for {
		n, oobn, _, _, err = unix.Recvmsg(wardenSocket, b, oob, unix.MSG_CMSG_CLOEXEC)
		if err != unix.EINTR {
			return n, oobn, err
		}
	}
}

func fill(b []byte) bool {
	for len(b) > 0 {
		n, err := unix.Read(wardenSocket, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

func tell(fd int, what, stage int64, err error) {
	errno, ok := err.(syscall.Errno)
	if !ok {
		errno = unix.EIO
	}
	p := packet{what, stage, int64(errno)}
	_ = unix.Sendto(fd, unsafe.Slice((*byte)(unsafe.Pointer(&p)), unsafe.Sizeof(p)), unix.MSG_NOSIGNAL, nil)
}

// reap buries shims. When one of them was killed without a namespace around it, its orphans come to us, and we end them.
func (w *warden) reap() {
	for range w.forked {
		for {
			var ws unix.WaitStatus
			err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT|unix.WALL, nil)
			if err == nil {
				w.mu.Lock()
				var pid int
				if pid, err = unix.Wait4(-1, &ws, unix.WALL|unix.WNOHANG, nil); err == nil {
					if b := w.shims[pid]; b != nil {
						w.give(b, !ws.Signaled())
					}
					delete(w.shims, pid)
				}
				w.mu.Unlock()
			}
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				break
			}
			if w.level != Kernel && ws.Signaled() {
				w.sweep(false)
			}
		}
	}
}

// sweep kills our children: those that are no shims, or all.
func (w *warden) sweep(all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pid := range children(os.Getpid()) {
		if _, ours := w.shims[pid]; all || !ours {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// leave waits until the shims have seen for themselves that the application is gone, and kills what does not.
func (w *warden) leave() {
	defer func() {
		for dir := range w.groups {
			removeTree(dir)
		}
	}()
	if w.spare != nil {
		_ = unix.Close(w.spare.line)
	}
	for i := range 500 {
		if len(children(os.Getpid())) == 0 {
			return
		}
		if i >= 100 {
			w.sweep(true)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// cage reads what plan.encode wrote. The descriptors of control groups are the last.
func (w *warden) cage(s *shimState, b []byte) {
	if len(b) == 0 {
		return
	}
	word := func() uint64 {
		n := binary.LittleEndian.Uint64(b)
		b = b[8:]
		return n
	}
	k := &s.cage
	k.bits, k.uid, k.gid, k.joins, k.rlimits = uintptr(word()), uintptr(word()), uintptr(word()), uintptr(word()), uintptr(word())
	for i := range k.rlimits {
		k.rlimit[i].what, k.rlimit[i].soft, k.rlimit[i].hard = word(), word(), word()
	}
	k.ruleset[0], k.ruleset[1], k.ruleset[2], k.rulesetSize, k.rules, k.filterLen = word(), word(), word(), uintptr(word()), uintptr(word()), uintptr(word())
	dirs := word()
	for i := range k.rules {
		k.ruleRights[i] = word()
	}
	k.filter = address(b)
	b = b[8*k.filterLen:]
	for i := range k.rules {
		k.rulePath[i] = address(b)
		b = b[bytes.IndexByte(b, 0)+1:]
	}
	for range dirs {
		end := bytes.IndexByte(b, 0)
		w.groups[string(b[:end])] = true
		b = b[end+1:]
	}
	s.n -= k.joins
	if k.bits&cageOpen != 0 {
		s.flags = 0
	}
}
