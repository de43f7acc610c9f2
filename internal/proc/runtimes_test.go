package proc

import (
	"fmt"
	"os"
	"testing"
)

func TestFlagsAddToWhatIsThere(t *testing.T) {
	for _, c := range []struct {
		env         []string
		memory, jvm int64
		want        string
	}{
		{nil, 0, 0, "[]"},
		{nil, 1 << 30, 0, "[GOMEMLIMIT=966367638 NODE_OPTIONS=--max-old-space-size=768]"},
		{[]string{"GOMEMLIMIT=5MiB", "NODE_OPTIONS=--trace-gc"}, 1 << 30, 0, "[NODE_OPTIONS=--trace-gc --max-old-space-size=768]"},
		{[]string{"GOMEMLIMIT=5MiB", "NODE_OPTIONS=--max-old-space-size=5"}, 1 << 30, 256 << 20, "[JAVA_TOOL_OPTIONS=-Xmx262144k]"},
		{[]string{"JAVA_TOOL_OPTIONS=-Xmx1g"}, 0, 256 << 20, "[]"},
	} {
		if got := fmt.Sprint(MemoryFlags(c.env, c.memory, c.jvm)); got != c.want {
			t.Errorf("%v: %s, want %s", c.env, got, c.want)
		}
	}
}

func TestARuntimeIsKnownByItsProgram(t *testing.T) {
	own := map[bool]string{false: "go", true: shadowed}[raced]
	for program, want := range map[string]string{os.Args[0]: own, "/opt/jdk/bin/java": "java", "node": "node", "sh": "", "/no/such": ""} {
		if got := runtimeOf(program); got != want {
			t.Errorf("%s is %q, want %q", program, got, want)
		}
	}
	if l := (Limits{Memory: 1 << 20}).WithData("sh"); l.Data != 1<<20 {
		t.Errorf("sh: %d", l.Data)
	}
	if l := (Limits{}).WithData("node"); l.Data != 0 {
		t.Errorf("without a limit: %d", l.Data)
	}
}
