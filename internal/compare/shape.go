package compare

import (
	"fmt"
	"strconv"
	"strings"

	"tandem"
	"tandem/engine"
)

// Shape is a mode and a size.
type Shape struct {
	Mode    tandem.Mode `json:"mode"`
	Workers int         `json:"workers"` // worker processes; 0 for goroutines
	Each    int         `json:"each"`    // tasks at a time in each, or of all goroutines
}

func (s Shape) String() string {
	if s.Mode != tandem.Process && s.Workers > 1 {
		return fmt.Sprintf("%s %d×%d", s.Mode, s.Workers, s.Each)
	}
	return fmt.Sprintf("%s ×%d", s.Mode, s.Size())
}

// Size is how many tasks run at a time.
func (s Shape) Size() int { return max(s.Workers, 1) * max(s.Each, 1) }

// apply gives a step the shape.
func (s Shape) apply(step engine.Step) engine.Step {
	step.Mode, step.Workers, step.WorkersOf, step.Threads, step.Concurrency = s.Mode, s.Workers, nil, 0, 0
	switch s.Mode {
	case tandem.Thread:
		step.Threads = s.Each
	case tandem.Async, tandem.Goroutine:
		step.Concurrency = s.Each
	}
	return step
}

// ParseShape reads process:2, thread:8, thread:2x8 (two processes of eight threads), async:16, goroutine:64.
func ParseShape(text string) (Shape, error) {
	fault := func(why string) (Shape, error) {
		return Shape{}, &tandem.Error{Op: "read", On: "--try " + text, Kind: tandem.KindInvalid, Message: why, Hint: "want process:2, thread:8, thread:2x8, async:16 or goroutine:64"}
	}
	mode, size, _ := strings.Cut(text, ":")
	s := Shape{Mode: tandem.Mode(mode), Workers: 1, Each: 1}
	number := func(text string) (n int) {
		if n, err := strconv.Atoi(text); err == nil && n > 0 && n <= 4096 {
			return n
		}
		return 0
	}
	first, second, both := strings.Cut(size, "x")
	n, m := number(first), 1
	if both {
		m = number(second)
	}
	if n == 0 || m == 0 {
		return fault("no size")
	}
	switch s.Mode {
	case tandem.Process:
		if s.Workers = n; both { // processes of several threads are mode thread
			s.Mode, s.Each = tandem.Thread, m
		}
	case tandem.Thread, tandem.Async:
		if s.Each = n; both {
			s.Workers, s.Each = n, m
		}
	case tandem.Goroutine:
		if s.Workers, s.Each = 0, n; both {
			return fault("goroutines have one size")
		}
	default:
		return fault("no such mode")
	}
	return s, nil
}

// Shapes are the candidates for a handler on so many cores, the safe one first. Programs run in workers; what does not runs in goroutines.
func Shapes(h engine.Handler, cores int) []Shape {
	var all []Shape
	add := func(s Shape) {
		for _, have := range all {
			if have == s {
				return
			}
		}
		all = append(all, s)
	}
	if _, ok := h.(engine.Func); ok {
		for _, n := range []int{1, cores, 4, 16, 64} {
			add(Shape{tandem.Goroutine, 0, n})
		}
		return all
	}
	for _, n := range []int{1, cores, 2 * cores} {
		add(Shape{tandem.Process, n, 1})
	}
	for _, n := range []int{2, 4, 16} {
		add(Shape{tandem.Thread, 1, n})
	}
	add(Shape{tandem.Thread, cores, 8})
	add(Shape{tandem.Async, 1, 16})
	add(Shape{tandem.Async, 1, 64})
	return all
}
