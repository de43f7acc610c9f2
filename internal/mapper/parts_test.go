package mapper

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"tandem"
)

func TestHalt(t *testing.T) {
	for _, c := range []struct {
		flag       string
		ok, failed int64
		reached    bool
	}{
		{"never", 0, 1000, false},
		{"0", 0, 1000, false},
		{"1", 5, 0, false},
		{"1", 5, 1, true},
		{"2", 0, 1, true},
		{"soon,fail=3", 100, 2, false},
		{"soon,fail=3", 0, 3, true},
		{"10%", 0, 2, false}, // two say nothing yet
		{"10%", 0, 3, true},
		{"now,fail=10%", 28, 3, false},
		{"now,fail=10%", 27, 3, true},
		{"now,fail=100%", 1, 99, false},
		{"now,success=1", 0, 50, false},
		{"now,success=1", 1, 50, true},
		{"soon,success=50%", 2, 2, false},
		{"soon,success=50%", 3, 3, true},
		{"soon,done=4", 2, 1, false},
		{"soon,done=4", 2, 2, true},
	} {
		h, err := ParseHalt(c.flag)
		if err != nil {
			t.Fatal(err)
		}
		if why, reached := h.Reached(c.ok, c.failed); reached != c.reached {
			t.Errorf("--halt %s with %d ok and %d failed: %v (%s)", c.flag, c.ok, c.failed, reached, why)
		}
		if now := strings.HasPrefix(c.flag, "now") || c.flag == "2"; h.Now != now {
			t.Errorf("--halt %s: now is %v", c.flag, h.Now)
		}
	}
	for _, s := range []string{"3", "later,fail=1", "now", "now,fail", "now,fail=", "now,fail=0", "now,fail=x", "now,fail=0%", "now,fail=101%", "now,done=5%", "now,tries=1", "-1", "%"} {
		if h, err := ParseHalt(s); err == nil {
			t.Errorf("--halt %s became %+v", s, h)
		}
	}
}

// Inputs come as they are, in whatever portions the stream has them.
func TestInputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.StringOfN(rapid.RuneFrom([]rune("ab \r\t\x00é")), 0, 8, -1)).Draw(t, "inputs")
		text := ""
		for _, s := range want {
			text += s + "\n"
		}
		if n := len(want); n > 0 && want[n-1] != "" && rapid.Bool().Draw(t, "no last end") {
			text = strings.TrimSuffix(text, "\n")
		}
		var r io.Reader = strings.NewReader(text)
		switch rapid.IntRange(0, 2).Draw(t, "how") {
		case 0:
			r = iotest.OneByteReader(r)
		case 1:
			r = iotest.DataErrReader(r)
		}
		var got []string
		for portion, err := range Inputs("test", r, '\n') {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, portion...)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q gave %q", text, got)
		}
	})
}

func TestInputsThatCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		r    io.Reader
		want string
		good int
	}{
		"long":   {io.MultiReader(strings.NewReader("a\nb\n"), bytes.NewReader(make([]byte, 3<<20))), "read test: input 3 is longer than 1024 KiB", 2},
		"broken": {io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(errors.New("the disk is gone"))), "read test: the disk is gone", 1},
	} {
		good, last := 0, error(nil)
		for portion, err := range Inputs("test", c.r, '\n') {
			good += len(portion)
			last = err
		}
		if last == nil || last.Error() != c.want || good != c.good {
			t.Errorf("%s: %d inputs, then %v", name, good, last)
		}
	}
}

// What was logged is known to a run that resumes, and the log goes on behind it.
func TestJobLogRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(1, 20).Draw(t, "n")
		log, err := OpenJobLog(path, Afresh)
		if err != nil {
			t.Fatal(err)
		}
		ok := map[int64]bool{}
		for seq := range n {
			seq++
			exit := rapid.SampledFrom([]int{0, 1, 255}).Draw(t, "exit")
			ok[seq] = exit == 0
			log.add(&entry{seq: seq, start: time.Unix(1e9, 5e6), wall: time.Second, exit: exit, command: Quote([]string{"echo", "a\tb\n" + string(rune('a'+seq))}), outcome: tandem.OK, cpu: -1})
		}
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		whole, _ := os.ReadFile(path)
		cut := rapid.IntRange(0, 5).Draw(t, "cut") // the machine went down while the last line was written
		if cut > 0 {
			ok[n] = false
			_ = os.WriteFile(path, whole[:len(whole)-cut], 0o644)
		}
		how := rapid.SampledFrom([]Resume{SkipDone, SkipOK}).Draw(t, "how")
		log, err = OpenJobLog(path, how)
		if err != nil {
			t.Fatal(err)
		}
		for seq := range n + 2 {
			seq++
			want := seq <= n && (how == SkipDone || ok[seq]) && (cut == 0 || seq < n)
			done, err := log.Done(seq, func() string { return Quote([]string{"echo", "a\tb\n" + string(rune('a'+seq))}) })
			if done != want || err != nil {
				t.Errorf("input %d: done %v (%v), want %v; cut %d, how %d", seq, done, err, want, cut, how)
			}
			if _, err := log.Done(seq, func() string { return "rm" }); want != (err != nil) {
				t.Errorf("input %d with another command: %v", seq, err)
			}
		}
		log.add(&entry{seq: n + 1, command: "x", outcome: tandem.OK})
		if err := log.Close(); err != nil {
			t.Fatal(err)
		}
		now, _ := os.ReadFile(path)
		kept := whole
		if cut > 0 {
			kept = whole[:bytes.LastIndexByte(whole[:len(whole)-cut], '\n')+1]
		}
		if !bytes.HasPrefix(now, kept) || bytes.Count(now[len(kept):], []byte("\n")) != 1 {
			t.Errorf("the log became %q, was %q", now, kept)
		}
	})
}
