package cli

import (
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"tandem"
	"tandem/internal/runs"
)

// shownDeaths is how many reports a run shows that is not kept.
const shownDeaths = 3

// fallen keeps the crash reports of a run in its directory. A run that is not kept shows the first at its end.
type fallen struct {
	r     *running
	store *runs.Crashes // nil when the run is not kept

	mu    sync.Mutex
	n     int64
	first []tandem.Crash
	err   error
}

func (r *running) newFallen() *fallen {
	f := &fallen{r: r}
	if r.kept != nil {
		f.store = r.kept.dir.Crashes()
	}
	return f
}

func (f *fallen) add(c tandem.Crash) {
	c.Reproduce = f.command(c)
	var err error
	if f.store != nil {
		err = f.store.Keep(c)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	if f.err == nil {
		f.err = err
	}
	if f.store == nil && len(f.first) < shownDeaths {
		f.first = append(f.first, c)
	}
}

// command runs the item of a report alone, or is empty where its id cannot be written.
func (f *fallen) command(c tandem.Crash) string {
	if c.Root == "" || strings.ContainsFunc(c.Root, unicode.IsControl) || !utf8.ValidString(c.Root) {
		return ""
	}
	text := "tandem run " + shellWord(f.r.file.Path) + " --item " + shellWord(c.Root)
	for _, p := range f.r.o.params {
		text += " --param " + shellWord(p)
	}
	if c.Core+c.NoCore != "" && f.r.o.cores != "" {
		text += " --cores " + shellWord(f.r.o.cores)
	}
	return text
}

// summary says at the end of the run how many there are, and where.
func (f *fallen) summary() {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.r.a
	if f.err != nil {
		fmt.Fprintln(a.err, a.yellow("  not all crash reports are kept: ")+printable(f.err.Error()))
	}
	switch {
	case f.n == 0:
	case f.store != nil:
		fmt.Fprintf(a.err, "  %s: tandem crashes ls %s\n", plural(f.n, "crash report"), f.r.kept.dir.Run().ID)
	default:
		for _, c := range f.first {
			fmt.Fprintln(a.err, strings.TrimRight(a.death(c), "\n"))
		}
		if more := f.n - int64(len(f.first)); more > 0 {
			fmt.Fprintf(a.err, "  %s more, not kept because the run is not\n", plural(more, "crash report"))
		}
	}
}
