package mapper

import (
	"bytes"
	"io"
	"os"
	"sync/atomic"
)

const (
	ownMemory = 1 << 20  // of one stream of one command; what is more goes to a temporary file
	allMemory = 64 << 20 // of all streams together
)

// gathered is what a command has written to one stream: in memory, or in a temporary file without a name above a bound.
type gathered struct {
	mem  []byte
	file *os.File
	size int64
	err  error // the temporary file could not be written
}

// store bounds the memory of all outputs together.
type store struct {
	dir    string
	inMem  atomic.Int64
	inFile atomic.Int64 // open temporary files
}

func (s *store) add(g *gathered, b []byte) {
	g.size += int64(len(b))
	if g.file == nil && g.err == nil && (len(g.mem)+len(b) > ownMemory || s.inMem.Load()+int64(len(b)) > allMemory) {
		s.spill(g)
	}
	if g.file == nil {
		if g.err == nil {
			g.mem = append(g.mem, b...)
			s.inMem.Add(int64(len(b)))
		}
		return
	}
	if _, err := g.file.Write(b); err != nil && g.err == nil {
		g.err = err
	}
}

// spill moves what there is to a file.
func (s *store) spill(g *gathered) {
	f, err := os.CreateTemp(s.dir, "tandem-map-*")
	if err != nil {
		g.err = err
		return
	}
	_ = os.Remove(f.Name()) // it lives as long as it is open, also after kill -9
	s.inFile.Add(1)
	if _, err := f.Write(g.mem); err != nil {
		g.err = err
	}
	s.inMem.Add(-int64(len(g.mem)))
	g.mem, g.file = nil, f
}

// drop forgets what was written.
func (s *store) drop(g *gathered) {
	s.inMem.Add(-int64(len(g.mem)))
	if g.file != nil {
		s.inFile.Add(-1)
		g.file.Close()
	}
	*g = gathered{}
}

// writeTo writes what was gathered, each line behind tag when there is one.
func (g *gathered) writeTo(w io.Writer, tag string, buf []byte) error {
	if g.size == 0 {
		return nil
	}
	if tag != "" {
		w = &tagger{w: w, tag: tag, atStart: true}
	}
	if g.file == nil {
		if _, err := w.Write(g.mem); err != nil {
			return err
		}
	} else {
		if _, err := g.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{g.file}, buf); err != nil {
			return err
		}
	}
	if t, ok := w.(*tagger); ok && !t.atStart {
		_, err := t.w.Write([]byte{'\n'})
		return err
	}
	return nil
}

// tagger puts the tag and a tab in front of each line.
type tagger struct {
	w       io.Writer
	tag     string
	atStart bool
}

func (t *tagger) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if t.atStart {
			if _, err := io.WriteString(t.w, t.tag+"\t"); err != nil {
				return 0, err
			}
		}
		end := bytes.IndexByte(b, '\n') + 1
		t.atStart = end > 0
		if end == 0 {
			end = len(b)
		}
		if _, err := t.w.Write(b[:end]); err != nil {
			return 0, err
		}
		b = b[end:]
	}
	return n, nil
}
