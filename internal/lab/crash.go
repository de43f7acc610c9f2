package lab

import (
	"context"
	"os"
	"strings"
	"time"

	"tandem/internal/proc"
)

// CrashName is the part that crashes.
const CrashName = "crash-goroutine"

func crashPart(p part) error {
	self, err := exe()
	if err != nil {
		return err
	}
	argv := append([]string{self}, partArgs(os.Args[1:], CrashName)...)
	end, err := proc.Run(context.Background(), proc.Command{Argv: argv})
	if err != nil {
		return err
	}
	p.row("goroutine", "neighbours lost", float64(3-strings.Count(string(end.Stdout), "alive")), "of 3", 1, "one of four panicked and nobody recovered")
	return nil
}

// partArgs are the arguments that started this part, with another name in place of its own.
func partArgs(args []string, name string) (all []string) {
	for _, a := range args {
		if a == "crash" {
			a = name
		}
		all = append(all, a)
	}
	return all
}

// CrashPart is four goroutines, one of which panics; the others would print that they are alive. It does not return.
func CrashPart() {
	for range 3 {
		go func() {
			time.Sleep(100 * time.Millisecond)
			_, _ = os.Stdout.WriteString("alive\n")
		}()
	}
	go func() { panic("on purpose, for tandem lab") }()
	time.Sleep(time.Second)
}

func crashMeans(_ *Report, row Row) string {
	switch {
	case row.Measure == "replaced":
		return "what a crash costs when each worker is a process"
	case row.Value > 0:
		return "what may crash must not share the process with what must go on"
	case strings.Contains(row.Note, "native"):
		return "its own exceptions are caught; native code needs a process"
	}
	return "a crash costs one item"
}
