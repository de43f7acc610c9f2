package evidence

import (
	"regexp"
	"strconv"
	"strings"

	"tandem"
)

var (
	jvmSignal = regexp.MustCompile(`^#  (SIG[A-Z]+|Internal Error|EXCEPTION_\w+|Out of Memory Error) \(.*pid=\d+, tid=\d+`)
	jvmWhy    = regexp.MustCompile(`^#  (?:fatal error|Error|guarantee\(.*\) failed): (.+)$`)
	jvmFrame  = regexp.MustCompile(`^# [VvCJjA]\s+(?:\[(.+?)\+0x[0-9a-f]+\]\s*)?(\S*)`)
	jvmDue    = regexp.MustCompile(`^(?:Aborting|Terminating) due to (java\.lang\.OutOfMemoryError(?:: .*)?)$`)
	jvmThrown = regexp.MustCompile(`^Exception in thread "([^"]*)" ([\w.$]+)(?:: (.*))?$`)
	jvmAt     = regexp.MustCompile(`^\s+at (?:[\w.$@-]+/)*([\w.$<>]+)\(([^:()]+)(?::(\d+))?\)$`)
)

// jvmFatal recognises the report of a Java machine that died, and of one that gave up for memory.
func jvmFatal(lines []string, _ Exit) *hit {
	for i := len(lines) - 1; i >= 0; i-- {
		if m := jvmDue.FindStringSubmatch(lines[i]); m != nil {
			return &hit{Stack: tandem.Stack{Language: "java", Kind: "out_of_memory", Message: m[1]}, from: i, to: i + 1}
		}
		if lines[i] != "# A fatal error has been detected by the Java Runtime Environment:" {
			continue
		}
		h := &hit{Stack: tandem.Stack{Language: "java", Kind: "fatal_error"}, from: i, to: i + 1}
		for ; h.to < len(lines) && strings.HasPrefix(lines[h.to], "#") || strings.HasPrefix(at(lines, h.to), "/"); h.to++ {
			l := lines[h.to]
			if m := jvmSignal.FindStringSubmatch(l); m != nil {
				h.Message = m[1]
			}
			if m := jvmWhy.FindStringSubmatch(l); m != nil {
				h.Message = m[1]
				if strings.HasPrefix(m[1], "OutOfMemory") {
					h.Kind = "out_of_memory"
				}
			}
			if l == "# Problematic frame:" {
				if m := jvmFrame.FindStringSubmatch(at(lines, h.to+1)); m != nil {
					h.File = m[1]
					h.Function, _, _ = strings.Cut(m[2], "+0x")
				}
			}
		}
		if h.Message != "" {
			return h
		}
	}
	return nil
}

// jvmException recognises an exception that ended a Java thread.
func jvmException(lines []string, e Exit) *hit {
	if e.signal() != "" || e.Code == 0 {
		return nil
	}
	for i := len(lines) - 1; i >= 0; i-- {
		m := jvmThrown.FindStringSubmatch(lines[i])
		if m == nil {
			continue
		}
		h := &hit{Stack: tandem.Stack{Language: "java", Kind: "exception", Message: m[2]}, from: i, to: i + 1}
		if m[3] != "" {
			h.Message += ": " + m[3]
		}
		if m[2] == "java.lang.OutOfMemoryError" {
			h.Kind = "out_of_memory"
		}
		var frames []frame
		for ; h.to < len(lines); h.to++ {
			l := lines[h.to]
			f := jvmAt.FindStringSubmatch(l)
			if f == nil && !strings.HasPrefix(l, "Caused by: ") && !strings.HasPrefix(l, "\t... ") {
				break
			}
			if f != nil {
				n, _ := strconv.Atoi(f[3])
				frames = append(frames, frame{f[1], f[2], n, jvmOwn(f[1])})
			}
		}
		if len(frames) == 0 {
			continue
		}
		place(&h.Stack, frames)
		return h
	}
	return nil
}

func jvmOwn(function string) bool {
	for _, p := range []string{"java.", "javax.", "jdk.", "sun.", "com.sun."} {
		if strings.HasPrefix(function, p) {
			return true
		}
	}
	return false
}

var (
	nodeError  = regexp.MustCompile(`^FATAL ERROR: (.+)$`)
	nodeNative = "----- Native stack trace -----"
	nodeScript = "----- JavaScript stack trace -----"
	nodeFrame  = regexp.MustCompile(`^\s*(?:\d+: |at )(?:(.+) \()?([^()\s]+?):(\d+):(\d+)\)?(?: \{)?$`)
	nodeEnd    = regexp.MustCompile(`^Node\.js v\d+\.\d+\.\d+\S*$`)
	nodePlace  = regexp.MustCompile(`^(\S.*):(\d+)$`)
)

func nodeFrames(lines []string, i int) (frames []frame, end int) {
	for ; i < len(lines); i++ {
		m := nodeFrame.FindStringSubmatch(lines[i])
		if m == nil {
			if strings.HasPrefix(lines[i], "    ... ") || lines[i] == "" && len(frames) == 0 {
				continue
			}
			break
		}
		n, _ := strconv.Atoi(m[3])
		frames = append(frames, frame{m[1], m[2], n, strings.HasPrefix(m[2], "node:")})
	}
	return frames, i
}

