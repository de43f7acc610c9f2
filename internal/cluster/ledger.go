package cluster

import (
	"bufio"
	"encoding/json"
	"errors"
	"hash/maphash"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"tandem"
)

// ledger is what a submitter knows of its run: how much of the source it has fed, and which roots have come back whole. What it must know after a kill stands
// in two files; that an item's line is in the sink is the journal's to know.
type ledger struct {
	mu     sync.Mutex
	count  int64            // items fed
	whole  bool             // the source has been read to its end
	ended  int64            // roots that have come back whole
	open   map[string]*root // of which some have come back
	lines  map[key]struct{} // of items whose line is in the sink or on the way there
	wholes map[key]struct{} // of roots that have become several and have come back whole
	have   func(string) bool
	dir    string
	parts  *os.File
}

// root is an item of the source that has become several. A step that ran twice for one item may have made other items the second time. All that came of either run
// gets here in the end; whichever gets here first decides, and what came of the other is left out. What was decided stands in the file before anything is left out:
// the line that decided it may not be in the sink yet when the submitter is killed.
type root struct {
	left   int64             // shares that are still out
	splits map[string]string // what each item that became several was split into
}

// itself stands in place of a split for an item that ended as one.
const itself = "itself"

type fedRecord struct {
	Items int64 `json:"items"`
	Whole bool  `json:"whole"`
}

type partRecord struct {
	ID     string `json:"id"`
	Root   string `json:"root"`
	Shares int64  `json:"shares"`

	Splits []string `json:"splits,omitempty"`
	Itself bool     `json:"itself,omitempty"` // only says that it ended as one
}

func openLedger(dir string, have func(string) bool, before int64) (*ledger, error) {
	l := &ledger{open: map[string]*root{}, lines: map[key]struct{}{}, wholes: map[key]struct{}{}, have: have, dir: dir}
	if have == nil {
		l.have = func(string) bool { return false }
	}
	b, err := os.ReadFile(filepath.Join(dir, "fed.json"))
	if err == nil {
		var f fedRecord
		if err = json.Unmarshal(b, &f); err == nil {
			l.count, l.whole = f.Items, f.Whole
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, l.failed(err)
	}
	if l.parts, err = os.OpenFile(filepath.Join(dir, "parts.jsonl"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return nil, l.failed(err)
	}
	if err := l.restore(before); err != nil {
		return nil, errors.Join(l.failed(err), l.parts.Close())
	}
	return l, nil
}

func (l *ledger) failed(err error) error {
	return &tandem.Error{Op: "keep the progress of the run in", On: l.dir, Kind: tandem.KindFile, Message: err.Error(), Err: err}
}

// restore counts what the journal knows. Items that are their whole root need no line in parts.
func (l *ledger) restore(before int64) error {
	noted := map[string]partRecord{}
	lines := bufio.NewScanner(l.parts)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var p partRecord
		if json.Unmarshal(lines.Bytes(), &p) != nil {
			continue // torn by a kill
		}
		l.decide(p)
		if !p.Itself && l.have(p.ID) { // otherwise it comes again
			noted[p.ID] = p
		}
	}
	for _, p := range noted {
		l.share(p)
	}
	l.ended += before - int64(len(noted))
	return lines.Err()
}

// decide keeps to what a line says about the items that this one is a part of.
func (l *ledger) decide(p partRecord) {
	r := l.open[p.Root]
	if r == nil {
		r = &root{left: sharesIn1, splits: map[string]string{}}
		l.open[p.Root] = r
	}
	for id, split := range p.parents() {
		r.splits[id] = split
	}
	if p.Itself {
		r.splits[p.ID] = itself
	}
}

// share counts the shares of an item that has come back, and tells whether they make its root whole.
func (l *ledger) share(p partRecord) (whole bool) {
	if p.Shares == sharesIn1 {
		delete(l.open, p.Root)
		l.ended++
		return true
	}
	l.decide(p)
	r := l.open[p.Root]
	if r.left -= p.Shares; r.left > 0 {
		return false
	}
	delete(l.open, p.Root)
	l.wholes[keyOf(p.Root)] = struct{}{}
	l.ended++
	return true
}

// parents gives the items that this one is a part of, each with what it was split into.
func (p partRecord) parents() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		id := p.ID
		for i := len(p.Splits) - 1; i >= 0; i-- {
			if id = id[:max(0, strings.LastIndexByte(id, '/'))]; !yield(id, p.Splits[i]) {
				return
			}
		}
	}
}

// useless tells whether there is no use for an item: its line is in the sink or on the way there, or that of something else which came of the same. The mutex is held.
func (l *ledger) useless(p partRecord) (bool, error) {
	if _, over := l.wholes[keyOf(p.Root)]; over || l.has(p.ID) {
		return true, nil
	}
	splits := map[string]string{}
	if r := l.open[p.Root]; r != nil {
		splits = r.splits
	}
	if is := splits[p.ID]; is != "" && is != itself {
		return true, nil
	}
	for id, split := range p.parents() {
		if is := splits[id]; is != "" && is != split {
			return true, nil
		}
		if l.have(id) {
			return true, nil
		}
		if l.has(id) {
			return true, l.note(partRecord{ID: id, Root: p.Root, Itself: true})
		}
	}
	return false, nil
}

// note writes a line, and keeps to it.
func (l *ledger) note(p partRecord) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if _, err := l.parts.Write(append(b, '\n')); err != nil {
		return l.failed(err)
	}
	if p.Itself && p.ID != p.Root { // of a root that ended as one nothing else is asked
		l.decide(p)
	}
	return nil
}

// sync makes what was decided survive a power cut.
func (l *ledger) sync() error {
	if err := l.parts.Sync(); err != nil {
		return l.failed(err)
	}
	return nil
}

// has tells whether the line of an item is in the sink or on the way there.
func (l *ledger) has(id string) bool {
	_, ok := l.lines[keyOf(id)]
	return ok || l.have(id)
}

// key stands for an id in the memory of one process: 128 bits of hashes that nobody outside can foresee.
type key [2]uint64

var seeds = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}

func keyOf(id string) key { return key{maphash.String(seeds[0], id), maphash.String(seeds[1], id)} }

func partOf(l *letter) partRecord {
	return partRecord{ID: l.ID, Root: l.Root, Shares: l.Shares, Splits: l.Splits}
}

// take notes that an item has come back. It is not the first when there is no use for it.
func (l *ledger) take(t *letter) (first, whole bool, err error) {
	p := partOf(t)
	l.mu.Lock()
	defer l.mu.Unlock()
	if no, err := l.useless(p); no || err != nil {
		return false, false, err
	}
	if p.Shares != sharesIn1 {
		if err := l.note(p); err != nil {
			return false, false, err
		}
	}
	l.lines[keyOf(p.ID)] = struct{}{}
	return true, l.share(p), nil
}

// knows tells whether there is no use for an item.
func (l *ledger) knows(t *letter) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.useless(partOf(t))
}

func (l *ledger) fed() (items int64, whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count, l.whole
}

func (l *ledger) roots() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// feed notes that n more items are in the first queue. A kill before it makes them be put again; the queue knows their ids.
func (l *ledger) feed(n int64, whole bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count, l.whole = l.count+n, l.whole || whole
	b, err := json.Marshal(fedRecord{l.count, l.whole})
	if err != nil {
		return err
	}
	path := filepath.Join(l.dir, "fed.json")
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return l.failed(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return l.failed(err)
	}
	return nil
}

func (l *ledger) close() error { return l.parts.Close() }
