package proc

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// UnixPeer asks the kernel for the inode of the other end of a UNIX socket; 0 when it is not connected. It needs no privileges.
func UnixPeer(inode uint32) (uint32, error) {
	const (
		byFamily  = 20 // SOCK_DIAG_BY_FAMILY
		showPeer  = 4  // UDIAG_SHOW_PEER
		attrPeer  = 2  // UNIX_DIAG_PEER
		headerLen = 16
		msgLen    = 16 // struct unix_diag_msg
	)
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	ne := binary.NativeEndian
	req := make([]byte, headerLen+24)
	ne.PutUint32(req[0:], uint32(len(req)))
	ne.PutUint16(req[4:], byFamily)
	ne.PutUint16(req[6:], unix.NLM_F_REQUEST)
	req[headerLen] = unix.AF_UNIX
	ne.PutUint32(req[headerLen+4:], ^uint32(0)) // whatever its state
	ne.PutUint32(req[headerLen+8:], inode)
	ne.PutUint32(req[headerLen+12:], showPeer)
	ne.PutUint32(req[headerLen+16:], ^uint32(0)) // no cookie
	ne.PutUint32(req[headerLen+20:], ^uint32(0))
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, os.NewSyscallError("sendto", err)
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return 0, os.NewSyscallError("recvfrom", err)
	}
	if n < headerLen+msgLen || ne.Uint16(buf[4:]) != byFamily {
		return 0, errors.New("the kernel does not tell")
	}
	for b := buf[headerLen+msgLen : min(n, int(ne.Uint32(buf)))]; len(b) >= 8; {
		size := int(ne.Uint16(b))
		if size < 4 || size > len(b) {
			break
		}
		if ne.Uint16(b[2:]) == attrPeer {
			return ne.Uint32(b[4:]), nil
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return 0, nil
}
