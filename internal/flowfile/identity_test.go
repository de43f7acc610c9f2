package flowfile

import (
	"strings"
	"testing"
)

func TestWhatMakesARunTheSameJob(t *testing.T) {
	identity := func(change ...string) string {
		f, err := Parse("f.yaml", []byte(strings.NewReplacer(change...).Replace(good)))
		if err != nil {
			t.Fatal(err)
		}
		return f.Identity()
	}
	was := identity()
	for _, c := range []struct{ old, new, want string }{
		{"workers: 2", "workers: 4", ""}, {"timeout: 1m30s", "timeout: 3m", ""}, {"concurrency: 64", "concurrency: 6", ""}, {"about: all of it", "about: else", ""},
		{"images.py:thumb", "images.py:small", `step "thumb" has changed`}, {"name: photos", "name: pictures", "name has changed"}, {"out.jsonl", "other.jsonl", "into has changed"},
		{"more/*.jpg", "more/*.png", "from has changed"}, {"name: cmd", "name: command", `step "cmd" is gone, step "command" is new`},
	} {
		now := identity(c.old, c.new)
		if got := strings.Join(Differences(was, now), ", "); got != c.want || (c.want == "") != (was == now) {
			t.Errorf("%s → %s: %q, want %q", c.old, c.new, got, c.want)
		}
	}
}
