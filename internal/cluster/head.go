package cluster

import (
	"encoding/json"
	"math"
	"strconv"

	"tandem"
)

// Every message has a head, and most heads have only short words and numbers: reading such a one with encoding/json took more than half of what a submitter had to do for a
// result. So plain heads are written and read here; all others, with an error, a crash, splits or a character that JSON escapes, are left to the library. What is
// written is the same JSON either way, and nodes of any version read it.

// plain tells whether a text stands in JSON as it is.
func plain[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// marshal gives the head as JSON.
func (h *head) marshal() ([]byte, error) {
	if h.Splits != nil || h.Error != nil || h.Crash != nil || !plain(h.ID) || !plain(h.Root) || !plain(h.Outcome) || !plain(h.Node) || !plain(h.Step) || !plain(h.Object) {
		return json.Marshal(h)
	}
	b := make([]byte, 0, 192)
	text := func(name, s string) {
		b = append(append(append(b, name...), s...), '"')
	}
	number := func(name string, n int64) {
		if n != 0 {
			b = strconv.AppendInt(append(b, name...), n, 10)
		}
	}
	maybe := func(name, s string) {
		if s != "" {
			text(name, s)
		}
	}
	text(`{"id":"`, h.ID)
	text(`,"root":"`, h.Root)
	b = strconv.AppendInt(append(b, `,"shares":`...), h.Shares, 10)
	number(`,"attempts":`, int64(h.Attempts))
	number(`,"elapsed_ns":`, h.Elapsed)
	if h.Same {
		b = append(b, `,"same":true`...)
	}
	maybe(`,"outcome":"`, string(h.Outcome))
	number(`,"service_ns":`, h.Service)
	maybe(`,"node":"`, h.Node)
	maybe(`,"step":"`, h.Step)
	maybe(`,"object":"`, h.Object)
	return append(b, '}'), nil
}

// unmarshal reads a head.
func (h *head) unmarshal(b []byte) error {
	if h.plain(b) {
		return nil
	}
	*h = head{}
	return json.Unmarshal(b, h)
}

// plain reads a head that is written as marshal does it. It is false when it is not, which says nothing about whether it is one.
func (h *head) plain(b []byte) bool {
	if len(b) < 2 || b[0] != '{' {
		return false
	}
	r := words{rest: b[1:]}
	for {
		switch name := r.text(); {
		case !r.is(':'):
			return false
		case string(name) == "id":
			h.ID = string(r.text())
		case string(name) == "root":
			if root := r.text(); string(root) == h.ID {
				h.Root = h.ID
			} else {
				h.Root = string(root)
			}
		case string(name) == "shares":
			h.Shares = r.number()
		case string(name) == "attempts":
			h.Attempts = int(r.number())
		case string(name) == "elapsed_ns":
			h.Elapsed = r.number()
		case string(name) == "same":
			h.Same = r.yes()
		case string(name) == "outcome":
			h.Outcome = outcomeOf(r.text())
		case string(name) == "service_ns":
			h.Service = r.number()
		case string(name) == "node":
			h.Node = string(r.text())
		case string(name) == "step":
			h.Step = string(r.text())
		case string(name) == "object":
			h.Object = string(r.text())
		default:
			return false
		}
		if r.is('}') {
			return !r.bad && len(r.rest) == 0
		}
		if !r.is(',') {
			return false
		}
	}
}

// outcomeOf makes no new string of one that everybody knows.
func outcomeOf(b []byte) tandem.Outcome {
	for _, o := range tandem.Outcomes {
		if string(o) == string(b) {
			return o
		}
	}
	return tandem.Outcome(b)
}

// words reads JSON without spaces, and is bad from the first on that it does not know.
type words struct {
	rest []byte
	bad  bool
}

func (r *words) is(c byte) bool {
	if len(r.rest) == 0 || r.rest[0] != c {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

func (r *words) text() []byte {
	if !r.is('"') {
		r.bad = true
		return nil
	}
	for i, c := range r.rest {
		if c == '"' {
			s := r.rest[:i]
			r.rest = r.rest[i+1:]
			return s
		}
		if c < ' ' || c >= 0x7f || c == '\\' {
			break
		}
	}
	r.bad = true
	return nil
}

func (r *words) number() (n int64) {
	i := 0
	for ; i < len(r.rest) && r.rest[i] >= '0' && r.rest[i] <= '9'; i++ {
		d := int64(r.rest[i] - '0')
		if n > (math.MaxInt64-d)/10 || i == 1 && n == 0 {
			r.bad = true
			return 0
		}
		n = 10*n + d
	}
	r.bad = r.bad || i == 0
	r.rest = r.rest[i:]
	return n
}

func (r *words) yes() bool {
	if len(r.rest) < 4 || string(r.rest[:4]) != "true" {
		r.bad = true
		return false
	}
	r.rest = r.rest[4:]
	return true
}
