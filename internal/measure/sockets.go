package measure

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tandem/internal/advise"
	"tandem/internal/proc"
)

// table is the sockets of a network namespace, read again when one is not found, but seldom.
type table struct {
	sockets map[string]socket // by inode
	listens map[uint16]bool
	read    time.Time
	cost    time.Duration
}

type socket struct {
	local, remote netip.AddrPort
	listening     bool
	datagram      bool
	path          string // of a UNIX socket
	unix          bool
}

// peer is whom the program waits for.
type peer struct {
	name   string
	wait   time.Duration
	met    int
	pid    int // of who answers there; 0 when not found
	who    string
	cpu    time.Duration // its processor time when it was found
	found  time.Time
	sought bool
	inTree bool
}

func (t *Tree) tableOf(p *process, inode string, now time.Time) (socket, *table, bool) {
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.pid))
	if err != nil {
		ns = "net"
	}
	tab := t.tables[ns]
	if tab == nil {
		tab = &table{}
		t.tables[ns] = tab
	}
	s, ok := tab.sockets[inode]
	if wait := max(40*time.Millisecond, 100*tab.cost); !ok && now.Sub(tab.read) > wait {
		tab.load(p.pid, now)
		s, ok = tab.sockets[inode]
		if !ok { // remembered as unknown until the table is read again
			tab.sockets[inode] = socket{}
		}
	}
	return s, tab, ok
}

func (tab *table) load(pid int, now time.Time) {
	begun := proc.ThreadCPU()
	tab.sockets, tab.listens, tab.read = map[string]socket{}, map[uint16]bool{}, now
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, name))
		if err != nil {
			continue
		}
		for line := range bytes.Lines(b) {
			f := strings.Fields(string(line))
			if len(f) < 10 || f[0] == "sl" {
				continue
			}
			s := socket{local: address(f[1]), remote: address(f[2]), listening: f[3] == "0A" && name[0] == 't', datagram: name[0] == 'u'}
			if s.listening {
				tab.listens[s.local.Port()] = true
			}
			tab.sockets[f[9]] = s
		}
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/unix", pid)); err == nil {
		for line := range bytes.Lines(b) {
			f := strings.Fields(string(line))
			if len(f) < 7 || f[0] == "Num" {
				continue
			}
			s := socket{unix: true, listening: f[3] == "00010000"}
			if len(f) > 7 {
				s.path = f[7]
			}
			tab.sockets[f[6]] = s
		}
	}
	tab.cost = proc.ThreadCPU() - begun
}

// address reads an address as the kernel writes it: words of four bytes in the machine's order, and a port.
func address(s string) netip.AddrPort {
	host, port, ok := strings.Cut(s, ":")
	if !ok || len(host)%8 != 0 {
		return netip.AddrPort{}
	}
	b := make([]byte, 0, 16)
	for i := 0; i < len(host); i += 8 {
		w := uint32(hex(host[i : i+8]))
		b = append(b, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
	}
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(hex(port)))
}

// socket says what waiting on a socket means: for a peer, unless the peer is the one who asks.
func (t *Tree) socket(p *process, inode string, now time.Time) wait {
	s, tab, ok := t.tableOf(p, inode, now)
	switch {
	case !ok:
		return wait{cause: advise.Net, mayChange: true}
	case s.unix && s.listening, s.listening:
		return wait{cause: advise.Accept}
	case s.unix:
		return t.unixSocket(inode, s)
	case !s.remote.IsValid() || s.remote.Port() == 0:
		if s.datagram {
			return wait{cause: advise.Net, peer: "port " + strconv.Itoa(int(s.local.Port())) + "/udp"}
		}
		return wait{cause: advise.Event}
	case tab.listens[s.local.Port()]: // somebody connected to us: we wait for being asked
		return wait{cause: advise.Accept}
	}
	return wait{cause: advise.Net, peer: s.remote.String()}
}

// unixSocket is a wait inside the tree when the other end is there too.
func (t *Tree) unixSocket(inode string, s socket) wait {
	if s.path != "" {
		return wait{cause: advise.Accept} // only the side that was connected to has the path
	}
	other, known := t.unixPeer(inode)
	if !known {
		return wait{cause: advise.Net, peer: "a UNIX socket"}
	}
	for _, p := range t.list() {
		if holds(p.pid, "socket:["+other+"]") {
			return wait{cause: advise.Pipe}
		}
	}
	name := "a UNIX socket"
	for _, tab := range t.tables {
		if o := tab.sockets[other]; o.path != "" {
			name = "unix:" + o.path
		}
	}
	return wait{cause: advise.Net, peer: name, mayChange: true}
}

func holds(pid int, link string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	names, _ := f.Readdirnames(1024)
	f.Close()
	for _, name := range names {
		if to, err := os.Readlink(filepath.Join(dir, name)); err == nil && to == link {
			return true
		}
	}
	return false
}

// met counts time with a peer, and seeks who it is when it turns out to matter.
func (t *Tree) met(th *thread, d time.Duration) {
	w := t.peers[th.wait.peer]
	if w == nil {
		if len(t.peers) >= 1000 {
			return // the time is still counted as the network's
		}
		w = &peer{name: th.wait.peer}
		t.peers[th.wait.peer] = w
	}
	w.wait += d
	if w.met++; w.met >= 3 && !w.sought && len(t.sought()) < 4 {
		w.sought = true
		t.seek(th.p, w)
	}
}

func (t *Tree) sought() (list []*peer) {
	for _, p := range t.peers {
		if p.sought {
			list = append(list, p)
		}
	}
	return list
}

// seek finds the process that answers at an address of this machine.
func (t *Tree) seek(p *process, w *peer) {
	at, err := netip.ParseAddrPort(w.name)
	if err != nil {
		return
	}
	ns, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.pid))
	tab := t.tables[ns]
	if tab == nil {
		return
	}
	links := map[string]bool{}
	for inode, s := range tab.sockets {
		if s.listening && s.local.Port() == at.Port() && (s.local.Addr() == at.Addr() || s.local.Addr().IsUnspecified() && at.Addr().IsLoopback()) {
			links["socket:["+inode+"]"] = true
		}
	}
	if len(links) == 0 {
		return
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		f, err := os.Open(dir + "/fd")
		if err != nil {
			continue
		}
		names, _ := f.Readdirnames(512)
		f.Close()
		for _, name := range names {
			if to, err := os.Readlink(dir + "/fd/" + name); err == nil && links[to] {
				w.pid, _ = strconv.Atoi(filepath.Base(dir))
				w.who, w.cpu, w.found = labelOf(w.pid), cpuOf(w.pid), time.Now()
				w.inTree = t.procs[w.pid] != nil
				return
			}
		}
	}
}

// cpuOf is the processor time of a process; -1 when it is gone.
func cpuOf(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return -1
	}
	_, rest, _ := cutLast(b, ')')
	f := bytes.Fields(rest)
	if len(f) < 20 {
		return -1
	}
	u, _ := strconv.ParseInt(string(f[11]), 10, 64)
	s, _ := strconv.ParseInt(string(f[12]), 10, 64)
	return time.Duration(u+s) * tick
}

// busy is the share of a processor that a peer has used since it was found; -1 when that cannot be told.
func (w *peer) busy(now time.Time) float64 {
	if w.pid == 0 || now.Sub(w.found) < 300*time.Millisecond {
		return -1
	}
	cpu := cpuOf(w.pid)
	if cpu < 0 {
		return -1
	}
	return (cpu - w.cpu).Seconds() / now.Sub(w.found).Seconds()
}
