package journal

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"

	"tandem"
)

// State is what a journal says of the run's earlier part. Has and Finished may be called from many goroutines; of a nil State, that of a run that begins,
// both say no.
type State struct {
	Header   Header
	Position int64                    // of the sink, at the last transaction
	Counts   map[tandem.Outcome]int64 // items that have ended
	Cut      int64                    // bytes of a torn end that were cut off

	path  string
	file  io.ReaderAt
	salt  uint32
	end   int64 // of what is whole
	ended *set
	names []tandem.Outcome // by code; the first is for whole items
	begun map[key]int32    // items with step records that have not ended: their last place
	steps []place
	free  int32 // list of places no longer used

	mu      sync.Mutex
	frame   []byte // the last frame that was read
	frameAt int64
}

// place is where a step record stands.
type place struct {
	frame  int64
	offset int32 // in the frame's body
	next   int32 // older record of the item, or the next free one; -1 for none
}

// Has tells whether item, or all that came of it, ended in the run's earlier part.
func (s *State) Has(item string) bool {
	if s == nil {
		return false
	}
	_, ok := s.ended.get(keyOf(s.ended, item))
	return ok
}

// Begun is how many items have results of steps and have not ended. An item that became several counts until all of them have ended; when they
// became several again, those in between count for good.
func (s *State) Begun() int { return len(s.begun) }

// Finished is what steps gave for an item that has not ended, by step. It reads the file.
func (s *State) Finished(item string) ([]Finished, error) {
	if s == nil {
		return nil, nil
	}
	at, ok := s.begun[keyOf(s.ended, item)]
	if !ok {
		return nil, nil
	}
	var list []Finished
	var seen []int
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; at >= 0; at = s.steps[at].next {
		p := s.steps[at]
		body, err := s.body(p.frame)
		if err != nil {
			return nil, err
		}
		r := records{b: body[p.offset:]}
		if !r.next() || string(r.id) != item {
			continue // another item with the same key
		}
		if slices.Contains(seen, r.step) {
			continue
		}
		seen = append(seen, r.step)
		switch r.kind {
		case recUndo:
			continue
		case recBegin:
			list = append(list, Finished{Item: item, Step: r.step, Begun: true})
			continue
		}
		// The latest record of a step comes first, and is the one that counts.
		list = append(list, Finished{Item: item, Step: r.step, Values: r.values()})
	}
	slices.SortFunc(list, func(a, b Finished) int { return a.Step - b.Step })
	return list, nil
}

// body reads and checks the frame at that offset again. Neighbours in the source tend to share a frame, so one is kept.
func (s *State) body(at int64) ([]byte, error) {
	if s.frameAt == at && s.frame != nil {
		return s.frame, nil
	}
	var b [headSize]byte
	if _, err := s.file.ReadAt(b[:], at); err != nil {
		return nil, openError(opResume, s.path, err)
	}
	h, ok := parseHead(b[:], s.salt, at)
	if !ok {
		return nil, s.damage(at, "it has changed since the run began to resume")
	}
	body := make([]byte, h.length)
	if _, err := s.file.ReadAt(body, at+headSize); err != nil {
		return nil, openError(opResume, s.path, err)
	}
	if sum := crc32.Update(s.salt, castagnoli, body); sum != h.body {
		return nil, s.damage(at, fmt.Sprintf("it has changed since the run began to resume: its checksum is %08x, expected %08x", sum, h.body))
	}
	s.frame, s.frameAt = nil, at
	if len(body) <= keepBytes {
		s.frame = body
	}
	return body, nil
}

func (s *State) damage(at int64, message string) error {
	return &tandem.Error{Op: opResume, On: s.path, Kind: kindJournal, Message: fmt.Sprintf("damaged at byte %d: %s", at, message),
		Hint: "the disk or another program has changed it; " + afresh}
}

// read reads a journal of that size.
func read(path string, file io.ReaderAt, size int64) (*State, error) {
	h, salt, at, err := readHeader(path, file, size)
	if err != nil {
		return nil, err
	}
	s := &State{Header: h, Counts: map[tandem.Outcome]int64{}, path: path, file: file, salt: salt, end: at, ended: newSet(),
		names: []tandem.Outcome{""}, begun: map[key]int32{}, free: -1}
	p := &pass{s: s, in: bufio.NewReaderSize(io.NewSectionReader(file, at, size-at), 256<<10), at: at, size: size}
	return s, p.run()
}

// pass is the one reading of the file.
type pass struct {
	s      *State
	in     *bufio.Reader
	at     int64
	size   int64
	body   []byte
	ending []key // of the transaction that is under way, with their codes
}

func (p *pass) run() error {
	for {
		why, h, err := p.next()
		if err != nil {
			return openError(opResume, p.s.path, err)
		}
		if why != "" {
			if err := p.torn(why); err != nil {
				return err
			}
		}
		if h == nil {
			p.s.forget()
			return nil
		}
		if err := p.take(); err != nil {
			return err
		}
		p.at += headSize + int64(h.length)
		if len(p.ending) == 0 { // a transaction without its mark is as if it had not been
			p.s.end = p.at
		}
	}
}

