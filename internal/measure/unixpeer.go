package measure

import (
	"strconv"

	"tandem/internal/proc"
)

// unixPeer is the inode of the other end of a connected UNIX socket of our network namespace.
func (t *Tree) unixPeer(inode string) (string, bool) {
	n, err := strconv.ParseUint(inode, 10, 32)
	if err != nil {
		return "", false
	}
	other, err := proc.UnixPeer(uint32(n))
	if err != nil || other == 0 {
		return "", false
	}
	return strconv.FormatUint(uint64(other), 10), true
}
