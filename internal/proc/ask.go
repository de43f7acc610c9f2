package proc

import "golang.org/x/sys/unix"

// MayAsk says whether a signal may be the one by which a program is asked for its stacks: one that programs may use as they like, or SIGQUIT, which
// Java machines take for it.
func MayAsk(signal int) bool {
	s := unix.Signal(signal)
	return s == unix.SIGUSR1 || s == unix.SIGUSR2 || s == unix.SIGQUIT || signal > 34 && signal <= 64
}

// Ask sends a signal to the process alone, not to its group. It is false when the process is gone or the signal is none that MayAsk allows.
func (p *Process) Ask(signal int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.reaped && MayAsk(signal) && unix.Kill(p.pid, unix.Signal(signal)) == nil
}
