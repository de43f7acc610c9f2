package queue

import "container/heap"

// place is where an entry stands.
type place uint8

const (
	nowhere place = iota // delayed, behind its key, or gone
	isReady
	isLeased
)

// line is a list of entries, linked through themselves: whatever stands in one can leave it at once, and many that stand together move together.
type line struct {
	is          place
	first, last *entry
	n           int
}

func (l *line) push(e *entry) { l.join(e, e, 1) }

// join appends a chain of n entries whose links to one another, and whose places, are right.
func (l *line) join(first, last *entry, n int) {
	first.in = l.is
	first.prev, last.next = l.last, nil
	if l.last == nil {
		l.first = first
	} else {
		l.last.next = first
	}
	l.last = last
	l.n += n
}

func (l *line) unshift(e *entry) {
	e.in, e.prev, e.next = l.is, nil, l.first
	if l.first == nil {
		l.last = e
	} else {
		l.first.prev = e
	}
	l.first = e
	l.n++
}

func (l *line) remove(e *entry) {
	e.in = nowhere
	l.cut(e, e, 1)
}

// cut takes a chain of n entries out. Its links to what stood beside it go: an entry that somebody keeps would otherwise keep all that came after it.
func (l *line) cut(first, last *entry, n int) {
	if first.prev == nil {
		l.first = last.next
	} else {
		first.prev.next = last.next
	}
	if last.next == nil {
		l.last = first.prev
	} else {
		last.next.prev = first.prev
	}
	first.prev, last.next = nil, nil
	l.n -= n
}

// delays are entries by the end of their delay.
type delays []*entry

func (d delays) Len() int           { return len(d) }
func (d delays) Less(i, j int) bool { return d[i].due < d[j].due }
func (d delays) Swap(i, j int)      { d[i], d[j] = d[j], d[i]; d[i].index, d[j].index = int32(i), int32(j) }
func (d *delays) Push(x any)        { e := x.(*entry); e.index = int32(len(*d)); *d = append(*d, e) }
func (d *delays) Pop() any {
	old := *d
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*d = old[:len(old)-1]
	return e
}

func (d *delays) push(e *entry) { heap.Push(d, e) }
func (d *delays) pop() *entry   { return heap.Pop(d).(*entry) }
