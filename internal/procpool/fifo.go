package procpool

import "tandem"

// fifo is a ring of tasks that grows and can take tasks back at its head.
type fifo struct {
	buf     []*tandem.Task
	head, n int
}

func (q *fifo) len() int { return q.n }

func (q *fifo) grow() {
	if q.n < len(q.buf) {
		return
	}
	bigger := make([]*tandem.Task, max(64, 2*len(q.buf)))
	for i := range q.n {
		bigger[i] = q.buf[(q.head+i)%len(q.buf)]
	}
	q.buf, q.head = bigger, 0
}

func (q *fifo) push(t *tandem.Task) {
	q.grow()
	q.buf[(q.head+q.n)%len(q.buf)] = t
	q.n++
}

// unpop puts a task back in front: it was accepted before all others.
func (q *fifo) unpop(t *tandem.Task) {
	q.grow()
	q.head = (q.head + len(q.buf) - 1) % len(q.buf)
	q.buf[q.head] = t
	q.n++
}

func (q *fifo) peek() *tandem.Task { return q.buf[q.head] }

func (q *fifo) pop() (*tandem.Task, bool) {
	if q.n == 0 {
		return nil, false
	}
	t := q.buf[q.head]
	q.buf[q.head] = nil
	q.head = (q.head + 1) % len(q.buf)
	q.n--
	return t, true
}
