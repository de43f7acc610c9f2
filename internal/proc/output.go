package proc

import (
	"os"
	"strconv"
	"sync"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// outputs reads what a process writes. It never makes the process wait for long: the reader only keeps a tail and calls Output.
type outputs struct {
	readers [2]*os.File
	tell    func(stream int, chunk []byte)
	tail    *tail
	wg      sync.WaitGroup
}

func (p *Process) pipes(tell func(int, []byte)) (*outputs, func(), error) {
	o := &outputs{tell: tell, tail: &p.tail}
	r1, w1, err := os.Pipe()
	if err != nil {
		return o, func() {}, err
	}
	r2, w2, err := os.Pipe()
	if err != nil {
		r1.Close()
		w1.Close()
		return o, func() {}, err
	}
	o.readers = [2]*os.File{r1, r2}
	p.cmd.Stdout, p.cmd.Stderr = w1, w2
	return o, func() { w1.Close(); w2.Close() }, nil
}

func (o *outputs) start() {
	for i, r := range o.readers {
		o.wg.Go(func() {
			held := readBuffers.Get().(*[32 << 10]byte)
			defer readBuffers.Put(held)
			for buf := held[:]; ; {
				n, err := r.Read(buf)
				if n > 0 {
					o.tail.add(buf[:n])
					if o.tell != nil {
						o.tell(i+1, buf[:n])
					}
				}
				if err != nil {
					return
				}
			}
		})
	}
}

// readBuffers are for a program's lifetime each; making and clearing two of them would be a fifth of what we do for a start.
var readBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// finish reads what is left. A grandchild that holds the pipe open does not hold us: we stop after a moment.
func (o *outputs) finish() {
	for _, r := range o.readers {
		_ = r.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	}
	o.wg.Wait()
	o.abandon()
}

func (o *outputs) abandon() {
	for _, r := range o.readers {
		if r != nil {
			r.Close()
		}
	}
}

// tail keeps the last bytes of an output.
type tail struct {
	mu  sync.Mutex
	buf []byte
	cut bool
}

const tailSize = 8 << 10

func (t *tail) add(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(b) >= tailSize {
		t.buf, t.cut = append(t.buf[:0], b[len(b)-tailSize:]...), true
		return
	}
	if over := len(t.buf) + len(b) - tailSize; over > 0 {
		t.buf, t.cut = append(t.buf[:0], t.buf[over:]...), true
	}
	t.buf = append(t.buf, b...)
}

// String is the tail; "… " leads when something was cut off.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cut {
		return "… " + string(t.buf)
	}
	return string(t.buf)
}

// Tail is the last of what the process has written so far.
func (p *Process) Tail() string { return p.tail.String() }
