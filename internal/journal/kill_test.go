package journal

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem"
)

// child is the test binary as another process: it appends to a journal until it is killed, or cannot write any more.
func child(what string) {
	path := os.Args[1]
	switch what {
	case "append":
		childAppends(path)
	case "limited":
		signal.Ignore(syscall.SIGXFSZ)
		lim := syscall.Rlimit{Cur: 300_000, Max: 300_000}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &lim); err != nil {
			fmt.Println("bad", err)
			return
		}
		childAppends(path)
	case "hold":
		j, _, err := Resume(path, Config{})
		if err != nil {
			fmt.Println("bad", err)
			return
		}
		fmt.Println("ready")
		time.Sleep(time.Minute)
		j.Close()
	}
}

func item(i int) string { return "item-" + strconv.Itoa(i) }

// gives is what step n gives for item i: from no value to 2 KB.
func gives(i, n int) Finished {
	f := Finished{Item: item(i), Step: n}
	for v := range (i + n) % 4 {
		f.Values = append(f.Values, tandem.Value{Kind: tandem.Kind(v % 4), Data: []byte(strings.Repeat(fmt.Sprint(i, " ", n, " ", v, "\n"), i%50))})
	}
	return f
}

// childAppends ends items in order, several in a transaction, while two goroutines note steps ahead of it. It acknowledges each transaction in a line.
func childAppends(path string) {
	j, s, err := Resume(path, Config{Sync: rand.IntN(4) == 0})
	if errors.Is(err, os.ErrNotExist) || err != nil && strings.Contains(err.Error(), "before it wrote anything") {
		j, err = Create(path, Header{Flow: "kill", PID: os.Getpid()}, Config{})
	}
	if err != nil {
		fmt.Println("bad", err)
		return
	}
	next := 0
	if s != nil {
		next = int(s.Position / 10)
	}
	fmt.Println("ready")
	ready := make(chan int, 4)
	var wg sync.WaitGroup
	for from := next; ; {
		n := 1 + rand.IntN(20)
		for g := range 2 {
			wg.Go(func() {
				for i := from + g; i < from+n; i += 2 {
					j.Steps([]Finished{gives(i, 0)})
					j.Steps([]Finished{gives(i, 1), gives(i, 2)})
				}
			})
		}
		wg.Wait()
		select {
		case ready <- n:
		default:
			// Forty items or so stay without an outcome at any time.
			var list []*tandem.Task
			m := <-ready
			ready <- n
			for i := next; i < next+m; i++ {
				list = append(list, tasks(tandem.Outcomes[i%2], item(i))...)
			}
			next += m
			if err := j.Ended(list, []string{"whole-" + strconv.Itoa(next)}, int64(next)*10); err != nil {
				fmt.Println("bad", err)
				return
			}
			fmt.Println(next)
		}
		from += n
	}
}

func run(t *testing.T, what, path string) (cmd *exec.Cmd, lines *bufio.Scanner) {
	t.Helper()
	cmd = exec.Command(os.Args[0], path)
	cmd.Env = append(os.Environ(), "TANDEM_TEST_JOURNAL="+what)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, bufio.NewScanner(out)
}

