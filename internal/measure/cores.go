package measure

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Cores is how many processors this process can really use, and why.
type Cores struct {
	Online   int     // processors the machine has
	Affinity int     // of those, allowed by affinity and cpuset
	Quota    float64 // processors' worth of time the cgroup allows; 0 means no limit
	Source   string  // where the quota was read, or why none was
}

// Effective is the number of workers that compute at the same time: at least 1.
func (c Cores) Effective() int {
	n := c.Affinity
	if c.Quota > 0 {
		n = min(n, int(math.Ceil(c.Quota)))
	}
	return max(n, 1)
}

func (c Cores) String() string {
	quota := "no quota"
	if c.Quota > 0 {
		quota = "quota " + strconv.FormatFloat(c.Quota, 'g', 3, 64)
	}
	return fmt.Sprintf("%d (online %d, affinity and cpuset %d, %s)", c.Effective(), c.Online, c.Affinity, quota)
}

// FindCores looks at affinity (which holds the cpuset) and at the cgroup's quota, v2 and v1, as they are now.
func FindCores() Cores { return machine.find() }

// tree is where to look.
type tree struct{ proc, cgroup, online string }

var machine = tree{"/proc", "/sys/fs/cgroup", "/sys/devices/system/cpu/online"}

func (at tree) find() Cores {
	// What the runtime counted when the process started is the answer only where the kernel gives no other.
	c := Cores{Affinity: runtime.NumCPU(), Online: runtime.NumCPU(), Source: "no cgroup quota found"}
	if b, err := os.ReadFile(at.online); err == nil {
		if n := countList(strings.TrimSpace(string(b))); n > 0 {
			c.Online = n
		}
	}
	if n := at.allowed(); n > 0 {
		c.Affinity = n
	}
	f, err := os.Open(filepath.Join(at.proc, "self", "cgroup"))
	if err != nil {
		c.Source = "cgroup not readable: " + err.Error()
		return c
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		// "0::/path" is v2, "4:cpu,cpuacct:/path" is v1.
		part := strings.SplitN(s.Text(), ":", 3)
		if len(part) != 3 {
			continue
		}
		switch {
		case part[1] == "":
			for _, root := range []string{at.cgroup, filepath.Join(at.cgroup, "unified")} {
				c.quotaUp(root, part[2], func(dir string) float64 { return quotaV2(filepath.Join(dir, "cpu.max")) })
			}
		case slices.Contains(strings.Split(part[1], ","), "cpu"):
			for _, root := range []string{filepath.Join(at.cgroup, part[1]), filepath.Join(at.cgroup, "cpu")} {
				c.quotaUp(root, part[2], quotaV1)
			}
		}
	}
	return c
}

// quotaUp takes the smallest quota from the group up to the root: a parent's limit holds too.
func (c *Cores) quotaUp(root, path string, read func(dir string) float64) {
	for dir := filepath.Join("/", path); ; dir = filepath.Dir(dir) {
		at := filepath.Join(root, dir)
		if q := read(at); q > 0 && (c.Quota == 0 || q < c.Quota) {
			c.Quota, c.Source = q, at
		}
		if dir == "/" {
			return
		}
	}
}

func quotaV2(file string) float64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) != 2 || f[0] == "max" {
		return 0
	}
	return ratio(f[0], f[1])
}

func quotaV1(dir string) float64 {
	q, err := os.ReadFile(filepath.Join(dir, "cpu.cfs_quota_us"))
	if err != nil {
		return 0
	}
	p, err := os.ReadFile(filepath.Join(dir, "cpu.cfs_period_us"))
	if err != nil {
		return 0
	}
	return ratio(strings.TrimSpace(string(q)), strings.TrimSpace(string(p)))
}

func ratio(quota, period string) float64 {
	q, err1 := strconv.ParseFloat(quota, 64)
	p, err2 := strconv.ParseFloat(period, 64)
	if err1 != nil || err2 != nil || q <= 0 || p <= 0 {
		return 0
	}
	return q / p
}

// allowed is how many processors the kernel lets this process run on, or 0.
func (at tree) allowed() int {
	b, err := os.ReadFile(filepath.Join(at.proc, "self", "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if list, ok := strings.CutPrefix(line, "Cpus_allowed_list:"); ok {
			return countList(strings.TrimSpace(list))
		}
	}
	return 0
}

// WatchCores looks again and again, as often as every says (zero means 5 s), and tells when the figures differ from the last ones; the first look is
// when it is called. It returns when ctx ends. A look costs some tens of microseconds.
func WatchCores(ctx context.Context, every time.Duration, tell func(Cores)) {
	machine.watch(ctx, every, tell)
}

func (at tree) watch(ctx context.Context, every time.Duration, tell func(Cores)) {
	tick := time.NewTicker(cmp.Or(every, 5*time.Second))
	defer tick.Stop()
	last := at.find()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := at.find()
		if now.Online != last.Online || now.Affinity != last.Affinity || now.Quota != last.Quota {
			tell(now)
		}
		last = now
	}
}

// countList counts a list such as "0-3,8"; 0 when it is none.
func countList(s string) (n int) {
	for _, part := range strings.Split(s, ",") {
		from, to, isRange := strings.Cut(part, "-")
		a, err := strconv.Atoi(from)
		if err != nil {
			return 0
		}
		b := a
		if isRange {
			if b, err = strconv.Atoi(to); err != nil {
				return 0
			}
		}
		if a < 0 || b < a || b-a > 1<<16 {
			return 0
		}
		n += b - a + 1
	}
	return n
}