// next reads a frame. why says what is wrong with it; no head is the end of the file.
func (p *pass) next() (why string, h *head, err error) {
	left := p.size - p.at
	if left == 0 {
		return "", nil, nil
	}
	if left < headSize {
		return "the file ends inside the head of a frame", nil, nil
	}
	var b [headSize]byte
	if _, err := io.ReadFull(p.in, b[:]); err != nil {
		return "", nil, err
	}
	got, ok := parseHead(b[:], p.s.salt, p.at)
	if !ok {
		return "expected the head of a frame, and its checksum is wrong", nil, nil
	}
	if int64(got.length) > left-headSize {
		return fmt.Sprintf("expected a frame of %d bytes, and the file ends after %d", got.length, left-headSize), nil, nil
	}
	p.body = slices.Grow(p.body[:0], got.length)[:got.length]
	if _, err := io.ReadFull(p.in, p.body); err != nil {
		return "", nil, err
	}
	if sum := crc32.Update(p.s.salt, castagnoli, p.body); sum != got.body {
		return fmt.Sprintf("the checksum of a frame of %d bytes is %08x, expected %08x", got.length, sum, got.body), nil, nil
	}
	return "", &got, nil
}

// torn decides about a damaged place: the end that a kill left behind, or damage in the middle.
func (p *pass) torn(why string) error {
	for at := p.at + 1; at+headSize <= p.size; {
		chunk := make([]byte, min(p.size-at, 1<<20))
		if _, err := p.s.file.ReadAt(chunk, at); err != nil {
			return openError(opResume, p.s.path, err)
		}
		n := len(chunk) - headSize + 1
		for i := range n {
			h, ok := parseHead(chunk[i:], p.s.salt, at+int64(i))
			if !ok || h.covered <= p.at || int64(h.length) > p.size-at-int64(i)-headSize {
				continue
			}
			body := make([]byte, h.length)
			if _, err := p.s.file.ReadAt(body, at+int64(i)+headSize); err != nil {
				return openError(opResume, p.s.path, err)
			}
			if crc32.Update(p.s.salt, castagnoli, body) == h.body {
				return p.s.damage(p.at, fmt.Sprintf("%s; a whole frame at byte %d says that this place was whole too, so it is not the end that a kill tears",
					why, at+int64(i)))
			}
		}
		at += int64(n)
	}
	return nil
}

var errOutcomes = errors.New("more than 15 different outcomes")

// take applies the records of a frame.
func (p *pass) take() error {
	s := p.s
	r := records{b: p.body}
	for {
		for range r.count {
			r.value()
		}
		r.count = 0
		offset := int32(len(p.body) - len(r.b))
		if !r.next() {
			break
		}
		switch r.kind {
		case recStep, recBegin, recUndo:
			s.begin(keyOf(s.ended, r.id), place{frame: p.at, offset: offset})
		case recEnded:
			code := slices.Index(s.names, tandem.Outcome(r.outcome))
			if code < 0 {
				if code = len(s.names); code > codeMask {
					return s.damage(p.at, errOutcomes.Error())
				}
				s.names = append(s.names, tandem.Outcome(r.outcome))
			}
			k := keyOf(s.ended, r.id)
			k.lo |= uint64(code)
			p.ending = append(p.ending, k)
		case recWhole:
			p.ending = append(p.ending, keyOf(s.ended, r.id))
		case recMark:
			for _, k := range p.ending {
				s.finish(k)
			}
			p.ending, s.Position = p.ending[:0], r.position
		}
	}
	if r.bad {
		return s.damage(p.at, "a record of the frame cannot be read, though its checksum is right: another version wrote it")
	}
	return nil
}

func (s *State) begin(k key, p place) {
	p.next = -1
	if older, ok := s.begun[k]; ok {
		p.next = older
	}
	at := s.free
	if at >= 0 {
		s.free = s.steps[at].next
		s.steps[at] = p
	} else {
		at = int32(len(s.steps))
		s.steps = append(s.steps, p)
	}
	s.begun[k] = at
}

// forget drops the step records in what is cut off.
func (s *State) forget() {
	for k, at := range s.begun {
		for at >= 0 && s.steps[at].frame >= s.end {
			at = s.steps[at].next
		}
		if s.begun[k] = at; at < 0 {
			delete(s.begun, k)
		}
	}
}

// finish notes that an item, or all that came of it, has ended.
func (s *State) finish(k key) {
	code := k.code()
	k.lo &^= codeMask
	old, had := s.ended.put(k, code)
	if had && code == 0 {
		s.ended.put(k, old) // an outcome says more
	} else {
		if had && old != 0 {
			s.Counts[s.names[old]]--
		}
		if code != 0 {
			s.Counts[s.names[code]]++
		}
	}
	at, ok := s.begun[k]
	if !ok {
		return
	}
	delete(s.begun, k)
	for at >= 0 {
		next := s.steps[at].next
		s.steps[at].next, s.free = s.free, at
		at = next
	}
}
