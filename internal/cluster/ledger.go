package cluster

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"tandem"
)

// ledger is what a submitter knows of its run: how much of the source it has fed, and which roots have come back whole. What it must know after a kill stands
// in two files; that an item's line is in the sink is the journal's to know.
type ledger struct {
	mu    sync.Mutex
	count int64            // items fed
	whole bool             // the source has been read to its end
	ended int64            // roots that have come back whole
	open  map[string]int64 // shares that are still out, of roots of which some have come back
	seen  map[[16]byte]struct{}
	have  func(string) bool
	dir   string
	parts *os.File
}

type fedRecord struct {
	Items int64 `json:"items"`
	Whole bool  `json:"whole"`
}

type partRecord struct {
	ID     string `json:"id"`
	Root   string `json:"root"`
	Shares int64  `json:"shares"`
}

func openLedger(dir string, have func(string) bool, before int64) (*ledger, error) {
	l := &ledger{open: map[string]int64{}, seen: map[[16]byte]struct{}{}, have: have, dir: dir}
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
	noted := map[string]bool{}
	lines := bufio.NewScanner(l.parts)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var p partRecord
		if json.Unmarshal(lines.Bytes(), &p) != nil || noted[p.ID] || !l.have(p.ID) {
			continue // torn by a kill, or not yet in the sink: it comes again
		}
		noted[p.ID] = true
		l.share(p.Root, p.Shares)
	}
	l.ended += before - int64(len(noted))
	return lines.Err()
}

// share counts shares of a root that have come back, and tells whether they make it whole.
func (l *ledger) share(root string, shares int64) (whole bool) {
	if shares == sharesIn1 {
		l.ended++
		return true
	}
	left, ok := l.open[root]
	if !ok {
		left = sharesIn1
	}
	if left -= shares; left > 0 {
		l.open[root] = left
		return false
	}
	delete(l.open, root)
	l.ended++
	return true
}

// take notes that an item has come back. It is not the first time when its line is in the sink or on the way there.
func (l *ledger) take(id, root string, shares int64) (first, whole bool, err error) {
	sum := sha256.Sum256([]byte(id))
	key := [16]byte(sum[:16])
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.seen[key]; ok || l.have(id) {
		return false, false, nil
	}
	l.seen[key] = struct{}{}
	if shares != sharesIn1 {
		b, err := json.Marshal(partRecord{id, root, shares})
		if err != nil {
			return false, false, err
		}
		if _, err := l.parts.Write(append(b, '\n')); err != nil {
			return false, false, l.failed(err)
		}
	}
	return true, l.share(root, shares), nil
}

// knows tells whether the line of an item is in the sink or on the way there.
func (l *ledger) knows(id string) bool {
	sum := sha256.Sum256([]byte(id))
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.seen[[16]byte(sum[:16])]
	return ok || l.have(id)
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
