package flowfile

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Identity is what makes a run of this flow the same job, a line for each part: its name, where items come from, what each step runs, where outcomes go.
// What only changes how fast or how often (mode, workers, limits, retries, timeouts) is not in it. A run resumes only a flow with the same identity.
func (f *File) Identity() string {
	var b strings.Builder
	line := func(what string, v any) {
		text, err := json.Marshal(v)
		if err != nil { // a flow file holds nothing that is not JSON
			text = fmt.Append(nil, v)
		}
		fmt.Fprintf(&b, "%s %s\n", what, text)
	}
	line("name", f.Name)
	line("from", f.From)
	for i := range f.Steps {
		s := f.Steps[i] // a copy
		s.Mode, s.Workers, s.Threads, s.Concurrency, s.Max, s.Rate, s.Breaker, s.Budget = "", Workers{}, 0, 0, 0, 0, BreakerConfig{}, 0
		s.Start, s.Spares = "", 0
		s.Timeout, s.Queue, s.Retry, s.Pool, s.Venv = Timeout{}, Queue{}, nil, "", ""
		s.Memory, s.CPUTime, s.Hang, s.Output, s.Core = Memory{}, 0, 0, 0, 0
		s.Isolation, s.box = Isolation{}, Isolation{}
		s.Recycle, s.Idempotent, s.PerKey = nil, nil, nil
		line(fmt.Sprintf("step %q", s.Name), s)
	}
	line("into", f.Into)
	line("order", f.Order)
	return b.String()
}

// SourceState is what the source looks like now, so that a change is seen: size and time of its file. It is empty where nothing can be said, as of
// standard input, or where a change does no harm, as with files that come and go.
func (f *File) SourceState() string {
	src, key := f.From.Lines+f.From.JSONL+f.From.CSV, f.From.verb()
	if src == "" || src == "-" {
		return ""
	}
	path, err := f.fixedPath(src, "from", key)
	if err != nil {
		return ""
	}
	info, err := os.Stat(path)
	if err != nil {
		return src + ": " + reason(err)
	}
	return fmt.Sprintf("%s: %d bytes, written %s", src, info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano))
}

// Differences tells what distinguishes two identities, in words.
func Differences(before, now string) []string {
	a, b := strings.Split(strings.TrimSpace(before), "\n"), strings.Split(strings.TrimSpace(now), "\n")
	label := func(line string) string {
		if rest, ok := strings.CutPrefix(line, "step "); ok {
			if end := strings.Index(rest[1:], `"`); end >= 0 {
				return "step " + rest[:end+2]
			}
		}
		word, _, _ := strings.Cut(line, " ")
		return word
	}
	labels := func(lines []string) (l []string) {
		for _, x := range lines {
			l = append(l, label(x))
		}
		return l
	}
	la, lb := labels(a), labels(b)
	var out []string
	for i, l := range la {
		j := slices.Index(lb, l)
		switch {
		case j < 0:
			out = append(out, l+" is gone")
		case a[i] != b[j]:
			out = append(out, l+" has changed")
		}
	}
	for _, l := range lb {
		if !slices.Contains(la, l) {
			out = append(out, l+" is new")
		}
	}
	if len(out) == 0 && before != now {
		out = append(out, "the steps stand in another order")
	}
	return out
}
