package measure

import (
	"os"
	"path/filepath"
	"testing"
)

func TestIdleIsAShareOfTheTimeBetweenCalls(t *testing.T) {
	file := filepath.Join(t.TempDir(), "stat")
	i := &Idle{file: file}
	for _, c := range []struct {
		text string
		want float64
	}{
		{"cpu  10 0 10 60 20 0 0 0 5 5\ncpu0 1 1 1 1 1 1 1 1\n", 0.8},
		{"cpu  60 0 30 80 30 0 0 0 5 5\n", 0.3},
		{"cpu  60 0 30 80 30 0 0 0 5 5\n", -1},
		{"cpu  70 0 30 70 30 0 0 10 5 5\n", 0}, // some kernels count idle time backwards now and then
		{"intr 1 2 3\n", -1},
		{"cpu  x 0 30 70 30 0 0 10\n", -1},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := i.Share(); got != c.want {
			t.Errorf("%q: %v, want %v", c.text, got, c.want)
		}
	}
	if NewIdle(Cores{Affinity: 1, Online: 2}) != nil || NewIdle(Cores{Affinity: 2, Online: 2, Quota: 1.5}).Share() != -1 {
		t.Error("the machine's idle time says nothing about a part of it")
	}
}
