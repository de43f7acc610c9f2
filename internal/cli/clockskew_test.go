package cli

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tandem/internal/cluster"
	"tandem/internal/queue/jetstream"
)

// skewedNow is the clock of a program whose wall time is CLOCK_SKEW seconds off; time intervals are right, as they are on a machine whose clock was set wrongly.
const skewedNow = `package runtime

import _ "unsafe"

var skew, skewKnown = int64(0), false

//go:linkname time_now time.now
func time_now() (sec int64, nsec int32, mono int64) {
	sec, nsec, mono = trueNow()
	if !skewKnown && len(envs) > 0 {
		n, sign := int64(0), int64(1)
		for _, c := range gogetenv("CLOCK_SKEW") {
			if c == '-' {
				sign = -1
			} else if c >= '0' && c <= '9' {
				n = 10*n + int64(c-'0')
			}
		}
		skew, skewKnown = sign*n, true
	}
	return sec + skew, nsec, mono
}
`

// skewed builds the command with another clock: Go asks the kernel itself, so nothing that is preloaded and no time namespace can shift its wall time. What is
// replaced is one file of the runtime, and with it the clock of everything in the process, the queue server included. Workers in other languages keep theirs.
func skewed(t *testing.T) (program string) {
	t.Helper()
	dir := t.TempDir()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	std := filepath.Join(strings.TrimSpace(string(root)), "src", "runtime")
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	replace := map[string]string{}
	if runtime.GOARCH == "amd64" { // there the clock is written in assembly
		path := filepath.Join(std, "time_linux_amd64.s")
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "TEXT time·now<ABIInternal>(SB)") {
			t.Skip("NOT TESTED: this Go keeps its clock elsewhere")
		}
		replace[path] = write("now.s", strings.Replace(string(text), "TEXT time·now<ABIInternal>(SB)", "TEXT ·trueNow<ABIInternal>(SB)", 1))
		replace[filepath.Join(std, "timeasm.go")] = write("now.go", skewedNow+"\nfunc trueNow() (sec int64, nsec int32, mono int64)\n")
	} else {
		replace[filepath.Join(std, "timestub.go")] = write("now.go", skewedNow+`
func trueNow() (sec int64, nsec int32, mono int64) {
	sec, nsec = walltime()
	return sec, nsec, nanotime()
}
`)
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	overlay := write("overlay.json", string(b))
	program = filepath.Join(dir, "tandem")
	build := exec.Command("go", "build", "-overlay", overlay, "-o", program, "./cmd/tandem")
	build.Dir, build.Env = repo(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build with another clock: %v\n%s", err, out)
	}
	return program
}

// clocks holds that the clock of each node is as far from ours as the test means it to be. A node says its time every few seconds, and is heard for ten after that.
func (i *island) clocks(p *party, off map[string]time.Duration) {
	p.t.Helper()
	e, err := jetstream.Connect(p.nats, jetstream.Config{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer e.Close()
	h, err := cluster.Open(p.t.Context(), e)
	if err != nil {
		p.t.Fatal(err)
	}
	nodes, err := h.Nodes(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	seen := map[string]time.Duration{}
	for _, n := range nodes {
		seen[n.Name] = time.Until(n.Seen)
	}
	for name, want := range off {
		if is, ok := seen[name]; !ok || is > want+time.Second || is < want-cluster.NodeTTL-2*time.Second {
			p.t.Errorf("the clock of %s is %v off (heard: %v), want %v: the fault did not happen", name, is, ok, want)
		}
	}
	p.t.Logf("clocks: %v", seen)
}
