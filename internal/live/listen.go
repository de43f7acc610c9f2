package live

import (
	"bufio"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Listener is a TCP socket that listens, and who holds it.
type Listener struct {
	Address string    `json:"address"` // as the kernel's table has it: 127.0.0.1 or ::
	UID     int       `json:"uid"`     // of the user who made it
	Holders []Process `json:"holders"` // empty when this user may not see them
}

// Listeners are the sockets of this network namespace that listen on a TCP port.
func Listeners(port int) ([]Listener, error) {
	var all []Listener
	var inodes []string
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open("/proc/net/" + table)
		if err != nil {
			if os.IsNotExist(err) && table == "tcp6" {
				continue // no IPv6 here
			}
			return nil, err
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			// 0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000  0 12345 …
			part := strings.Fields(s.Text())
			if len(part) < 10 || part[3] != "0A" {
				continue
			}
			host, hex, _ := strings.Cut(part[1], ":")
			if n, err := strconv.ParseUint(hex, 16, 16); err != nil || int(n) != port {
				continue
			}
			all = append(all, Listener{Address: address(host), UID: atoi(part[7])})
			inodes = append(inodes, part[9])
		}
		f.Close()
	}
	if len(all) == 0 {
		return nil, nil
	}
	holders := holdersOf(inodes)
	for i := range all {
		for _, pid := range holders[inodes[i]] {
			if p, ok := Look(pid); ok {
				all[i].Holders = append(all[i].Holders, p)
			}
		}
	}
	return all, nil
}

// holdersOf finds the processes that hold sockets, as far as this user may look.
func holdersOf(inodes []string) map[string][]int {
	found := map[string][]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		fds, err := os.ReadDir(filepath.Join(dir, "fd"))
		if err != nil {
			continue
		}
		pid := atoi(filepath.Base(dir))
		for _, fd := range fds {
			link, _ := os.Readlink(filepath.Join(dir, "fd", fd.Name()))
			inode, ok := strings.CutPrefix(link, "socket:[")
			inode = strings.TrimSuffix(inode, "]")
			if ok && slices.Contains(inodes, inode) && !slices.Contains(found[inode], pid) {
				found[inode] = append(found[inode], pid)
			}
		}
	}
	return found
}

// address reads the kernel's hexadecimal words, each in the machine's order.
func address(hex string) string {
	var b []byte
	for i := 0; i+8 <= len(hex); i += 8 {
		n, _ := strconv.ParseUint(hex[i:i+8], 16, 32)
		b = append(b, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	}
	a, _ := netip.AddrFromSlice(b)
	return a.String()
}
