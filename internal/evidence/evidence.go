// Package evidence finds out why a process died, and says how sure that is.
//
//   - Find recognises what language runtimes, sanitizers and libc write about their own end: the kind, the message, the user's function. A recogniser wants the
//     whole form of such a report at the beginning of lines, so that ordinary logs are none. Hung does the same for stacks that were asked for.
//   - Judge turns what is known about a death into a reason and a confidence. It never guesses: a SIGKILL that nobody claims is killed_externally, unknown.
//   - Threads shows what the threads of a living process do, as the kernel sees them. Memory counts what the kernel has killed for memory.
//   - Find, Hung and Judge are pure. Threads and Memory read a few files under /proc and /sys. Nothing here starts a goroutine, blocks or signals a process.
//
// Texts that go in may be cut anywhere and hold anything.
package evidence

import (
	"slices"
	"strings"

	"tandem"
)

// Exit is how a process ended, as the kernel says.
type Exit struct {
	Code   int    // -1 when a signal ended it
	Signal string // SIGSEGV, or empty
}

// signal is the signal that ended the process, or the child of a shell that passes it on as 128 + its number.
func (e Exit) signal() string {
	if e.Signal == "" {
		return e.PassedOn()
	}
	return e.Signal
}

// PassedOn is the signal that an exit code stands for by the convention of shells, or empty.
func (e Exit) PassedOn() string { return shellSignals[e.Code-128] }

var shellSignals = map[int]string{4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}

// maxText bounds what is kept of a stack, maxRead how much of the end of a text is looked at.
const (
	maxText = 16 << 10
	maxRead = 256 << 10
)

// hit is a report in lines[from:to].
type hit struct {
	tandem.Stack
	from, to int
}

// Reports of an end come first, the last of them; then exceptions that nobody caught; then what others say about a child.
var ranks = [][]func([]string, Exit) *hit{
	{goDeath, goSignal, goRace, pythonFatal, sanitizer, undefined, jvmFatal, nodeFatal, nodeAbort, rustPanic, libc},
	{pythonTraceback, jvmException, nodeUncaught},
	{shellSays, noMemory},
}

// Find is the runtime's own report in what a process wrote before it ended as e says, or nil.
func Find(text string, e Exit) *tandem.Stack {
	lines := split(text)
	for _, rank := range ranks {
		var best *hit
		for _, find := range rank {
			if h := find(lines, e); h != nil && (best == nil || h.from >= best.from) {
				best = h
			}
		}
		if best != nil {
			return best.stack(lines)
		}
	}
	return nil
}

// Hung is where the handler is, in the stacks that a worker wrote when it was asked for them, or nil.
func Hung(text string) *tandem.Stack {
	lines := split(text)
	for _, find := range []func([]string) *hit{pythonHung, goHung, jvmHung} {
		if h := find(lines); h != nil {
			h.Kind = "hung"
			return h.stack(lines)
		}
	}
	return nil
}

func (h *hit) stack(lines []string) *tandem.Stack {
	s := h.Stack
	text := lines[h.from:h.to]
	switch s.Language {
	case "python":
		text = withoutWorker(text)
	case "go":
		text = withoutGoWorker(text)
	}
	s.Text = cut(strings.TrimRight(strings.Join(text, "\n"), "\n"), maxText)
	s.Message, s.Function, s.File = cut(s.Message, 500), cut(s.Function, 200), cut(s.File, 500)
	return &s
}

// Exception says that a stack is of an error that the program raised itself and that ended it in good order.
func Exception(s *tandem.Stack) bool {
	return s != nil && (s.Kind == "exception" || s.Language == "shell")
}

// Where names a stack's place: parse (work.py:12).
func Where(s *tandem.Stack) string {
	if s == nil || s.Function == "" && s.File == "" {
		return ""
	}
	at := s.File[strings.LastIndexByte(s.File, '/')+1:]
	if s.Line > 0 {
		at += ":" + itoa(s.Line)
	}
	switch {
	case s.Function == "":
		return at
	case s.File == "":
		return s.Function
	}
	return s.Function + " (" + at + ")"
}

func split(text string) []string {
	if over := len(text) - maxRead; over > 0 {
		text = text[over:]
	}
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSuffix(l, "\r")
	}
	return lines
}

func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + " …"
}

// frame is one line of a stack.
type frame struct {
	function, file string
	line           int
	own            bool // of the runtime, the standard library or Tandem
}

// place is the innermost frame that is the user's, or the innermost.
func place(s *tandem.Stack, frames []frame) {
	for _, f := range frames {
		if !f.own {
			s.Function, s.File, s.Line = f.function, f.file, f.line
			return
		}
	}
	if len(frames) > 0 {
		s.Function, s.File, s.Line = frames[0].function, frames[0].file, frames[0].line
	}
}

// last is the index of the last line that is not empty, or -1.
func last(lines []string) int {
	i := len(lines) - 1
	for i >= 0 && strings.TrimSpace(lines[i]) == "" {
		i--
	}
	return i
}

// signalWords say what the signal says already.
var signalWords = []string{"Segmentation fault", "Aborted", "Bus error", "Illegal instruction", "Floating point exception", "Floating-point exception"}

// Phrase is what a stack adds to a message: " in parse (work.py:12)", ": panic: boom in main.f (a.go:3)".
func Phrase(s *tandem.Stack) string {
	text := ""
	if s.Kind != "hung" && s.Message != "" && !slices.Contains(signalWords, s.Message) {
		text = ": " + s.Message
	}
	if w := Where(s); w != "" {
		text += " in " + w
	}
	return text
}
