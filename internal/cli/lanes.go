package cli

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"tandem/internal/lanes"
	"tandem/internal/measure"
)

// openLanes begins the picture of the run, or goes on with that of its earlier part. A run goes on without one when it cannot be made, and says so.
func (r *running) openLanes() *lanes.Recorder {
	if r.kept == nil || r.o.lanes == "off" {
		return nil
	}
	path := r.kept.dir.Lanes()
	run := r.kept.dir.Run()
	var rec *lanes.Recorder
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		rec, err = lanes.Create(path, lanes.Header{Run: run.ID, Flow: run.Flow, Name: run.Name, Started: run.Started, About: machine()})
	} else if err == nil {
		rec, err = lanes.Resume(path)
	}
	if err != nil {
		r.bar.print(r.a.yellow("no lanes are kept of this run: ") + printable(err.Error()))
		return nil
	}
	return rec
}

func (r *running) closeLanes(outcome string) {
	if r.lanes == nil {
		return
	}
	if err := r.lanes.Close(outcome); err != nil {
		r.bar.print(r.a.yellow("the lanes of this run are not whole: ") + printable(err.Error()))
	}
}

// machine describes the surroundings of a run for its report.
func machine() [][2]string {
	cores := measure.FindCores()
	list := [][2]string{{"tandem", Version}, {"system", runtime.GOOS + "/" + runtime.GOARCH}}
	line := func(name, path, prefix string) {
		text, err := os.ReadFile(path)
		if err != nil {
			return
		}
		for l := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(l, prefix); ok {
				list = append(list, [2]string{name, strings.TrimLeft(strings.TrimSpace(value), ": \t")})
				return
			}
		}
	}
	line("kernel", "/proc/sys/kernel/osrelease", "")
	line("processor", "/proc/cpuinfo", "model name")
	list = append(list, [2]string{"cores", cores.String()})
	line("memory", "/proc/meminfo", "MemTotal:")
	if host, err := os.Hostname(); err == nil {
		list = append(list, [2]string{"host", host})
	}
	return list
}
