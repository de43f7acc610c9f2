package mapper

import (
	"bufio"
	"io"
	"sync"

	"tandem"
)

// text is something to print: what a command wrote, or whole lines of it. It belongs to the printer once it is handed over.
type text struct {
	tag    string
	out    gathered
	errs   gathered
	stream int    // of line; 0 when out and errs count
	line   []byte // --line-buffer
	log    *entry // to be written behind the output; may be nil
}

const maxUnprinted = 1024 // texts; together with allMemory this bounds what a slow reader of our output costs

// printer writes texts in the order in which they come, each whole, on a goroutine of its own: a reader who is slow must not keep timeouts from being seen.
type printer struct {
	out, errs *bufio.Writer
	store     *store
	log       *JobLog
	wake      func() // there is room again, or a write failed

	mu     sync.Mutex
	more   sync.Cond
	queue  []text
	busy   int // taken, not written yet
	waited bool
	closed bool
	err    error
	done   sync.WaitGroup
}

func newPrinter(out, errs io.Writer, s *store, log *JobLog, wake func()) *printer {
	p := &printer{out: bufio.NewWriterSize(out, 64<<10), errs: bufio.NewWriterSize(errs, 8<<10), store: s, log: log, wake: wake}
	p.more.L = &p.mu
	p.done.Go(p.run)
	return p
}

// put hands texts over.
func (p *printer) put(t text) {
	p.mu.Lock()
	p.queue = append(p.queue, t)
	if len(p.queue) == 1 {
		p.more.Signal()
	}
	p.mu.Unlock()
}

// full says whether to wait before more is made. When it was full, wake is called once there is room.
func (p *printer) full() bool {
	if p.store.inMem.Load() < allMemory/2 && p.store.inFile.Load() < maxSpilled {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.waited = len(p.queue)+p.busy >= maxUnprinted
		return p.waited
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waited = len(p.queue)+p.busy > 0 // else it is not the printer who holds the memory
	return p.waited
}

func (p *printer) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// close prints what is left and says whether everything was written.
func (p *printer) close() error {
	p.mu.Lock()
	p.closed = true
	p.more.Signal()
	p.mu.Unlock()
	p.done.Wait()
	return p.err
}

func (p *printer) run() {
	var batch []text
	var err error
	buf := make([]byte, 64<<10)
	for {
		p.mu.Lock()
		p.busy = 0
		if err != nil && p.err == nil {
			p.err = err
		}
		wake := p.waited || p.err != nil
		p.waited = false
		if wake {
			p.mu.Unlock()
			p.wake()
			p.mu.Lock()
		}
		for len(p.queue) == 0 && !p.closed {
			p.more.Wait()
		}
		if len(p.queue) == 0 {
			p.mu.Unlock()
			return
		}
		batch, p.queue = p.queue, batch[:0]
		p.busy = len(batch)
		p.mu.Unlock()
		for i := range batch {
			if err == nil {
				err = p.print(&batch[i], buf)
			}
			p.store.drop(&batch[i].out)
			p.store.drop(&batch[i].errs)
			if batch[i].line != nil {
				p.store.inMem.Add(-int64(len(batch[i].line)))
			}
			if err == nil && batch[i].log != nil {
				p.log.add(batch[i].log)
			}
			batch[i] = text{}
		}
		if err == nil {
			err = p.flush()
		}
		switch {
		case p.log == nil:
		case err == nil:
			err = p.log.flush()
		default:
			p.log.forget() // what was not written is not done
		}
	}
}

func (p *printer) print(t *text, buf []byte) error {
	w, name := p.out, "standard output"
	if t.stream == 2 {
		w, name = p.errs, "standard error"
	}
	if t.stream != 0 {
		g := gathered{mem: t.line, size: int64(len(t.line))}
		return writeError(name, g.writeTo(w, t.tag, buf))
	}
	for _, g := range []*gathered{&t.out, &t.errs} {
		if g.err != nil {
			return &tandem.Error{Op: "keep the output of a command in", On: "a temporary file", Kind: tandem.KindSink, Message: cause(g.err),
				Hint: "TMPDIR names the directory", Err: g.err}
		}
	}
	if err := t.out.writeTo(p.out, t.tag, buf); err != nil {
		return writeError("standard output", err)
	}
	if t.errs.size == 0 {
		return nil
	}
	if err := p.out.Flush(); err != nil { // both may be the same terminal
		return writeError("standard output", err)
	}
	return writeError("standard error", t.errs.writeTo(p.errs, t.tag, buf))
}

func (p *printer) flush() error {
	if err := p.out.Flush(); err != nil {
		return writeError("standard output", err)
	}
	return writeError("standard error", p.errs.Flush())
}

func writeError(what string, err error) error {
	if err == nil {
		return nil
	}
	return &tandem.Error{Op: "write", On: what, Kind: tandem.KindSink, Message: cause(err), Err: err}
}
