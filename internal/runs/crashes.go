package runs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"tandem"
)

const (
	crashesName = "crashes"
	notKeptName = "not-kept" // how many reports came after the last that was kept
	maxCrashes  = 1000
)

// Crashes keeps the crash reports of one run, in files of their own: crashes/0001.json and so on, at most 1000; of those that follow only the number is kept.
// Safe for many callers. A report costs one small file and is not forced to the disk.
type Crashes struct {
	dir string

	mu         sync.Mutex
	known      bool // kept and lost are those of the directory
	kept, lost int
}

// Crashes is where the run's reports are kept. It may be called once.
func (d *Dir) Crashes() *Crashes { return &Crashes{dir: filepath.Join(d.path, crashesName)} }

// Cores is where the core files of the run's processes are kept: with its reports. It is made with the first.
func (d *Dir) Cores() string { return filepath.Join(d.path, crashesName) }

// Keep keeps a report and gives it its number, or counts it as not kept.
func (c *Crashes) Keep(r tandem.Crash) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		if err := c.look(); err != nil {
			return failed("keep crash reports in", c.dir, err)
		}
	}
	if c.kept >= maxCrashes {
		c.lost++
		return c.replace(notKeptName, []byte(strconv.Itoa(c.lost)+"\n"))
	}
	r.ID = fmt.Sprintf("%04d", c.kept+1)
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return failed("keep a crash report in", c.dir, err)
	}
	if err := c.replace(r.ID+".json", append(b, '\n')); err != nil {
		return err
	}
	c.kept++
	return nil
}

// look goes on behind what an earlier part of the run has kept.
func (c *Crashes) look() error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	names, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, n := range names {
		if i, ok := crashNumber(n.Name()); ok {
			c.kept = max(c.kept, i)
		}
	}
	c.lost, c.known = notKept(c.dir), true
	return nil
}

// replace writes a file that appears as a whole.
func (c *Crashes) replace(name string, b []byte) error {
	temp := filepath.Join(c.dir, "."+name)
	err := os.WriteFile(temp, b, 0o600)
	if err == nil {
		err = os.Rename(temp, filepath.Join(c.dir, name))
	}
	if err != nil {
		_ = os.Remove(temp)
		return failed("keep a crash report in", c.dir, err)
	}
	return nil
}

func crashNumber(name string) (int, bool) {
	text, ok := strings.CutSuffix(name, ".json")
	n, err := strconv.Atoi(text)
	return n, ok && err == nil && n > 0
}

func notKept(dir string) int {
	b, _ := os.ReadFile(filepath.Join(dir, notKeptName))
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return max(n, 0)
}

// Deaths is the crash reports of a run.
type Deaths struct {
	Crashes []tandem.Crash
	NotKept int // beyond the first 1000
	Strange []Strange
}

// Deaths reads the crash reports of a run that may still go on, the oldest first.
func (e Entry) Deaths() (Deaths, error) {
	var d Deaths
	dir := filepath.Join(e.Path, crashesName)
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return d, failed("read the crash reports of run", e.Path, err)
	}
	d.NotKept = notKept(dir)
	for _, n := range names {
		if _, ok := crashNumber(n.Name()); !ok {
			continue
		}
		var c tandem.Crash
		b, err := os.ReadFile(filepath.Join(dir, n.Name()))
		if err == nil {
			err = json.Unmarshal(b, &c)
		}
		if err != nil {
			d.Strange = append(d.Strange, Strange{filepath.Join(dir, n.Name()), cause(err)})
			continue
		}
		c.ID = strings.TrimSuffix(n.Name(), ".json")
		d.Crashes = append(d.Crashes, c)
	}
	return d, nil
}