func TestKilledAgainAndAgain(t *testing.T) {
	kills := 60
	path := filepath.Join(t.TempDir(), "journal")
	acked, torn, inFlight := 0, 0, 0
	for kill := range kills {
		if kill%8 == 0 {
			_ = os.Remove(path) // also a journal that has just begun
			acked = 0
		}
		cmd, lines := run(t, "append", path)
		if kill%8 != 0 { // else it may die before its first byte
			lines.Scan()
		}
		timer := time.AfterFunc(time.Duration(rand.IntN(60_000))*time.Microsecond, func() { cmd.Process.Kill() })
		for lines.Scan() {
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				acked = n
			} else if lines.Text() != "ready" {
				t.Fatalf("kill %d: the child says %s", kill, lines.Text())
			}
		}
		timer.Stop()
		cmd.Wait()

		j, s, err := Resume(path, Config{})
		if err != nil {
			if e, ok := errors.AsType[*tandem.Error](err); acked == 0 && ok && strings.Contains(e.Hint, "without --resume") {
				continue
			}
			t.Fatalf("kill %d after item %d: %v", kill, acked, err)
		}
		if s.Cut > 0 {
			torn++
		}
		n := int(s.Position / 10)
		if n < acked {
			t.Fatalf("kill %d: items up to %d had ended, the journal knows %d", kill, acked, n)
		}
		if s.Counts[tandem.OK] != int64(n+1)/2 || s.Counts[tandem.Failed] != int64(n)/2 {
			t.Fatalf("kill %d: position says %d items, counts say %v", kill, n, s.Counts)
		}
		if n > 0 && !s.Has("whole-"+strconv.Itoa(n)) {
			t.Fatalf("kill %d: the transaction of item %d is not whole", kill, n)
		}
		for i := range n {
			if !s.Has(item(i)) {
				t.Fatalf("kill %d: item %d of %d is not there", kill, i, n)
			}
		}
		begun := 0
		for i := n; i < n+500; i++ {
			list, err := s.Finished(item(i))
			if err != nil || s.Has(item(i)) {
				t.Fatalf("kill %d: item %d had not ended: %v", kill, i, err)
			}
			for _, f := range list {
				if want := gives(i, f.Step); show([]Finished{f}) != show([]Finished{want}) {
					t.Fatalf("kill %d: item %d was given\n%swant\n%s", kill, i, show(list), show([]Finished{want}))
				}
			}
			if len(list) > 0 {
				begun++
			}
		}
		if begun != s.Begun() {
			t.Fatalf("kill %d: %d items have begun, %d of them right", kill, s.Begun(), begun)
		}
		inFlight += begun
		acked = n // Resume cut the rest off
		closed(t, j)
	}
	if inFlight == 0 {
		t.Error("no kill met an item between two steps: the test tests nothing")
	}
	t.Logf("%d kills, %d torn ends, %d items between two steps, %d items in the last journal", kills, torn, inFlight, acked)
}

func TestTheHolderIsNamed(t *testing.T) {
	j, path := started(t, Config{})
	check := func(err error, pid int) {
		t.Helper()
		e, ok := errors.AsType[*tandem.Error](err)
		if !ok || e.On != path || !strings.Contains(e.Message, fmt.Sprintf("process %d is writing it", pid)) || !strings.Contains(e.Hint, fmt.Sprint("kill ", pid)) {
			t.Errorf("%v, want the process %d", err, pid)
		}
	}
	_, _, err := Resume(path, Config{})
	check(err, os.Getpid())
	closed(t, j)

	cmd, lines := run(t, "hold", path)
	if !lines.Scan() || lines.Text() != "ready" {
		t.Fatal(lines.Text())
	}
	_, _, err = Resume(path, Config{})
	check(err, cmd.Process.Pid)
	before, _ := os.ReadFile(path)
	_, err = Create(path, Header{}, Config{})
	check(err, cmd.Process.Pid)
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Error("a journal that is in use was changed")
	}
	cmd.Process.Kill()
	cmd.Wait()
	j, _ = resumed(t, path)
	closed(t, j)
}

// full checks what a disk without room leaves: an error that stays, and a journal that goes on when there is room again.
func full(t *testing.T, path string, acked int) {
	t.Helper()
	if acked == 0 {
		t.Fatal("nothing was acknowledged: the disk was full too early")
	}
	_, s := resumed(t, path)
	if n := int(s.Position / 10); n != acked || s.Counts[tandem.OK]+s.Counts[tandem.Failed] != int64(n) {
		t.Errorf("%d items were acknowledged, the journal knows %d, counts %v", acked, n, s.Counts)
	}
	if s.Cut != 0 {
		t.Errorf("%d bytes of a frame without room were left", s.Cut)
	}
}

func TestFileSizeLimit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	_, lines := run(t, "limited", path)
	acked := 0
	for lines.Scan() {
		if n, err := strconv.Atoi(lines.Text()); err == nil {
			acked = n
		} else if said := lines.Text(); said != "ready" && said != "bad write the journal "+path+": file too large" {
			t.Fatal(said)
		}
	}
	full(t, path, acked)
}
