package evidence

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"tandem"
)

// Java says whether a process is a Java machine: its library is in the memory map.
func Java(pid int) bool {
	b, err := os.ReadFile("/proc/" + itoa(pid) + "/maps")
	return err == nil && bytes.Contains(b, []byte("/libjvm.so"))
}

var (
	jvmDump   = regexp.MustCompile(`^Full thread dump .*:$`)
	jvmThread = regexp.MustCompile(`^"([^"]*)" #\d+ `)
	jvmState  = regexp.MustCompile(`^   java\.lang\.Thread\.State: (.+)$`)
	jvmSaved  = "# An error report file with more information is saved as:"
	jvmJava   = regexp.MustCompile(`^(?:j|J \d+ \S+(?: \S)?)\s+([\w.$<>]+)\(`)
)

// jvmHung finds the thread that runs the user's code in a thread dump: the main one, or the first that computes, or the first that has any of it.
func jvmHung(lines []string) *hit {
	from := -1
	for i, l := range lines {
		if jvmDump.MatchString(l) {
			from = i
		}
	}
	if from < 0 {
		return nil
	}
	var best *hit
	for i, rank := from, 0; i < len(lines); i++ {
		m := jvmThread.FindStringSubmatch(lines[i])
		state := jvmState.FindStringSubmatch(at(lines, i+1))
		if m == nil || state == nil {
			continue
		}
		h := &hit{Stack: tandem.Stack{Language: "java", Message: m[1] + ": " + state[1]}, from: i, to: i + 2}
		var frames []frame
		for ; h.to < len(lines) && strings.HasPrefix(lines[h.to], "\t"); h.to++ {
			if f := jvmAt.FindStringSubmatch(lines[h.to]); f != nil {
				n, _ := strconv.Atoi(f[3])
				frames = append(frames, frame{f[1], f[2], n, jvmOwn(f[1])})
			}
		}
		place(&h.Stack, frames)
		worth := 0
		switch own := h.Function == "" || jvmOwn(h.Function); {
		case own:
		case m[1] == "main":
			worth = 3
		case strings.HasPrefix(state[1], "RUNNABLE"):
			worth = 2
		default:
			worth = 1
		}
		if worth > rank {
			best, rank = h, worth
		}
	}
	return best
}

// JavaReport adds to what a Java machine wrote about its end what stands in the report that it names there, hs_err_pid….log: the Java frames, and with them the user's
// function. dir is where the machine ran, and read reads the beginning of a file. A file that does not begin as what was written is not the report, and nothing of it is taken.
func JavaReport(s *tandem.Stack, dir string, read func(path string, most int64) []byte) {
	if s == nil || s.Language != "java" || s.Kind != "fatal_error" {
		return
	}
	lines := split(s.Text)
	path := ""
	for i, l := range lines {
		if l == jvmSaved {
			path = strings.TrimPrefix(at(lines, i+1), "# ")
		}
	}
	if path == "" {
		return
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	report := split(string(read(path, maxRead)))
	if len(report) < 4 || len(lines) < 4 || report[1] != lines[0] || report[3] != lines[2] { // the line with the signal and the process
		return
	}
	var frames []frame
	var text []string
	in := false
	for _, l := range report {
		switch {
		case strings.HasPrefix(l, "Java frames:"):
			in = true
		case in && l == "":
			in = false
		}
		if !in {
			continue
		}
		text = append(text, l)
		if m := jvmJava.FindStringSubmatch(l); m != nil {
			frames = append(frames, frame{function: m[1], own: jvmOwn(m[1])})
		}
	}
	if len(frames) == 0 {
		return
	}
	s.Text = cut(s.Text+"\n"+strings.Join(text, "\n"), maxText)
	for _, f := range frames {
		if !f.own {
			s.Function, s.File, s.Line = f.function, "", 0
			return
		}
	}
}
