package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"tandem"
)

func TestFramesComeBackAsTheyWent(t *testing.T) {
	var b []byte
	b = AppendTask(b, 7, tandem.TextValue("photo.jpg"))
	b = AppendTaskBlob(b, 8, tandem.Bytes, Span{Offset: 64, Length: 9000})
	b = AppendResult(b, 9, More, 3*time.Second, tandem.Value{Kind: tandem.JSON, Data: []byte("[1]")})
	b = AppendResultBlob(b, 10, 0, 1, tandem.Bytes, Span{Offset: 1, Length: 2, End: 3})
	b = Append(b, Grease+3, 0xff, 1, []byte("zz"))
	b = AppendError(b, 11, 5, ErrorBody{Kind: "exception", Message: "no"})
	want := []struct {
		t     Type
		flags Flags
		id    uint64
	}{{Task, 2, 7}, {Task, Of(tandem.Bytes) | Blob, 8}, {Result, Of(tandem.JSON) | More, 9}, {Result, Of(tandem.Bytes) | Blob, 10}, {Grease + 3, 0xff, 0}, {Error, 0, 11}}
	for _, w := range want {
		f, n, err := Parse(b)
		if err != nil || n == 0 || f.Type != w.t || f.Flags != w.flags || f.ID != w.id {
			t.Fatalf("got %+v %d %v, want %+v", f, n, err, w)
		}
		switch w.id {
		case 7:
			if string(f.Payload) != "photo.jpg" {
				t.Errorf("payload %q", f.Payload)
			}
		case 8:
			if s, err := f.ReadSpan(f.Payload); err != nil || s != (Span{Offset: 64, Length: 9000}) {
				t.Errorf("span %+v %v", s, err)
			}
		case 10:
			_, rest, _ := f.Service()
			if s, err := f.ReadSpan(rest); err != nil || s != (Span{1, 2, 3}) {
				t.Errorf("span %+v %v", s, err)
			}
		}
		b = b[n:]
	}
	if len(b) != 0 {
		t.Errorf("%d bytes left", len(b))
	}
}

func TestHalfAFrameIsNotAFault(t *testing.T) {
	b := AppendTask(nil, 1, tandem.TextValue("abc"))
	for i := range b {
		if _, n, err := Parse(b[:i]); n != 0 || err != nil {
			t.Fatalf("%d of %d bytes: n=%d err=%v", i, len(b), n, err)
		}
	}
}

func TestBadFramesAreNamed(t *testing.T) {
	good := AppendTask(nil, 1, tandem.TextValue("abc"))
	for _, c := range []struct {
		name string
		spot int
		with byte
		want string
	}{
		{"too short", 0, 15, "length 15"}, {"too long", 2, 5, "length"}, {"unknown type", 4, 99, "type 99"}, {"type 0", 4, 0, "type 0"},
		{"unused flag", 5, 128, "flags"}, {"unknown kind", 5, 6, "flags"}, {"method", 6, 1, "method 1"},
	} {
		b := bytes.Clone(good)
		b[c.spot] = c.with
		_, _, err := Parse(b)
		var f *Fault
		if !errors.As(err, &f) || !strings.Contains(f.Reason, c.want) {
			t.Errorf("%s: got %v, want a fault that names %q", c.name, err, c.want)
		}
	}
}

func TestLongErrorsFitAFrame(t *testing.T) {
	long := strings.Repeat("\x00é\n", MaxFrame)
	b := AppendError(nil, 1, 0, ErrorBody{Kind: "exception", Message: long, Trace: long, Hint: long})
	f, n, err := Parse(b)
	if err != nil || n != len(b) {
		t.Fatalf("n=%d of %d, %v", n, len(b), err)
	}
	_, rest, _ := f.Service()
	var e ErrorBody
	if err := json.Unmarshal(rest, &e); err != nil || e.Kind != "exception" {
		t.Fatalf("body: %v", err)
	}
}

