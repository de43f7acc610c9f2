package proc

import (
	"flag"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

var (
	costRounds = flag.Int("cost", 20, "rounds of TestCost")
	costPause  = flag.Duration("cost-pause", 0, "how long TestCost waits before each start")
	costHeap   = flag.Int("cost-heap", 0, "MiB of memory that TestCost holds meanwhile")
)

// What a start costs beside a plain one, in turns. It asserts nothing but that both work: run it with -v -cost 500 [-cost-heap 2048].
func TestCost(t *testing.T) {
	hold := make([]byte, *costHeap<<20)
	for i := 0; i < len(hold); i += 4096 {
		hold[i] = 1
	}
	t.Log(Containment())
	spec := func(l Limits, i Isolation) Spec { return Spec{Argv: []string{"/bin/true"}, Limits: l, Isolation: i} }
	ways := []struct {
		name string
		spec Spec
	}{
		{"plain os/exec", Spec{}}, {"direct", spec(Limits{}, Isolation{})}, {"contained", spec(Limits{}, Isolation{})},
		{"memory", spec(Limits{Memory: 1 << 30}, Isolation{})}, {"sandbox", spec(Limits{}, Isolation{Sandbox: true})},
		{"everything", spec(Limits{Memory: 1 << 30}, Isolation{Sandbox: true, CPU: 1, PIDs: 100, User: "65534"})},
	}
	begun, ended := make([][]time.Duration, len(ways)), make([][]time.Duration, len(ways))
	for range *costRounds {
		for i, way := range ways {
			time.Sleep(*costPause)
			at := time.Now()
			switch i {
			case 0:
				cmd := exec.Command("/bin/true")
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				begun[i] = append(begun[i], time.Since(at))
				if err := cmd.Wait(); err != nil {
					t.Fatal(err)
				}
			default:
				p, err := start(way.spec, i == 1)
				if err != nil {
					t.Fatal(err)
				}
				begun[i] = append(begun[i], time.Since(at))
				<-p.Done()
				if x := p.Exit(); x.Code != 0 {
					t.Fatal(x)
				}
			}
			ended[i] = append(ended[i], time.Since(at))
		}
	}
	for i, way := range ways {
		slices.Sort(begun[i])
		slices.Sort(ended[i])
		n := *costRounds
		t.Logf("%-14s started p50 %v p95 %v   ended p50 %v p95 %v", way.name, begun[i][n/2], begun[i][n*95/100], ended[i][n/2], ended[i][n*95/100])
	}
	_ = hold
}
