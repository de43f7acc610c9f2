package procpool

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem"
)

// app is a program with a pool: it runs items with a timeout of 700 ms and says how they ended.
func app(items []string) {
	cfg := testConfig("behave")
	cfg.Workers, cfg.Timeout, cfg.Threads = len(items), 700*time.Millisecond, 1
	cfg.OnEvent = func(e tandem.Event) {
		if _, pid, ok := strings.Cut(e.Reason, "ready, pid "); ok {
			fmt.Println("pid", pid)
		}
		if e.From == "stopped" {
			fmt.Println("late", e.Reason)
		}
	}
	p := New(cfg)
	ended := make(chan error, 1)
	go func() { ended <- p.Run(context.Background()) }()
	<-p.Ready()
	for {
		p.mu.Lock()
		n := len(p.workers)
		p.mu.Unlock()
		if n == len(items) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	done := make(chan struct{})
	for _, s := range items {
		go func() {
			task := &tandem.Task{ID: s, Value: tandem.TextValue(s)}
			err := p.Call(context.Background(), task)
			fmt.Printf("end %s: %s %v %v\n", s, task.Result.Outcome, task.Result.Err, err)
			done <- struct{}{}
		}()
	}
	fmt.Println("busy")
	for range items {
		<-done
	}
	p.Close()
	fmt.Println("over", <-ended)
	os.Exit(0)
}

// Tandem is stopped for much longer than the timeout, alone or with its workers, as a machine that sleeps. Items that needed less of the time in which both ran are not
// killed; one that hangs still is.
func TestStoppedForLongerThanTheTimeout(t *testing.T) {
	for _, all := range []bool{false, true} {
		t.Run(fmt.Sprint("workers too: ", all), func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "app", "sleep 400ms a", "sleep 500ms b", "sleep 1m c")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var pids []int
			ends := map[string]string{}
			late := false
			signal := func(s syscall.Signal) {
				for _, pid := range pids {
					if err := syscall.Kill(pid, s); err != nil {
						t.Errorf("%v to %d: %v", s, pid, err)
					}
				}
			}
			lines := bufio.NewScanner(out)
			for lines.Scan() {
				what, rest, _ := strings.Cut(lines.Text(), " ")
				switch what {
				case "pid":
					if pid, _ := strconv.Atoi(rest); all {
						pids = append(pids, pid)
					}
				case "busy":
					pids = append(pids, cmd.Process.Pid)
					time.Sleep(150 * time.Millisecond)
					signal(syscall.SIGSTOP)
					time.Sleep(3 * time.Second)
					signal(syscall.SIGCONT)
				case "late":
					late = true
				case "end":
					id, how, _ := strings.Cut(rest, ": ")
					ends[id] = how
				case "over":
					if rest != "<nil>" {
						t.Errorf("Run: %s", rest)
					}
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			for id, want := range map[string]string{"sleep 400ms a": "ok", "sleep 500ms b": "ok", "sleep 1m c": "timed_out"} {
				if !strings.HasPrefix(ends[id], want+" ") {
					t.Errorf("%s ended as %q, want %s", id, ends[id], want)
				}
			}
			if !late {
				t.Error("no event says that nothing ran")
			}
		})
	}
}
