package jetstream

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem"
)

var (
	kills = flag.Int("kills", 3, "how often the process with the queue inside is killed, at each level")
	puts  = flag.Int("puts", 0, "go on killing until so many puts were acknowledged; at level power a tenth of it")
)

// TestChildOfKills is the process that is killed: server, sender and worker in one. It tells a file what it does, a line at a time, and each line is with the
// kernel before the next thing is done: "p FIRST LAST" was put, "t ID…" was taken, "s ID…" Done is called, "d MILLIS ID…" Done has confirmed.
func TestChildOfKills(t *testing.T) {
	spec := strings.Fields(os.Getenv("TANDEM_TEST_KILLS"))
	if len(spec) == 0 {
		t.Skip("only as the child of TestKills")
	}
	dir, level, from, drain := spec[0], Level(spec[1]), spec[2], spec[3] == "drain"
	log, err := os.OpenFile(filepath.Join(dir, "log"), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	say := func(line string) {
		if _, err := log.WriteString(line + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Serve(ServerConfig{Dir: filepath.Join(dir, "js"), Level: level})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	q, err := e.Open(t.Context(), tandem.QueueConfig{Name: "kills", Items: 5000, Lease: 3 * time.Second, Attempts: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	var sending sync.WaitGroup
	defer sending.Wait()
	if !drain {
		sending.Go(func() {
			n, _ := strconv.Atoi(from)
			for {
				var lot []tandem.Message
				for i := range 256 {
					lot = append(lot, tandem.Message{ID: strconv.Itoa(n + i), Body: bytes.Repeat([]byte{byte(n)}, 200)})
				}
				if err := q.Put(context.Background(), lot...); err != nil {
					t.Error(err)
					return
				}
				say(fmt.Sprint("p ", n, " ", n+255))
				n += 256
			}
		})
	}
	for {
		within, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		leases, err := q.Take(within, 256)
		cancel()
		if err != nil {
			if s, serr := q.Stats(t.Context()); drain && serr == nil && s.Ready+s.Leased == 0 {
				return
			}
			if drain && within.Err() != nil {
				continue
			}
			t.Fatal(err)
		}
		all := strings.Join(ids(leases), " ")
		say("t " + all)
		say("s " + all)
		if err := q.Done(t.Context(), leases...); err != nil {
			t.Log(err) // a lease lapsed under load: not confirmed
			continue
		}
		say(fmt.Sprint("d ", time.Now().UnixMilli(), " ", all))
	}
}

func ids(leases []tandem.Lease) (list []string) {
	for _, l := range leases {
		list = append(list, l.Message().ID)
	}
	return list
}

// TestKills kills -9 that process at random moments and starts it again, on the same files. Nothing that Put had acknowledged may be lost, and at level process
// nothing that Done had confirmed may come again. At level power only what was confirmed in the last moment may.
func TestKills(t *testing.T) {
	for _, level := range []Level{Process, Power} {
		t.Run(string(level), func(t *testing.T) {
			t.Parallel()
			want := *puts
			if level == Power {
				want /= 10
			}
			killAndJudge(t, level, want)
		})
	}
}

func killAndJudge(t *testing.T, level Level, want int) {
	dir := t.TempDir()
	child := func(from int, how string) (*exec.Cmd, *bytes.Buffer) {
		c := exec.Command(os.Args[0], "-test.run", "^TestChildOfKills$", "-test.timeout", "10m")
		c.Env = append(os.Environ(), fmt.Sprint("TANDEM_TEST_KILLS=", dir, " ", level, " ", from, " ", how))
		var said bytes.Buffer
		c.Stdout, c.Stderr = &said, &said
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c, &said
	}
	j := judge{put: map[int]bool{}, begun: map[int]bool{}, confirmed: map[int]int64{}}
	killed := 0
	for ; killed < *kills || len(j.put) < want; killed++ {
		before := len(j.put)
		c, said := child((killed+1)*100_000_000, "work")
		for end := time.Now().Add(time.Minute); len(j.put) == before; time.Sleep(20 * time.Millisecond) { // it works
			if j.read(t, dir); time.Now().After(end) {
				_ = c.Process.Kill()
				_ = c.Wait()
				t.Fatalf("the process puts nothing: %s", said)
			}
		}
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Millisecond)
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		j.killed = append(j.killed, time.Now().UnixMilli())
		if err := c.Wait(); c.ProcessState.ExitCode() != -1 {
			t.Fatalf("it ended by itself: %v\n%s", err, said)
		}
		j.read(t, dir)
	}
	c, said := child(0, "drain")
	if err := c.Wait(); err != nil {
		t.Fatalf("drain what is left: %v\n%s", err, said)
	}
	j.read(t, dir)
	lost := 0
	for id := range j.put {
		if !j.begun[id] {
			lost++
		}
	}
	t.Logf("%d kills, %d puts acknowledged, %d lost; %d tasks confirmed, %d of them came again, the oldest confirmed %d ms before a kill",
		killed, len(j.put), lost, len(j.confirmed), j.again, j.oldest)
	if lost > 0 {
		t.Errorf("%d acknowledged puts are lost", lost)
	}
	if level == Process && j.again > 0 {
		t.Errorf("%d confirmed tasks came again", j.again)
	}
	if level == Power && j.oldest > 2000 { // 100 ms on a quiet machine
		t.Errorf("a task came again that was confirmed %d ms before a kill", j.oldest)
	}
	if len(j.confirmed) == 0 {
		t.Error("nothing was confirmed: the test tests nothing")
	}
}

// judge reads the log as it grows.
type judge struct {
	offset    int64
	put       map[int]bool
	begun     map[int]bool
	confirmed map[int]int64 // when
	killed    []int64
	again     int
	oldest    int64 // ms from the confirmation of one that came again to the kill after it
}

func (j *judge) read(t *testing.T, dir string) {
	f, err := os.Open(filepath.Join(dir, "log"))
	if err != nil {
		return // it has not begun
	}
	defer f.Close()
	if _, err := f.Seek(j.offset, 0); err != nil {
		t.Fatal(err)
	}
	for r := bufio.NewReaderSize(f, 1<<16); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		j.offset += int64(len(line))
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		numbers := make([]int, 0, len(words))
		for _, w := range words[1:] {
			n, err := strconv.Atoi(w)
			if err != nil {
				t.Fatalf("a line of the log: %q", line)
			}
			numbers = append(numbers, n)
		}
		j.hear(words[0], numbers)
	}
}

func (j *judge) hear(what string, numbers []int) {
	switch what {
	case "p":
		for id := numbers[0]; id <= numbers[1]; id++ {
			j.put[id] = true
		}
	case "t":
		for _, id := range numbers {
			at, ok := j.confirmed[id]
			if !ok {
				continue
			}
			j.again++
			for _, k := range j.killed {
				if k >= at {
					j.oldest = max(j.oldest, k-at)
					break
				}
			}
		}
	case "s":
		for _, id := range numbers {
			j.begun[id] = true
		}
	case "d":
		for _, id := range numbers[1:] {
			j.confirmed[id] = int64(numbers[0])
		}
	}
}
