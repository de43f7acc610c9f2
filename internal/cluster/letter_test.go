package cluster

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem"
)

// What comes over the wire is a letter or an error, and a letter that is sealed again says the same.
func FuzzOpen(f *testing.F) {
	for _, l := range []*letter{
		{head: head{ID: "1", Root: "1", Shares: sharesIn1}, source: tandem.TextValue("a"), value: tandem.TextValue("a")},
		{head: head{ID: "1/2", Root: "1", Shares: 7, Attempts: 2, Outcome: tandem.Failed, Error: &failure{Kind: "exception", Message: "no"}}, source: tandem.TextValue("a"), value: tandem.Value{Kind: tandem.Bytes, Data: []byte{0, 255}},
			earlier: []tandem.Value{tandem.TextValue("x")}},
	} {
		m, err := l.seal(f.Context(), nil, "q")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m.Body)
		f.Add(m.Body[:len(m.Body)-1])
	}
	f.Add([]byte{Version, 255, 255, 255, 255, '{'})
	f.Add([]byte{Version + 1, 2, 0, 0, 0, '{', '}'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > inline {
			t.Skip()
		}
		m := tandem.Message{Body: b}
		l, err := parse(&m)
		if err != nil || l.Object != "" {
			return // an object needs a store
		}
		if err := l.fill(t.Context(), nil, &m); err != nil {
			return
		}
		again, err := l.seal(t.Context(), nil, "q")
		if err != nil {
			t.Fatal(err)
		}
		k, err := open(t.Context(), nil, &again)
		if err != nil {
			t.Fatalf("what was sealed does not open: %v", err)
		}
		if k.ID != l.ID || k.Root != l.Root || k.Shares != l.Shares || k.Outcome != l.Outcome || !bytes.Equal(k.value.Data, l.value.Data) || !bytes.Equal(k.source.Data, l.source.Data) || len(k.earlier) != len(l.earlier) {
			t.Errorf("%+v became %+v", l, k)
		}
	})
}

// worn is a lease that has lapsed so often.
type worn struct {
	tandem.Lease
	message tandem.Message
	attempt int
}

func (w worn) Message() *tandem.Message { return &w.message }
func (w worn) Attempt() int             { return w.attempt }

// An item whose lease has lapsed too often ends as crashed, and is not run once more.
func TestLostTooOften(t *testing.T) {
	l := &letter{head: head{ID: "5", Root: "5", Shares: sharesIn1}, source: tandem.TextValue("a"), value: tandem.TextValue("a")}
	m, err := l.seal(t.Context(), nil, "q")
	if err != nil {
		t.Fatal(err)
	}
	h := newHop(&hop{step: "fan", last: true})
	begin := func(l tandem.Lease) (*parcel, bool) {
		p := h.hold([]tandem.Lease{l})[0]
		return p, h.begin(t.Context(), p)
	}
	if p, run := begin(worn{message: m, attempt: MaxLost}); !run || len(p.out) != 0 {
		t.Errorf("delivery %d is not run: %+v", MaxLost, p)
	}
	if _, run := begin(worn{message: m, attempt: MaxLost + 1}); run {
		t.Fatalf("delivery %d is run", MaxLost+1)
	}
	p := <-h.settled
	if out := p.out[0]; out.Outcome != tandem.Crashed || out.Error.Reason != "lost" || out.Shares != sharesIn1 || !p.over[0] {
		t.Errorf("it ended as %+v", out)
	}
}

func write(t *testing.T, dir, name string, size int, random bool) {
	t.Helper()
	b := bytes.Repeat([]byte("a"), size)
	if random {
		x := uint64(size) | 1
		for i := range b {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			b[i] = byte(x)
		}
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestBundle(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"flow.yaml", "lib/h.py", "lib/h.pyc", "data/big.bin", ".git/config", "out.jsonl"} {
		write(t, dir, name, 100, false)
	}
	if err := os.WriteFile(filepath.Join(dir, ".tandemignore"), []byte("# what the steps do not need\n*.pyc\ndata/\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	name, packed, err := Bundle(dir, []string{"out.jsonl"})
	if err != nil {
		t.Fatal(err)
	}
	if again, _, _ := Bundle(dir, []string{"out.jsonl"}); again != name {
		t.Errorf("the same files make the bundles %s and %s", name, again)
	}
	to := t.TempDir()
	if err := unpack(packed, to); err != nil {
		t.Fatal(err)
	}
	for name, there := range map[string]bool{"flow.yaml": true, "lib/h.py": true, ".tandemignore": true, "lib/h.pyc": false, "data/big.bin": false, ".git/config": false, "out.jsonl": false} {
		if _, err := os.Stat(filepath.Join(to, name)); (err == nil) != there {
			t.Errorf("%s travels: %v, want %v", name, err == nil, there)
		}
	}
}

func TestBundleTooLarge(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "flow.yaml", 100, false)
	write(t, dir, "model/weights.bin", MaxBundle+1<<20, true)
	write(t, dir, "small.bin", 1<<20, true)
	_, _, err := Bundle(dir, nil)
	e, ok := errors.AsType[*tandem.Error](err)
	if !ok || e.Kind != tandem.KindTooLarge || !strings.Contains(e.Message, "model/weights.bin") || !strings.Contains(e.Hint, ".tandemignore") {
		t.Errorf("got %v", err)
	}
}

// A queue that is away for a while is waited for; one that fails for good, or a connection that is gone, is not.
func TestPatience(t *testing.T) {
	away := &tandem.Error{Kind: tandem.KindQueue, Message: "away", Again: tandem.AgainYes}
	gone, calls := false, 0
	p := patience{gone: func() bool { return gone }}
	if err := p.try(t.Context(), func() error {
		if calls++; calls < 3 {
			return away
		}
		return nil
	}); err != nil || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
	never := &tandem.Error{Kind: tandem.KindInvalid, Message: "never", Again: tandem.AgainNever}
	if err := p.try(t.Context(), func() error { return never }); !errors.Is(err, never) {
		t.Errorf("got %v", err)
	}
	gone = true
	if err := p.try(t.Context(), func() error { return away }); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gone = false
	if err := p.try(ctx, func() error { return away }); err == nil {
		t.Error("it waits for a queue after its context has ended")
	}
}
