package cli

import (
	"strings"
	"testing"
)

// A command that can never begin ends a map before its first input.
func TestMapFits(t *testing.T) {
	for _, c := range []struct {
		isolation, shell string
		cmd              []string
		want             string
	}{
		{"{memory: 1MiB}", "", []string{"/usr/bin/python3", "-c", "1"}, "memory: 1 MiB is less than python3 needs to begin with"},
		{"{memory: 1GiB}", "", []string{"/usr/bin/python3", "-c", "1"}, ""},
		{"{memory: 4MiB}", "echo {}", nil, ""},
		{"{level: sandbox}", "", []string{"sh", "-c", "true"}, ""},
		{"{level: sandbox}", "", []string{"{}"}, ""},
	} {
		j := &mapJob{flags: mapFlags{isolation: c.isolation, shell: c.shell}}
		var err error
		if j.cfg.Limits.Memory, j.cfg.Isolation, err = mapIsolation(c.isolation); err != nil {
			t.Fatal(err)
		}
		if err = j.fits(c.cmd); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v", c.isolation, c.cmd, err)
		}
	}
}
