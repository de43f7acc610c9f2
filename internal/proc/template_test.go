package proc

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem"
	"tandem/sdk/python"
)

const forked = "forked"

// forker is the template of the Python worker, but for what its workers do: they become the victim.
const forker = `import sys, subprocess
sys.path.insert(0, %q)
from tandem_worker import fork, start
start.start = lambda hello: (None, "plain", "process")
def victim(sock, begun): subprocess.run(["sh", "-c", %q])
start.guarded = victim
fork.main()`

// forkTree starts a template and forks a victim from it: three Python processes and the tree.
func forkTree(Spec) (*Process, error) {
	dir := filepath.Join(filepath.Dir(os.Getenv("TMPDIR")), "python")
	t, err := StartTemplate(Spec{Argv: []string{"python3", "-c", fmt.Sprintf(forker, dir, tree)}})
	if err != nil {
		return nil, err
	}
	word := fmt.Sprintf(`{"hello": {}, "level": %q}`, Containment().Level)
	if answer, ok := t.Ask([]byte(word), patience); !ok || string(answer) != `{"ready": true}` {
		return nil, fmt.Errorf("the template says %q", answer)
	}
	sock, theirs, err := SocketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	_ = sock // its end tells the victim nothing
	return t.Fork(Spec{Files: []*os.File{theirs}})
}

func pythonWorker(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Fatalf("no Python: %v", err)
	}
	dir := filepath.Join(filepath.Dir(copyOfUs(t)), "python")
	if _, err := os.Stat(dir); err == nil {
		return
	}
	if err := os.CopyFS(dir, python.Worker); err != nil {
		t.Fatal(err)
	}
}

var forkedParts = []string{"app", "warden", "above", "template", "shim", "worker"}

// forkedParts finds them as far as they are there.
func (a *app) forkedParts() map[string]int {
	found := map[string]int{"app": a.cmd.Process.Pid}
	for i, name := range forkedParts[1:] {
		if pid := found[forkedParts[i]]; pid > 0 {
			if list := children(pid); len(list) > 0 {
				found[name] = list[0]
			}
		}
	}
	return found
}

const forkedTree = 8 // template, the process above its next worker, shim, worker and the victim's four

// Combinations of what can be killed, once the tree stands; with -kills 1000 all of them.
func TestNothingForkedIsLeftBehind(t *testing.T) {
	pythonWorker(t)
	for _, w := range everybody {
		t.Run(w.name, func(t *testing.T) {
			for set := 1; set < 1<<len(forkedParts); set++ {
				if *kills < 1000 && set%5 != 0 && set&(set-1) != 0 {
					continue
				}
				var victims []string
				for i, part := range forkedParts {
					if set>>i&1 == 1 {
						victims = append(victims, part)
					}
				}
				name := strings.Join(victims, "+")
				if w.level == SingleFault && len(victims) > 2 {
					continue // what the level does not promise
				}
				a := w.run(t, forked)
				a.ready(w)
				a.line("started")
				a.settle(forkedTree)
				found := a.forkedParts()
				for _, v := range victims {
					if found[v] == 0 {
						t.Fatalf("there is no %s", v)
					}
					_ = syscall.Kill(found[v], syscall.SIGKILL)
				}
				switch {
				case set&1 == 1: // the application
				case w.level == SingleFault && name == "warden+above": // the worker may live on, until the application ends
				case name == "warden":
					time.Sleep(20 * time.Millisecond)
					a.settle(forkedTree)
				case strings.TrimPrefix(name, "warden+") == "template": // its workers live on
					time.Sleep(20 * time.Millisecond)
					a.settle(forkedTree - 2) // nor does the next worker come
				default:
					if reason := a.line("ended"); reason != "SIGKILL" {
						t.Errorf("%s killed: the worker ended with %s", name, reason)
					}
					left := 2 // the template, and who waits in it
					if strings.Contains(name, "above") || strings.Contains(name, "template") {
						left = 0
					}
					a.settle(left)
				}
				a.kill()
				if left := a.vanished(); left != nil {
					t.Errorf("%s killed: left behind\n%s", name, strings.Join(left, "\n"))
				}
			}
		})
	}
}

// The same at random moments, while it is being built.
func TestRandomKillsOfWhatIsForked(t *testing.T) {
	pythonWorker(t)
	n := *kills
	if testing.Short() {
		n = min(n, 20)
	}
	for _, w := range everybody {
		if w.level == SingleFault {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			seed := rand.Uint64()
			random := rand.New(rand.NewPCG(seed, 0))
			t.Logf("seed %d", seed)
			killed := map[string]int{}
			for i := range n {
				a := w.run(t, forked)
				a.ready(w)
				time.Sleep(time.Duration(random.IntN(200000)) * time.Microsecond)
				set, order := 1+random.IntN(1<<len(forkedParts)-1), random.Perm(len(forkedParts))
				found := a.forkedParts()
				for _, k := range order {
					if pid := found[forkedParts[k]]; set>>k&1 == 1 && pid > 0 {
						killed[forkedParts[k]]++
						_ = syscall.Kill(pid, syscall.SIGKILL)
					}
				}
				if set&1 == 0 {
					time.Sleep(time.Duration(random.IntN(20000)) * time.Microsecond)
				}
				a.kill()
				if left := a.vanished(); left != nil {
					t.Errorf("run %d, set %06b: left behind\n%s", i, set, strings.Join(left, "\n"))
				}
			}
			t.Logf("%d runs, killed %v", n, killed)
			for _, part := range forkedParts {
				if killed[part] == 0 && n >= 100 {
					t.Errorf("%s was never killed", part)
				}
			}
		})
	}
}

// A template that is not there forks nothing, and says so at once.
func TestForkOfTheDead(t *testing.T) {
	begun := time.Now()
	s, err := StartTemplate(Spec{Argv: []string{"true"}})
	if err != nil {
		if Containment().Level == BestEffort {
			t.Skip("SKIPPED, NOT TESTED: ", err)
		}
		t.Fatal(err)
	}
	if answer, ok := s.Ask([]byte("{}"), time.Minute); ok {
		t.Errorf("the dead answer %q", answer)
	}
	<-s.Gone()
	if p, err := s.Fork(Spec{}); err == nil || err.(*tandem.Error).Kind != tandem.KindStart {
		t.Error(p, err)
	}
	s.Close()
	if d := time.Since(begun); d > 5*time.Second {
		t.Error(d)
	}
}
