package proc

import "golang.org/x/sys/unix"

// Quit is the signal at which Go programs write their stacks and end, and Java machines write them and go on.
const Quit = int(unix.SIGQUIT)

// MayAsk says whether a signal may be the one by which a program is asked for its stacks: one that programs may use as they like, or Quit.
func MayAsk(signal int) bool {
	s := unix.Signal(signal)
	return s == unix.SIGUSR1 || s == unix.SIGUSR2 || s == unix.SIGQUIT || signal > 34 && signal <= 64
}

// Ask sends a signal to one thread of the process. A thread that computes answers for itself: another could not look into it. It is false when process or
// thread are gone, or the signal is none that MayAsk allows.
func (p *Process) Ask(signal, thread int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.reaped && MayAsk(signal) && unix.Tgkill(p.pid, thread, unix.Signal(signal)) == nil
}
