package proc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestACoreIsFoundWhereTheKernelWasTold(t *testing.T) {
	dir := t.TempDir()
	old := time.Now().Add(-time.Hour)
	write := func(name, text string, at time.Time) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write("core", "x", time.Now())
	write("core.17", "x", time.Now())
	write("core.sh.9.x", "old", old)
	write("100%.5", "x", time.Now())
	write("empty", "", time.Now())
	write("a[b]c", "x", time.Now())
	for _, c := range []struct {
		pattern string
		pid     bool
		want    string // a name in dir, or part of the reason
	}{
		{"core", false, "core"},
		{"core", true, "core.17"},
		{"", true, "reason none at"},
		{"core.%p", true, "core.17"},
		{dir + "/core.%P", false, "core.17"},
		{"core.%e.%p.%s", false, "reason none at"},
		{"100%%.%p", false, "100%.5"},
		{"a[b]c", false, "a[b]c"},
		{"empty", false, "reason none at"},
		{"/no/such/dir/core", false, "reason no such file"},
		{"|/usr/lib/systemd/systemd-coredump %P %u", false, "reason piped to /usr/lib/systemd/systemd-coredump"},
		{"| /usr/share/apport/apport %p", false, "reason piped to /usr/share/apport/apport"},
		{"@@/run/coredump.socket", false, "reason socket /run/coredump.socket"},
		{"", false, "reason is empty"},
	} {
		path, why := findCore(c.pattern, c.pid, dir, time.Now().Add(-time.Minute))
		if reason, ok := strings.CutPrefix(c.want, "reason "); ok {
			if path != "" || !strings.Contains(why, reason) {
				t.Errorf("%q: %q, %q, want a reason with %q", c.pattern, path, why, reason)
			}
		} else if path != filepath.Join(dir, c.want) || why != "" {
			t.Errorf("%q: %q, %q, want %s", c.pattern, path, why, c.want)
		}
	}
}

// The kernel of this machine is believed only when there is a file.
func TestAProgramLeavesItsCoreWhenAsked(t *testing.T) {
	for _, size := range []int64{0, 1 << 20} {
		dir, into := t.TempDir(), t.TempDir()
		since := time.Now()
		p, err := Start(Spec{Argv: []string{"sh", "-c", "kill -SEGV $$"}, Dir: dir, Limits: Limits{Core: size}})
		if err != nil {
			t.Fatal(err)
		}
		<-p.Done()
		path, why := TakeCore(p.PID(), dir, since, into)
		st, err := os.Stat(path)
		switch {
		case size == 0 && path != "":
			t.Errorf("a core although none was asked for: %s", path)
		case size > 0 && path == "" && why == "":
			t.Error("neither a core nor a reason")
		case size > 0 && path != "" && (err != nil || st.Size() > size || filepath.Dir(path) != into):
			t.Errorf("core %s: %v, %v, want at most %d bytes in %s", path, st, err, size, into)
		}
		t.Logf("limit %d: %q %q", size, path, why)
	}
}
