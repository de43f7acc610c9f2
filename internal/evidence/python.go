package evidence

import (
	"regexp"
	"strconv"
	"strings"

	"tandem"
)

var (
	pyFatal  = regexp.MustCompile(`^Fatal Python error: (.+)$`)
	pyThread = regexp.MustCompile(`^(Current thread|Thread) 0x[0-9a-f]+(?: \[.*\])? \(most recent call first\):$`)
	pyFrame  = regexp.MustCompile(`^  File "(.*)", line (\d+|\?\?\?) in (.+)$`)
	pyRaised = regexp.MustCompile(`^  File "(.*)", line (\d+)(?:, in (.+))?$`)
	pyError  = regexp.MustCompile(`^([A-Za-z_][\w.]*)(?:: (.*))?$`)
	pyChain  = []string{"The above exception was the direct cause of the following exception:", "During handling of the above exception, another exception occurred:"}
)

// pyOwn tells the standard library and Tandem's worker from the user's files. Installed packages are the user's.
func pyOwn(file string) bool {
	if strings.Contains(file, "/tandem_worker/") || strings.HasPrefix(file, "<frozen ") {
		return true
	}
	_, rest, std := strings.Cut(file, "/lib/python3")
	return std && !strings.Contains(rest, "/site-packages/") && !strings.Contains(rest, "/dist-packages/")
}

// withoutWorker leaves out the frames of Tandem's own worker, and of the line that started it.
func withoutWorker(lines []string) (kept []string) {
	ours := false
	for _, l := range lines {
		if ours = strings.Contains(l, "/tandem_worker/") && pyFrame.MatchString(l) || ours && strings.HasPrefix(l, `  File "<string>", line 1 in `); !ours {
			kept = append(kept, l)
		}
	}
	return kept
}

// pyStack reads the frames of faulthandler from line i on.
func pyStack(lines []string, i int) (frames []frame, end int) {
	for ; i < len(lines); i++ {
		m := pyFrame.FindStringSubmatch(lines[i])
		if m == nil {
			if strings.HasPrefix(lines[i], "  ") { // ... or <no Python frame>
				continue
			}
			break
		}
		n, _ := strconv.Atoi(m[2])
		frames = append(frames, frame{m[3], m[1], n, pyOwn(m[1])})
	}
	return frames, i
}

// pythonFatal recognises faulthandler and the interpreter's own fatal errors.
func pythonFatal(lines []string, _ Exit) *hit {
	for i := len(lines) - 1; i >= 0; i-- {
		m := pyFatal.FindStringSubmatch(lines[i])
		if m == nil {
			continue
		}
		h := &hit{Stack: tandem.Stack{Language: "python", Kind: "fatal_error", Message: m[1]}, from: i}
		if strings.Contains(m[1], "_PyErr_NoMemory") {
			h.Kind = "out_of_memory"
		}
		threads := false
		for j := i + 1; j < len(lines); j++ {
			head := pyThread.FindStringSubmatch(lines[j])
			if head == nil {
				if !threads && j > i+4 {
					break
				}
				continue
			}
			frames, end := pyStack(lines, j+1)
			if !threads || head[1] == "Current thread" {
				h.Function = ""
				place(&h.Stack, frames)
			}
			threads, h.to = true, end
			if head[1] == "Current thread" {
				break
			}
		}
		if threads {
			return h
		}
	}
	return nil
}

// pythonHung reads the stacks of all threads and finds the one that runs the handler.
func pythonHung(lines []string) *hit {
	var h *hit
	sure := false
	for i := range lines {
		head := pyThread.FindStringSubmatch(lines[i])
		if head == nil {
			continue
		}
		if h == nil {
			h = &hit{Stack: tandem.Stack{Language: "python"}, from: i}
		}
		frames, end := pyStack(lines, i+1)
		h.to = max(h.to, end)
		s, users, ours := tandem.Stack{}, false, false
		place(&s, frames)
		for _, f := range frames {
			users = users || !f.own && !strings.HasPrefix(f.file, "<")
			ours = ours || strings.Contains(f.file, "/tandem_worker/")
		}
		if users && !sure && (ours || h.Function == "" || head[1] == "Current thread") {
			h.Function, h.File, h.Line = s.Function, s.File, s.Line
			sure = ours
		}
	}
	return h
}

// pythonTraceback recognises an exception that nobody caught: it is the last that was written.
func pythonTraceback(lines []string, e Exit) *hit {
	if e.signal() != "" || e.Code == 0 {
		return nil
	}
	for i := len(lines) - 1; i >= 0; i-- {
		indent := ""
		switch lines[i] {
		case "Traceback (most recent call last):":
		case "  + Exception Group Traceback (most recent call last):":
			indent = "  | "
		default:
			continue
		}
		h := &hit{Stack: tandem.Stack{Language: "python", Kind: "exception"}, from: i}
		var frames []frame // innermost first
		j := i + 1
		for ; j < len(lines); j++ {
			line, ok := strings.CutPrefix(lines[j], indent)
			if !ok || line == "" || line[0] != ' ' {
				break
			}
			if m := pyRaised.FindStringSubmatch(line); m != nil {
				n, _ := strconv.Atoi(m[2])
				frames = append([]frame{{m[3], m[1], n, pyOwn(m[1])}}, frames...)
			}
		}
		if j == len(lines) || len(frames) == 0 {
			continue
		}
		m := pyError.FindStringSubmatch(strings.TrimPrefix(lines[j], indent))
		if m == nil {
			continue
		}
		if h.to = last(lines) + 1; indent == "" && h.to > j+6 {
			return nil // the program went on
		}
		h.Message = m[1]
		if m[2] != "" {
			h.Message += ": " + m[2]
		}
		if m[1] == "MemoryError" || m[1] == "OSError" && strings.HasPrefix(m[2], "[Errno 12]") {
			h.Kind = "out_of_memory"
		}
		place(&h.Stack, frames)
		h.from = pyBegin(lines, i)
		return h
	}
	return nil
}

// pyBegin is where the chain of exceptions begins of which the last has its traceback at line i.
func pyBegin(lines []string, i int) int {
	for i >= 3 && (lines[i-2] == pyChain[0] || lines[i-2] == pyChain[1]) {
		j := i - 3
		for j >= 0 && lines[j] != "Traceback (most recent call last):" {
			j--
		}
		if j < 0 {
			break
		}
		i = j
	}
	return i
}
