package cli

import (
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// wire is what lies between one node and the others when it is slow: each frame is delayed, some are lost, and both directions have a rate.
type wire struct {
	delay, jitter time.Duration
	loss          float64
	rate          int // bytes a second
	queue         int // frames that wait at most; the rest is dropped, as a router does
}

// slow puts a wire between a node and the others, until the returned function is called. The kernel's own netem is a module that few virtual machines have, so the
// frames go through two TAP devices and this process.
func (i *island) slow(t *testing.T, node string, w wire) (restore func()) {
	t.Helper()
	far, near, side := i.name+"p", i.name+"q", i.name+"s"
	a, err := openTAP(near)
	if err != nil {
		t.Skipf("NOT TESTED: no slow link: %v", err)
	}
	b, err := openTAP(far)
	i.must(t, err)
	for _, args := range [][]string{{"link", "add", side, "type", "bridge"}, {"link", "set", near, "master", side}, {"link", "set", far, "master", i.name},
		{"link", "set", side, "up"}, {"link", "set", near, "up"}, {"link", "set", far, "up"}, {"link", "set", i.link(node), "master", side}} {
		i.must(t, ip(args...))
	}
	var carrying sync.WaitGroup
	carrying.Go(func() { w.carry(t, a, b) })
	carrying.Go(func() { w.carry(t, b, a) })
	return sync.OnceFunc(func() {
		err := ip("link", "set", i.link(node), "master", i.name)
		_ = a.Close()
		_ = b.Close()
		carrying.Wait()
		i.must(t, errors.Join(err, ip("link", "del", side)))
	})
}

func openTAP(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	r, err := unix.NewIfreq(name)
	if err == nil {
		r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

type frame struct {
	due  time.Time
	data []byte
}

// carry passes frames on until from is closed.
func (w wire) carry(t *testing.T, from, to *os.File) {
	waiting := make(chan frame, w.queue)
	var sent, lost, dropped, bytes int
	var sending sync.WaitGroup
	sending.Go(func() {
		for f := range waiting {
			time.Sleep(time.Until(f.due))
			time.Sleep(time.Duration(float64(len(f.data)) / float64(w.rate) * 1e9))
			_, _ = to.Write(f.data) // a device that is gone takes nothing, as a cable that was pulled out
		}
	})
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			break
		}
		if rand.Float64() < w.loss {
			lost++
			continue
		}
		select {
		case waiting <- frame{time.Now().Add(w.delay + time.Duration(rand.Int64N(int64(w.jitter)+1))), append([]byte(nil), buf[:n]...)}:
			sent++
			bytes += n
		default:
			dropped++
		}
	}
	close(waiting)
	sending.Wait()
	t.Logf("%s: %d frames (%d KB) carried, %d lost, %d dropped as too many", from.Name(), sent, bytes>>10, lost, dropped)
	if sent == 0 {
		t.Errorf("nothing went through %s: the slow link was not between the nodes", from.Name())
	}
}
