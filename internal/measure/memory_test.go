package measure

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFreeMemoryIsTheLeastOfSystemAndGroups(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"system":      {map[string]string{"proc/meminfo": "MemTotal: 99 kB\nMemAvailable:   10 kB\n"}, 10 << 10},
		"nothing":     {nil, -1},
		"v2, no max":  {map[string]string{"proc/meminfo": "MemAvailable: 10 kB\n", "proc/self/cgroup": "0::/a\n", "cg/a/memory.max": "max\n", "cg/a/memory.current": "5\n"}, 10 << 10},
		"v2":          {map[string]string{"proc/meminfo": "MemAvailable: 10 kB\n", "proc/self/cgroup": "0::/a\n", "cg/a/memory.max": "5000\n", "cg/a/memory.current": "4000\n", "cg/a/memory.stat": "anon 9\ninactive_file 500\n"}, 1500},
		"v2, above":   {map[string]string{"proc/self/cgroup": "0::/a/b\n", "cg/a/memory.max": "5000\n", "cg/a/memory.current": "4900\n", "cg/a/b/memory.max": "9000\n", "cg/a/b/memory.current": "1\n"}, 100},
		"v1":          {map[string]string{"proc/self/cgroup": "4:memory:/x\n", "cg/memory/x/memory.limit_in_bytes": "1000\n", "cg/memory/x/memory.usage_in_bytes": "1200\n"}, 0},
		"v1, no max":  {map[string]string{"proc/self/cgroup": "4:memory:/x\n", "cg/memory/x/memory.limit_in_bytes": "9223372036854771712\n", "cg/memory/x/memory.usage_in_bytes": "1200\n"}, -1},
		"other group": {map[string]string{"proc/self/cgroup": "4:cpu:/x\n", "cg/memory/x/memory.limit_in_bytes": "1000\n", "cg/memory/x/memory.usage_in_bytes": "12\n"}, -1},
	} {
		dir := t.TempDir()
		for path, text := range c.files {
			path = filepath.Join(dir, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got := freeMemory(filepath.Join(dir, "proc"), filepath.Join(dir, "cg")); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if FreeMemory() <= 0 {
		t.Error("this machine has no free memory")
	}
}
