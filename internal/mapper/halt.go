package mapper

import (
	"fmt"
	"strconv"
	"strings"

	"tandem"
)

// Halt says when to stop early. The zero value never does.
type Halt struct {
	Now   bool   // kill what runs; else let it end
	What  string // fail, success or done; empty means never
	Count int64
	Share float64 // of those that have ended, when Count is zero; judged once three have failed (or succeeded)
}

// leastForShare keeps the first failure of a long run from being a hundred per cent.
const leastForShare = 3

// ParseHalt reads never, 0, 1, 2, N%, or now|soon,fail|success|done=N|N%.
func ParseHalt(s string) (h Halt, err error) {
	wrong := func(msg string) (Halt, error) {
		return Halt{}, &tandem.Error{Op: "read the flags of", On: "tandem map", Kind: tandem.KindInvalid, Message: "--halt " + s + ": " + msg,
			Hint: "for example --halt soon,fail=1, --halt now,fail=10% or --halt now,success=1"}
	}
	full := s
	switch {
	case s == "" || s == "never" || s == "0":
		return Halt{}, nil
	case s == "1":
		full = "soon,fail=1"
	case s == "2":
		full = "now,fail=1"
	case strings.HasSuffix(s, "%") && !strings.Contains(s, "="):
		full = "soon,fail=" + s
	}
	when, rest, _ := strings.Cut(full, ",")
	what, figure, ok := strings.Cut(rest, "=")
	if when != "now" && when != "soon" {
		return wrong("want never, or soon or now first")
	}
	if !ok || what != "fail" && what != "success" && what != "done" {
		return wrong("want fail=, success= or done= and a number")
	}
	h = Halt{Now: when == "now", What: what}
	if digits, percent := strings.CutSuffix(figure, "%"); percent {
		n, err := strconv.ParseUint(digits, 10, 8)
		if err != nil || n < 1 || n > 100 {
			return wrong("want 1% to 100%")
		}
		if what == "done" {
			return wrong("a share of all inputs is not known before the last is read; give a number")
		}
		h.Share = float64(n) / 100
		return h, nil
	}
	n, err := strconv.ParseInt(figure, 10, 64)
	if err != nil || n < 1 {
		return wrong("want a number of 1 or more")
	}
	h.Count = n
	return h, nil
}

// Reached says whether the run has to stop, and the figures that say so.
func (h Halt) Reached(ok, failed int64) (string, bool) {
	n, word := failed, "failed"
	switch h.What {
	case "":
		return "", false
	case "success":
		n, word = ok, "succeeded"
	case "done":
		n, word = ok+failed, "ended"
	}
	if h.Count > 0 {
		return fmt.Sprintf("%d %s", n, word), n >= h.Count
	}
	ended := ok + failed
	return fmt.Sprintf("%d of %d %s", n, ended, word), n >= leastForShare && float64(n) >= h.Share*float64(ended)
}

// Bad says whether stopping for this reason means that something went wrong.
func (h Halt) Bad() bool { return h.What == "fail" }
