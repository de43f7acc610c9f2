package proc

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// oomWatch hears of the kernel killing for memory in a group of version 1. There it kills one process, and what had started it may go on without; a limit is
// of the whole tree, so the rest is killed, too. In version 2 the kernel does that itself.
func (p *Process) oomWatch(g *group) {
	for _, part := range g.parts {
		if part.h.version != 1 || len(part.what) == 0 || part.what[0] != "memory" {
			continue
		}
		event, err := oomEvents(part.dir)
		if err != nil {
			return // what the kernel did is still read at the end
		}
		p.looks.Go(func() {
			stop := make(chan struct{})
			go func() {
				defer close(stop)
				<-p.gone
				_ = event.SetReadDeadline(time.Now())
			}()
			defer func() {
				<-stop
				event.Close()
			}()
			var count [8]byte
			for {
				if _, err := event.Read(count[:]); err != nil {
					return
				}
				// It is told of the want first, and kills after that.
				for range 200 {
					if x := (Exit{Signal: unix.SIGKILL, Group: g.counted()}); x.Group.MemoryKills > 0 {
						p.over.CompareAndSwap(nil, x.proof())
						p.Kill()
						return
					}
					select {
					case <-p.gone:
						return
					case <-time.After(time.Millisecond):
					}
				}
			}
		})
	}
}

// oomEvents is a descriptor that can be read from each time that a group of version 1 runs out of memory.
func oomEvents(dir string) (*os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	event := os.NewFile(uintptr(fd), "memory events")
	control, err := os.Open(dir + "/memory.oom_control")
	if err == nil {
		err = os.WriteFile(dir+"/cgroup.event_control", []byte(itoa(fd)+" "+itoa(int(control.Fd()))), 0)
		control.Close()
	}
	if err != nil {
		event.Close()
		return nil, err
	}
	return event, nil
}