func TestErrorsSayWhatHelps(t *testing.T) {
	for _, c := range []struct {
		json  string
		again tandem.Again
		after time.Duration
	}{
		{`{}`, tandem.AgainUnsaid, 0}, {`{"again":"yes"}`, tandem.AgainYes, 0}, {`{"again":"yes","after_ms":1500}`, tandem.AgainYes, 1500 * time.Millisecond},
		{`{"again":"never","after_ms":9}`, tandem.AgainNever, 0}, {`{"again":"perhaps","after_ms":9}`, tandem.AgainUnsaid, 0}, {`{"after_ms":9}`, tandem.AgainUnsaid, 0},
		{`{"again":"yes","after_ms":-5}`, tandem.AgainYes, 0}, {`{"again":"yes","after_ms":9223372036854775807}`, tandem.AgainYes, math.MaxInt64 / time.Millisecond * time.Millisecond},
	} {
		var b ErrorBody
		if err := json.Unmarshal([]byte(c.json), &b); err != nil {
			t.Fatal(err)
		}
		e := b.Error("run")
		if e.Again != c.again || e.After != c.after {
			t.Errorf("%s: again %d after %v, want %d after %v", c.json, e.Again, e.After, c.again, c.after)
		}
		if again := BodyOf(e).Error("run"); *again != *e {
			t.Errorf("%s: became %+v on the way", c.json, again)
		}
	}
	if b := BodyOf(&tandem.Error{Again: tandem.AgainYes, After: time.Microsecond}); b.AfterMS != 1 {
		t.Errorf("a microsecond became %d ms, which says nothing", b.AfterMS)
	}
	f, _, err := Parse(AppendError(nil, 1, 0, ErrorBody{Kind: strings.Repeat("\x00", MaxFrame), Again: "yes", AfterMS: 5}))
	if err != nil || len(f.Payload) == 0 {
		t.Errorf("an error with an endless kind: %v", err)
	}
}

// FuzzParse: whatever comes, Parse neither panics nor reads past the frame, and what it accepts it accepts again after being encoded.
func FuzzParse(f *testing.F) {
	f.Add(AppendTask(nil, 1, tandem.TextValue("abc")))
	f.Add(AppendResultBlob(nil, 2, More, 1, tandem.JSON, Span{1, 2, 3}))
	f.Add(AppendError(nil, 3, 1, ErrorBody{Kind: "k"}))
	f.Add(AppendTask(nil, 4, tandem.ListOf([]tandem.Value{tandem.TextValue("a"), {}})))
	f.Add([]byte{15, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, n, err := Parse(b)
		if n > len(b) || n < 0 || err != nil && n != 0 {
			t.Fatalf("n=%d of %d, err=%v", n, len(b), err)
		}
		if err != nil || n == 0 || fr.Type >= Grease {
			return
		}
		if fr.Flags.Kind() == tandem.List && fr.Type != Task {
			t.Fatalf("a list in a %v", fr.Type)
		}
		again := Append(nil, fr.Type, fr.Flags, fr.ID, fr.Payload)
		if !bytes.Equal(again, b[:n]) {
			t.Fatalf("encoded again: %x, want %x", again, b[:n])
		}
		if d, rest, err := fr.Service(); err == nil {
			_ = d
			if s, err := fr.ReadSpan(rest); err == nil {
				_ = s.Within(rand.Uint64())
			}
		}
	})
}

func TestWithin(t *testing.T) {
	for _, c := range []struct {
		s    Span
		want bool
	}{{Span{0, 100, 0}, true}, {Span{100, 0, 0}, true}, {Span{1, 100, 0}, false}, {Span{^uint64(0), 2, 0}, false}, {Span{0, ^uint64(0), 0}, false}} {
		if got := c.s.Within(100); got != c.want {
			t.Errorf("%+v in 100: %v", c.s, got)
		}
	}
}
