package proc

import "golang.org/x/sys/unix"

// Halted are processes that can be halted and let go on, each by a descriptor of its own: a number that has become another process's is never hit.
type Halted struct{ fds map[int]int }

// Halt stops the processes. It is for one goroutine.
func (h *Halted) Halt(pids []int) {
	if h.fds == nil {
		h.fds = map[int]int{}
	}
	for _, pid := range pids {
		fd, known := h.fds[pid]
		if !known {
			var err error
			if fd, err = unix.PidfdOpen(pid, 0); err != nil {
				continue
			}
			h.fds[pid] = fd
		}
		if unix.PidfdSendSignal(fd, unix.SIGSTOP, nil, 0) != nil { // it is gone
			_ = unix.Close(fd)
			delete(h.fds, pid)
		}
	}
}

// Continue lets all go on.
func (h *Halted) Continue() {
	for _, fd := range h.fds {
		_ = unix.PidfdSendSignal(fd, unix.SIGCONT, nil, 0)
	}
}

// Close lets all go on, for good.
func (h *Halted) Close() {
	h.Continue()
	for _, fd := range h.fds {
		_ = unix.Close(fd)
	}
	h.fds = nil
}
