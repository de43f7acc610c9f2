package evidence

import (
	"regexp"
	"strconv"
	"strings"

	"tandem"
)

var (
	sanHead    = regexp.MustCompile(`^(?:==\d+==)?(?:ERROR|WARNING): (Address|HWAddress|Leak|Memory|Thread|UndefinedBehavior)Sanitizer:? (.+)$`)
	sanFrame   = regexp.MustCompile(`^\s+#\d+ 0x[0-9a-f]+ (?:in )?(\S.*?) (\S+?)(?::(\d+))?(?::\d+)?$`)
	tsanFrame  = regexp.MustCompile(`^\s+#\d+ (\S.*?) (\S+?)(?::(\d+))?(?::\d+)? \([^()]+\)$`)
	sanSummary = regexp.MustCompile(`^SUMMARY: \w+Sanitizer: `)
	ubError    = regexp.MustCompile(`^(\S[^:]*):(\d+):\d+: runtime error: ((?:signed|unsigned) integer overflow|division by zero|shift exponent |left shift of |load of |store to |member access |member call |reference binding |null pointer |index -?\d+ out of bounds|execution reached |call to function |applying |pointer index |addition of |subtraction of |negation of |downcast of |upcast of |variable length array |constructor call |-?[\d.e+]+ is outside )(.*)$`)
)

// sanitizer recognises the reports of ASan, LSan, MSan and TSan.
func sanitizer(lines []string, _ Exit) *hit {
	for i := len(lines) - 1; i >= 0; i-- {
		m := sanHead.FindStringSubmatch(lines[i])
		if m == nil {
			continue
		}
		h := &hit{Stack: tandem.Stack{Language: "c", Kind: sanKind(m[2]), Message: m[1] + "Sanitizer: " + m[2]}, from: i, to: i + 1}
		for _, detail := range []string{" at pc ", " (pc ", " (pid="} {
			h.Message, _, _ = strings.Cut(h.Message, detail)
		}
		var frames []frame
		for j := i + 1; j < len(lines); j++ {
			f := sanFrame.FindStringSubmatch(lines[j])
			if f == nil {
				f = tsanFrame.FindStringSubmatch(lines[j])
			}
			if f != nil {
				n, _ := strconv.Atoi(f[3])
				frames = append(frames, frame{f[1], f[2], n, sanOwn(f[1], f[2])})
				h.to = j + 1
			}
			if sanSummary.MatchString(lines[j]) {
				h.to = j + 1
				break
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

func sanKind(text string) string {
	for _, k := range [][2]string{{"data race", "data_race"}, {"detected memory leaks", "memory-leak"}, {"attempting double-free", "double-free"}, {"attempting free", "bad-free"}} {
		if strings.HasPrefix(text, k[0]) {
			return k[1]
		}
	}
	kind, _, _ := strings.Cut(text, " ")
	return strings.TrimSuffix(kind, ":")
}

func sanOwn(function, file string) bool {
	for _, s := range []string{"libsanitizer/", "compiler-rt/", "sysdeps/", "/csu/", "libasan.so", "libtsan.so", "libubsan.so", "libc.so"} {
		if strings.Contains(file, s) {
			return true
		}
	}
	return strings.HasPrefix(function, "__interceptor_") || strings.HasPrefix(function, "__asan_") || function == "_start"
}

// undefined recognises UBSan.
func undefined(lines []string, _ Exit) *hit {
	for i := len(lines) - 1; i >= 0; i-- {
		m := ubError.FindStringSubmatch(lines[i])
		if m == nil {
			continue
		}
		n, _ := strconv.Atoi(m[2])
		h := &hit{Stack: tandem.Stack{Language: "c", Kind: "undefined-behaviour", Message: m[3] + m[4], File: m[1], Line: n}, from: i, to: i + 1}
		var frames []frame
		for ; h.to < len(lines); h.to++ {
			f := sanFrame.FindStringSubmatch(lines[h.to])
			if f == nil {
				break
			}
			n, _ := strconv.Atoi(f[3])
			frames = append(frames, frame{f[1], f[2], n, sanOwn(f[1], f[2])})
		}
		if len(frames) > 0 {
			place(&h.Stack, frames)
		}
		return h
	}
	return nil
}

var libcWords = []struct {
	kind string
	line *regexp.Regexp
}{
	{"stack-smashing", regexp.MustCompile(`^\*\*\* (stack smashing detected) \*\*\*: .*terminated$`)},
	{"buffer-overflow", regexp.MustCompile(`^\*\*\* ([\w %]+ detected) \*\*\*: .*terminated$`)},
	{"heap-corruption", regexp.MustCompile(`^((?:free|malloc|realloc|calloc|munmap_chunk|mremap_chunk|malloc_consolidate|_int_malloc|_int_free)\(\): .+|double free or corruption \([\w!]+\)|corrupted (?:size vs\. prev_size|double-linked list).*|invalid fastbin entry.*)$`)},
	{"assertion", regexp.MustCompile(`^\S+: (\S+):(\d+): (.+): (Assertion ` + "`.*'" + ` failed\.)$`)},
	{"uncaught", regexp.MustCompile(`^terminate called (?:after throwing an instance of '(.+)'|without an active exception|recursively)$`)},
}

// libc recognises the last words of glibc and of C++ before they abort the process.
func libc(lines []string, e Exit) *hit {
	if e.signal() != "SIGABRT" {
		return nil
	}
	for i := len(lines) - 1; i >= 0; i-- {
		for _, w := range libcWords {
			m := w.line.FindStringSubmatch(lines[i])
			if m == nil {
				continue
			}
			h := &hit{Stack: tandem.Stack{Language: "c", Kind: w.kind, Message: m[len(m)-1]}, from: i, to: i + 1}
			switch w.kind {
			case "assertion":
				h.File, h.Function = m[1], m[3]
				h.Line, _ = strconv.Atoi(m[2])
			case "uncaught":
				h.Message = lines[i]
				if m[1] != "" {
					h.Message = m[1]
				}
				if m[1] == "std::bad_alloc" {
					h.Kind = "out_of_memory"
				}
				if what, ok := strings.CutPrefix(at(lines, i+1), "  what():  "); ok {
					h.Message += ": " + what
					h.to++
				}
			}
			return h
		}
	}
	return nil
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

var shellWords = regexp.MustCompile(`^(?:\S*sh: (?:line )?\d+: (?:\d+ )?)?(Killed|Segmentation fault|Aborted|Bus error|Illegal instruction|Floating point exception)(?: \(core dumped\))?(?:\s.*)?$`)

// shellSays recognises what a shell says about a child that a signal ended. It stands last.
func shellSays(lines []string, e Exit) *hit {
	i := last(lines)
	if i < 0 || e.Code == 0 {
		return nil
	}
	m := shellWords.FindStringSubmatch(lines[i])
	if m == nil || lines[i] != m[1] && !strings.Contains(lines[i], "sh: ") {
		return nil
	}
	return &hit{Stack: tandem.Stack{Language: "shell", Kind: "killed", Message: "a process that it started: " + m[1]}, from: i, to: i + 1}
}
