package handler

import (
	"bytes"

	"tandem"
)

// longestLine is how much of a line somebody who listens is told.
const longestLine = 4096

// lines gives what a command writes to standard error on as lines, to whoever listens. One goroutine writes.
type lines struct {
	t     *tandem.Task
	heard func(t *tandem.Task, line []byte) // nil when nobody listens
	part  []byte
}

func (l *lines) add(chunk []byte) {
	if l.heard == nil {
		return
	}
	for len(chunk) > 0 {
		line, rest, whole := bytes.Cut(chunk, []byte{'\n'})
		if chunk = rest; len(l.part) < longestLine {
			l.part = append(l.part, line[:min(len(line), longestLine-len(l.part))]...)
		}
		if whole {
			l.heard(l.t, l.part)
			l.part = l.part[:0]
		}
	}
}

// end gives on what the last line has without an end.
func (l *lines) end() {
	if len(l.part) > 0 {
		l.heard(l.t, l.part)
		l.part = nil
	}
}
