package proc

import (
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem"
)

func TestAProgramHasItsLimits(t *testing.T) {
	script := "ulimit -d; ulimit -t; ulimit -c; ulimit -H -d; ulimit -H -t"
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprint("direct ", direct), func(t *testing.T) {
			var out strings.Builder
			p, err := start(Spec{Argv: []string{"sh", "-c", "sleep 0.2; " + script}, Output: func(_ int, b []byte) { out.Write(b) },
				Limits: Limits{Data: 64 << 20, CPUTime: 1500 * time.Millisecond}}, direct)
			if err != nil {
				t.Fatal(err)
			}
			<-p.Done()
			if got, want := strings.Fields(out.String()), "[65536 2 0 65536 4]"; fmt.Sprint(got) != want {
				t.Errorf("got %v, want %s", got, want)
			}
		})
	}
}

func TestWithoutLimitsNothingIsTaken(t *testing.T) {
	script := "ulimit -d; ulimit -t"
	bare, err := exec.Command("sh", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	var ours strings.Builder
	p, err := Start(Spec{Argv: []string{"sh", "-c", script}, Output: func(_ int, b []byte) { ours.Write(b) }})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if ours.String() != string(bare) {
		t.Errorf("limits %q, without Tandem %q", &ours, bare)
	}
}

const hog = `
import os, sys, time
how, mib = sys.argv[1], int(sys.argv[2])
if how == "child":
    if os.fork() == 0:
        b = bytearray(mib << 20); time.sleep(60)
elif how == "orphan":
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid(); b = bytearray(mib << 20); time.sleep(60)
        os._exit(0)
elif how == "shared":
    b = bytearray(mib << 20)
    for i in range(3):
        if os.fork() == 0: time.sleep(60)
elif how in ("mapped", "handed"):
    import mmap
    fd = -1
    if how == "handed":
        fd = os.memfd_create("tandem-in"); os.ftruncate(fd, mib << 20)
    b = mmap.mmap(fd, mib << 20)
    for at in range(0, mib << 20, 4096): b[at] = 1
else:
    b = bytearray(mib << 20)
time.sleep(float(sys.argv[3]))
`

func TestMemoryOfATreeIsBounded(t *testing.T) {
	t.Run("polled", func(t *testing.T) {
		pretend(t, map[string]syscall.Errno{"cgroup:memory": syscall.EACCES})
		treeIsBounded(t, tandem.MemoryPolled)
	})
	t.Run("kernel", func(t *testing.T) {
		if _, err := treeOf("memory"); err != nil {
			t.Skip("SKIPPED, NOT TESTED: no control group of memory: ", err)
		}
		treeIsBounded(t, tandem.MemoryKernel)
	})
}

func treeIsBounded(t *testing.T, method tandem.Memory) {
	for _, c := range []struct {
		how  string
		mib  int
		over bool
	}{{"itself", 200, true}, {"child", 200, true}, {"orphan", 200, true}, {"itself", 20, false}, {"shared", 60, false}, {"mapped", 200, true}, {"mapped", 60, false},
		{"handed", 200, method == tandem.MemoryKernel}} { // Tandem's own shared memory does not count where it can be told
		t.Run(fmt.Sprint(c.how, c.mib), func(t *testing.T) {
			if method == tandem.MemoryPolled {
				t.Parallel()
			}
			stay := "30"
			if !c.over {
				stay = "1"
			}
			p, err := Start(Spec{Argv: []string{"python3", "-c", hog, c.how, fmt.Sprint(c.mib), stay}, Limits: Limits{Memory: 100 << 20}})
			if err != nil {
				t.Fatal(err)
			}
			if p.Memory() != method {
				t.Errorf("method %s", p.Memory())
			}
			begun := time.Now()
			<-p.Done()
			o := p.Exit().Over
			if c.over && (o == nil || !strings.Contains(o.Says, "the limit is 100 MiB") || p.Exit().Signal == 0 || time.Since(begun) > 20*time.Second) {
				t.Errorf("proof %+v, %v after %v", o, p.Exit(), time.Since(begun))
			}
			if !c.over && (o != nil || p.Exit().Code != 0) {
				t.Errorf("killed: %+v, %v", o, p.Exit())
			}
		})
	}
}

func TestTheLimitOfDataIsTheProgramsOwn(t *testing.T) {
	pretend(t, map[string]syscall.Errno{"cgroup:memory": syscall.EACCES})
	var out strings.Builder
	p, err := Start(Spec{Argv: []string{"python3", "-c", "try:\n bytearray(200<<20)\nexcept MemoryError: print('MemoryError')"}, Output: func(_ int, b []byte) { out.Write(b) },
		Limits: Limits{Memory: 100 << 20, Data: 100 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if x := p.Exit(); out.String() != "MemoryError\n" || x.Code != 0 || x.Over != nil || p.Memory() != tandem.MemoryRlimit {
		t.Errorf("%q, %v, %v, %s", &out, x, x.Over, p.Memory())
	}
}

func BenchmarkUse(b *testing.B) {
	p, err := Start(Spec{Argv: []string{"sh", "-c", "sleep 60 & sleep 60 & sleep 60"}})
	if err != nil {
		b.Fatal(err)
	}
	for p.Use().Processes < 4 {
		time.Sleep(time.Millisecond)
	}
	for b.Loop() {
		p.Use()
	}
	p.Kill()
	<-p.Done()
}
