package evidence

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tandem"
)

func TestReasonsAreNeverGuessed(t *testing.T) {
	none := Kills{-1, -1, -1}
	memory := &tandem.Stack{Kind: "out_of_memory", Language: "node"}
	for name, c := range map[string]struct {
		d          Death
		reason     tandem.ExitReason
		confidence tandem.Confidence
		says       string
	}{
		"segfault":                  {Death{Exit: Exit{-1, "SIGSEGV"}, Signal: "SIGSEGV (segmentation fault)"}, tandem.ExitSignal, tandem.Proven, "SIGSEGV"},
		"kill -9, nothing known":    {Death{Exit: Exit{-1, "SIGKILL"}, Before: none, After: none}, tandem.ExitKilledExternally, tandem.Unknown, "not shown"},
		"kill -9, counters at rest": {Death{Exit: Exit{-1, "SIGKILL"}, Before: Kills{3, 1, 7}, After: Kills{3, 1, 7}}, tandem.ExitKilledExternally, tandem.Unknown, "stayed at 3"},
		"machine out of memory":     {Death{Exit: Exit{-1, "SIGKILL"}, Before: Kills{3, 1, 7}, After: Kills{4, 1, 9}}, tandem.ExitMemoryOfMachine, tandem.Probable, "from 3 to 4"},
		"an old kernel":             {Death{Exit: Exit{-1, "SIGKILL"}, Before: Kills{3, 1, -1}, After: Kills{4, 1, -1}}, tandem.ExitMemoryOfMachine, tandem.Probable, "from 3 to 4"},
		"somebody else's group":     {Death{Exit: Exit{-1, "SIGKILL"}, Before: Kills{3, 1, 7}, After: Kills{4, 1, 7}}, tandem.ExitKilledExternally, tandem.Unknown, "stayed at 7"},
		"group out of memory":       {Death{Exit: Exit{-1, "SIGKILL"}, Before: Kills{3, 1, 7}, After: Kills{4, 3, 7}}, tandem.ExitMemoryLimit, tandem.Proven, "from 1 to 3"},
		"kill -9 of ours":           {Death{Exit: Exit{-1, "SIGKILL"}, Killed: "not done in 3s", As: tandem.ExitTimeout, After: Kills{9, 9, 9}}, tandem.ExitTimeout, tandem.Proven, "not done in 3s"},
		"ours without a word":       {Death{Exit: Exit{-1, "SIGKILL"}, Killed: "too much output"}, tandem.ExitKilledByUs, tandem.Proven, "too much output"},
		"SIGTERM of somebody":       {Death{Exit: Exit{-1, "SIGTERM"}}, tandem.ExitKilledExternally, tandem.Probable, "did not send SIGTERM"},
		"exit 0 in the middle":      {Death{Exit: Exit{}, Items: 1}, tandem.ExitApp, tandem.Proven, "exited without result"},
		"exit 3, idle":              {Death{Exit: Exit{Code: 3}}, tandem.ExitApp, tandem.Proven, "exit code 3"},
		"heap limit":                {Death{Exit: Exit{-1, "SIGABRT"}, Stack: memory}, tandem.ExitMemoryOfRuntime, tandem.Probable, "out_of_memory"},
		"heap limit, exit 1":        {Death{Exit: Exit{Code: 1}, Stack: memory}, tandem.ExitMemoryOfRuntime, tandem.Probable, ""},
		"Java's exit 1":             {Death{Exit: Exit{Code: 1}, Stack: &tandem.Stack{Language: "java", Kind: "fatal_error", Message: "SIGSEGV"}}, tandem.ExitSignal, tandem.Probable, ""},
		"processor time":            {Death{Exit: Exit{-1, "SIGXCPU"}}, tandem.ExitCPULimit, tandem.Probable, ""},
		"forbidden call":            {Death{Exit: Exit{-1, "SIGSYS"}}, tandem.ExitSandbox, tandem.Probable, ""},
		"before it was ready":       {Death{Exit: Exit{Code: 3}, As: tandem.ExitBoot}, tandem.ExitBoot, tandem.Proven, "exit code 3"},
	} {
		var got tandem.Crash
		Judge(c.d, &got)
		all := ""
		for _, e := range got.Evidence {
			if e.What == "" || e.From == "" || e.Says == "" && c.d.Signal != "" {
				t.Errorf("%s: empty evidence %+v", name, e)
			}
			all += e.Says + "\n"
		}
		if got.Reason != c.reason || got.Confidence != c.confidence || !strings.Contains(all, c.says) {
			t.Errorf("%s: %s, %s\n%s", name, got.Reason, got.Confidence, all)
		}
	}
}

func TestTheTailIsBoundedAndExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tail Tail
		var all []byte
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 100_000), 0, 12).Draw(t, "writes") {
			chunk := make([]byte, n)
			for i := range chunk {
				chunk[i] = byte(len(all) + i*7)
			}
			mark := tail.Total()
			tail.Add(chunk)
			all = append(all, chunk...)
			if want := string(chunk[max(0, len(chunk)-tailRead):]); !strings.HasSuffix(tail.Since(mark), want) {
				t.Fatalf("since %d: %d bytes, want the last of %d", mark, len(tail.Since(mark)), n)
			}
		}
		text := tail.Text()
		if !strings.HasSuffix(string(all), text) || len(text) < min(len(all), tailRead) || cap(tail.buf) > 4*tailRead {
			t.Fatalf("kept %d of %d bytes in %d", len(text), len(all), cap(tail.buf))
		}
		if last := strings.TrimPrefix(tail.Last(), "… "); len(last) > tailSize || !strings.HasSuffix(string(all), last) {
			t.Fatalf("the last are %d bytes", len(last))
		}
	})
}

func TestThreadsAsTheKernelSeesThem(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	var got []tandem.ThreadView
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got = Threads(cmd.Process.Pid); len(got) == 1 && got[0].Name == "sleep" && got[0].State == "S" {
			break
		}
	}
	if len(got) != 1 || got[0].ID != cmd.Process.Pid || got[0].State != "S" {
		t.Fatalf("got %+v", got)
	}
	if _, known := syscalls[35]; known && got[0].Number >= 0 && got[0].Syscall != "clock_nanosleep" {
		t.Errorf("asleep in %+v", got[0])
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if got = Threads(cmd.Process.Pid); got[0].State == "T" {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got[0].State != "T" {
		t.Errorf("stopped: %+v", got)
	}
	if mine := Threads(os.Getpid()); len(mine) < 2 || len(mine) > maxThreads {
		t.Errorf("a Go program has %d threads", len(mine))
	}
	if gone := Threads(1 << 30); gone != nil {
		t.Errorf("nobody: %+v", gone)
	}
}

func TestCountsOfTheKernel(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a/b/memory.events", "low 0\noom 7\noom_kill 5\noom_group_kill 9\n")
	write("a/c/memory.events", "low 0\noom 0\noom_kill 3\noom_group_kill 0\n")
	write("memory/docker/x/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
	for lines, want := range map[string]int64{
		"0::/a/b\n": 5, "0::/a/c\n": 0, "0::/a/b/tandem-self-X\n": 5, "12:cpu,memory:/docker/x\n0::/nowhere\n": 2, "0::/nowhere\n": -1, "": -1, "nonsense": -1, "3:cpu:/a/b\n": -1,
	} {
		if got := groupKills(lines, root); got != want {
			t.Errorf("%q: %d, want %d", lines, got, want)
		}
	}
	if runtime.GOOS == "linux" {
		if k := Counted(); k.Machine < 0 || k.Stalls < 0 {
			t.Errorf("this kernel shows no oom_kill or no allocstall: %+v", k)
		}
	}
	var m Memory
	if a, b := m.Before(), m.Before(); a != b {
		t.Errorf("two looks within a second: %v, %v", a, b)
	}
}

func TestPreviewsAreBoundedAndWithoutSecrets(t *testing.T) {
	secret := strings.Repeat("s3cret", 20)
	redact := func(v tandem.Value) tandem.Value {
		v.Data = []byte(strings.ReplaceAll(string(v.Data), secret, "[secret]"))
		return v
	}
	for name, v := range map[string]tandem.Value{
		"text":             tandem.TextValue("a " + secret),
		"across the bound": tandem.TextValue(strings.Repeat("x", maxPreview-50) + secret),
		"bytes":            {Kind: tandem.Bytes, Data: []byte("\x00\xff" + secret)},
		"list":             tandem.ListOf([]tandem.Value{tandem.TextValue(secret), tandem.TextValue("b")}),
	} {
		got := Preview(v, redact)
		if strings.Contains(got, "s3cret") || got == "" || len(got) > maxPreview+100 {
			t.Errorf("%s: %d bytes: %.200q", name, len(got), got)
		}
	}
	if got := Preview(tandem.TextValue("photos/a.jpg"), nil); got != "photos/a.jpg" {
		t.Errorf("got %q", got)
	}
}
