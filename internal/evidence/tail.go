package evidence

import (
	"bytes"
	"strconv"
	"sync"
)

func itoa(n int) string { return strconv.Itoa(n) }

const (
	tailRead = 64 << 10 // what is kept to find a stack in
	tailSize = 8 << 10  // what a report shows
)

// Tail keeps the end of what a process writes. Safe for many callers; memory is bounded, whatever is written.
type Tail struct {
	mu    sync.Mutex
	buf   []byte
	total int64
}

// Add takes what was written.
func (t *Tail) Add(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total += int64(len(b))
	if len(b) > tailRead {
		t.buf, b = t.buf[:0], b[len(b)-tailRead:]
	}
	if len(t.buf)+len(b) > 2*tailRead {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-(tailRead-min(len(b), tailRead)):]...)
	}
	t.buf = append(t.buf, b...)
}

// Total is how many bytes were written so far.
func (t *Tail) Total() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// Since is what was written after Total was n, as far as it is kept.
func (t *Tail) Since(n int64) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf[max(0, len(t.buf)-int(min(t.total-n, int64(len(t.buf))))):])
}

// Text is all that is kept.
func (t *Tail) Text() string { return t.Since(0) }

// Last is the last 8 KiB, from the beginning of a line; "… " leads when something was cut off.
func (t *Tail) Last() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.total <= tailSize {
		return string(t.buf)
	}
	b := t.buf[len(t.buf)-tailSize:]
	if i := bytes.IndexByte(b, '\n'); i >= 0 && i < len(b)-1 {
		b = b[i+1:] // half a line may be half a secret
	}
	return "… " + string(b)
}
