package evidence

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tandem"
)

var (
	goHead      = regexp.MustCompile(`^(panic|fatal error): (.*)$`)
	goGoroutine = regexp.MustCompile(`^goroutine \d+ (?:gp=\S+ m=\S+ (?:mp=\S+ )?)?\[[^\]]+\]:$`)
	goCall      = regexp.MustCompile(`^\s*(\S.*)\([^()]*\)$`)
	goPlace     = regexp.MustCompile(`^\s+(.+):(\d+)(?: .*)?$`)
	goRaceAt    = regexp.MustCompile(`^(?:Read|Write|Atomic read|Atomic write) at 0x[0-9a-f]+ by (?:main goroutine|goroutine \d+):$`)
)

// goBetween is how many lines may stand between the message of a panic and its first goroutine.
const goBetween = 100

// goDeath recognises panics and fatal errors of the Go runtime.
func goDeath(lines []string, _ Exit) *hit {
	for i := len(lines) - 1; i >= 0; i-- {
		m := goHead.FindStringSubmatch(lines[i])
		if m == nil {
			continue
		}
		g := goroutine(lines, i+1)
		if g < 0 || g > i+goBetween {
			continue
		}
		h := &hit{Stack: tandem.Stack{Language: "go", Kind: "panic", Message: m[2]}, from: i, to: g}
		switch {
		case m[1] == "panic":
			h.Message = "panic: " + m[2]
		case strings.Contains(m[2], "all goroutines are asleep"):
			h.Kind = "deadlock"
		case strings.Contains(m[2], "out of memory"), strings.Contains(m[2], "cannot allocate memory"):
			h.Kind = "out_of_memory"
		default:
			h.Kind = "fatal_error"
		}
		place(&h.Stack, goFrames(lines, g+1))
		h.to = goEnd(lines, g)
		return h
	}
	return nil
}

// goroutine is the first goroutine from line i on that has a frame, or -1.
func goroutine(lines []string, i int) int {
	for ; i+2 < len(lines); i++ {
		if goGoroutine.MatchString(lines[i]) && goCall.MatchString(lines[i+1]) && goPlace.MatchString(lines[i+2]) {
			return i
		}
	}
	return -1
}

// goEnd is the end of the goroutines that begin at line i.
func goEnd(lines []string, i int) int {
	end := i
	for ; i < len(lines); i++ {
		l := lines[i]
		switch {
		case l == "":
			continue
		case strings.HasPrefix(l, "\t"), goGoroutine.MatchString(l), goCall.MatchString(l), strings.HasPrefix(l, "created by "), strings.HasPrefix(l, "..."):
			end = i + 1
			continue
		}
		break
	}
	return end
}

func goFrames(lines []string, i int) (frames []frame) {
	for ; i+1 < len(lines); i += 2 {
		call, at := goCall.FindStringSubmatch(lines[i]), goPlace.FindStringSubmatch(lines[i+1])
		if call == nil || at == nil {
			break
		}
		n, _ := strconv.Atoi(at[2])
		frames = append(frames, frame{call[1], at[1], n, goOwn(call[1])})
	}
	return frames
}

var goStd = strings.Fields(`archive bufio bytes cmp compress container context crypto database debug embed encoding errors expvar flag fmt go hash html image
	internal io iter log maps math mime net os panic path plugin reflect regexp runtime slices sort strconv strings structs sync syscall testing text time
	unicode unique unsafe weak`)

// goOwn tells the functions of the standard library and of Tandem's worker from the user's.
func goOwn(function string) bool {
	pkg := function
	if i := strings.IndexAny(pkg, "./("); i >= 0 {
		pkg = pkg[:i]
	}
	if strings.HasPrefix(function, "tandem/worker.") {
		return true
	}
	first, _, _ := strings.Cut(function, "/")
	if strings.Contains(first, ".") && strings.Contains(function, "/") {
		return false // github.com/…
	}
	return slices.Contains(goStd, pkg)
}

// withoutGoWorker leaves out the frames of Tandem's own worker.
func withoutGoWorker(lines []string) (kept []string) {
	for i := 0; i < len(lines); i++ {
		if strings.HasPrefix(lines[i], "tandem/worker.") && goPlace.MatchString(at(lines, i+1)) {
			i++
			continue
		}
		kept = append(kept, lines[i])
	}
	return kept
}

// goRace recognises a report of the race detector.
func goRace(lines []string, _ Exit) *hit {
	for i := len(lines) - 4; i >= 0; i-- {
		if lines[i] != "WARNING: DATA RACE" || !goRaceAt.MatchString(lines[i+1]) {
			continue
		}
		frames := goFrames(lines, i+2)
		if len(frames) == 0 {
			continue
		}
		h := &hit{Stack: tandem.Stack{Language: "go", Kind: "data_race", Message: "data race"}, from: i, to: i + 1}
		for h.to < len(lines) && !strings.HasPrefix(lines[h.to], "=====") {
			h.to++
		}
		place(&h.Stack, frames)
		return h
	}
	return nil
}

// GoAsked is the line that a Go worker writes before the stacks that it was asked for.
const GoAsked = "tandem: the stacks of all goroutines"

// goHung finds the goroutine that runs the handler.
func goHung(lines []string) *hit {
	from := max(slices.Index(lines, GoAsked), slices.Index(lines, "SIGQUIT: quit"))
	if from < 0 {
		return nil
	}
	g, frames := goHandler(lines, from)
	if g < 0 {
		return nil
	}
	h := &hit{Stack: tandem.Stack{Language: "go"}, from: g, to: g}
	_, h.Message, _ = strings.Cut(strings.TrimSuffix(lines[g], "]:"), "[")
	for ; h.to < len(lines) && lines[h.to] != ""; h.to++ {
	}
	place(&h.Stack, frames)
	return h
}

// goHandler is the first goroutine from line i on that runs a handler, or -1.
func goHandler(lines []string, i int) (g int, frames []frame) {
	for g = goroutine(lines, i); g >= 0; g = goroutine(lines, g+1) {
		frames = goFrames(lines, g+1)
		if slices.ContainsFunc(frames, func(f frame) bool { return f.function == "tandem/worker.call" }) {
			return g, frames
		}
	}
	return -1, nil
}

var goSignalled = regexp.MustCompile(`^SIG[A-Z]+: .+$`)

// goSignal recognises the end of a Go program by a signal that its runtime tells of: SIGABRT, SIGQUIT, a fault in C code. In a worker it names the handler.
func goSignal(lines []string, _ Exit) *hit {
	for i := len(lines) - 3; i >= 0; i-- {
		if !goSignalled.MatchString(lines[i]) || !strings.HasPrefix(lines[i+1], "PC=0x") {
			continue
		}
		g := goroutine(lines, i+2)
		if g < 0 || g > i+goBetween {
			continue
		}
		h := &hit{Stack: tandem.Stack{Language: "go", Kind: "fatal_error", Message: lines[i]}, from: i, to: goEnd(lines, g)}
		if at, frames := goHandler(lines, g); at >= 0 {
			place(&h.Stack, frames)
		} else {
			place(&h.Stack, goFrames(lines, g+1))
		}
		return h
	}
	return nil
}