// nodeFatal recognises V8's own end, mostly for want of memory.
func nodeFatal(lines []string, _ Exit) *hit {
	for i := len(lines) - 1; i >= 0; i-- {
		m := nodeError.FindStringSubmatch(lines[i])
		if m == nil || at(lines, i+1) != nodeNative && !strings.HasPrefix(strings.TrimSpace(at(lines, i+1)), "1: 0x") {
			continue
		}
		h := &hit{Stack: tandem.Stack{Language: "node", Kind: "fatal_error", Message: m[1]}, from: i, to: last(lines) + 1}
		if strings.Contains(m[1], "heap out of memory") || strings.Contains(m[1], "Allocation failed") {
			h.Kind = "out_of_memory"
		}
		nodeScriptPlace(h, lines)
		return h
	}
	return nil
}

// nodeAbort recognises process.abort.
func nodeAbort(lines []string, e Exit) *hit {
	if e.signal() != "SIGABRT" {
		return nil
	}
	for i := len(lines) - 1; i >= 0; i-- {
		if lines[i] != nodeNative {
			continue
		}
		h := &hit{Stack: tandem.Stack{Language: "node", Kind: "fatal_error", Message: "aborted"}, from: i, to: last(lines) + 1}
		if i > 0 && nodeError.MatchString(lines[i-1]) {
			return nil // nodeFatal's
		}
		nodeScriptPlace(h, lines)
		return h
	}
	return nil
}

func nodeScriptPlace(h *hit, lines []string) {
	for i := h.from; i < h.to; i++ {
		if lines[i] == nodeScript {
			frames, _ := nodeFrames(lines, i+1)
			place(&h.Stack, frames)
		}
	}
}

// nodeUncaught recognises an error that nobody caught: Node says its version last.
func nodeUncaught(lines []string, e Exit) *hit {
	end := last(lines)
	if end < 0 || e.Code == 0 || !nodeEnd.MatchString(lines[end]) {
		return nil
	}
	// FILE:LINE, the source line, a caret, an empty line, the error, its frames.
	for i := end - 4; i >= 0; i-- {
		m := nodePlace.FindStringSubmatch(lines[i])
		if m == nil || strings.Trim(lines[i+2], " ^") != "" || !strings.Contains(lines[i+2], "^") {
			continue
		}
		j := i + 3
		for j < end && lines[j] == "" {
			j++
		}
		n, _ := strconv.Atoi(m[2])
		h := &hit{Stack: tandem.Stack{Language: "node", Kind: "exception", Message: lines[j], File: m[1], Line: n}, from: i, to: end + 1}
		for k := j + 1; k < end && !strings.HasPrefix(h.Message, "SyntaxError:"); k++ { // its frames are those of the loader
			if frames, _ := nodeFrames(lines, k); len(frames) > 0 && lines[k] != "" {
				place(&h.Stack, frames)
				break
			}
		}
		return h
	}
	return nil
}

var (
	rustHead     = regexp.MustCompile(`^thread '([^']*)' (?:\(\d+\) )?panicked at (?:'(.*)', )?(\S.*?):(\d+):(\d+)(:?)$`)
	rustOverflow = regexp.MustCompile(`^thread '([^']*)' (?:\(\d+\) )?has overflowed its stack$`)
	rustMemory   = regexp.MustCompile(`^memory allocation of \d+ bytes failed$`)
	rustFrame    = regexp.MustCompile(`^\s+\d+: (?:0x[0-9a-f]+ - )?(\S.*)$`)
	rustAt       = regexp.MustCompile(`^\s+at (.+):(\d+):\d+$`)
)

// rustPanic recognises panics, stack overflows and failed allocations of Rust.
func rustPanic(lines []string, e Exit) *hit {
	for i := len(lines) - 1; i >= 0; i-- {
		if m := rustOverflow.FindStringSubmatch(lines[i]); m != nil && strings.HasPrefix(at(lines, i+1), "fatal runtime error: stack overflow") {
			return &hit{Stack: tandem.Stack{Language: "rust", Kind: "stack-overflow", Message: "stack overflow in thread " + m[1]}, from: i, to: i + 2}
		}
		if rustMemory.MatchString(lines[i]) && e.signal() == "SIGABRT" {
			return &hit{Stack: tandem.Stack{Language: "rust", Kind: "out_of_memory", Message: lines[i]}, from: i, to: i + 1}
		}
		m := rustHead.FindStringSubmatch(lines[i])
		if m == nil || m[2] == "" && m[6] == "" {
			continue
		}
		n, _ := strconv.Atoi(m[4])
		h := &hit{Stack: tandem.Stack{Language: "rust", Kind: "panic", Message: "panic: " + m[2], File: m[3], Line: n}, from: i, to: i + 1}
		if m[2] == "" {
			h.Message += at(lines, i+1)
			h.to = min(i+2, len(lines))
		}
		for j := i + 1; j < len(lines); j++ {
			if f := rustFrame.FindStringSubmatch(lines[j]); f != nil {
				h.to = j + 1
				if a := rustAt.FindStringSubmatch(at(lines, j+1)); a != nil {
					h.to = j + 2
					if h.Function == "" && !strings.HasPrefix(a[1], "/rustc/") {
						h.Function = f[1]
					}
				}
			}
		}
		return h
	}
	return nil
}
