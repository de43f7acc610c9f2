package live

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tandem"
)

func TestLife(t *testing.T) {
	for _, c := range []struct {
		state, name, wait, args string
		want                    Life
	}{
		{"R", "", "", "", Runnable},
		{"D", "read", "", "", Blocked},
		{"T", "", "", "", Blocked},
		{"Z", "", "", "", Terminated},
		{"S", "read", "", "0x3 0x0 0x0 0x0 0x0 0x0", Waiting},
		{"S", "clock_nanosleep", "", "", TimedWaiting},
		{"S", "futex", "", "0x7f 0x80 0x2 0x0 0x0 0x0", Waiting},
		{"S", "futex", "", "0x7f 0x189 0x2 0x7ffe 0x0 0x0", TimedWaiting},
		{"S", "futex", "", "0x7f 0x86 0x2 0x0 0x0 0x0", Blocked}, // FUTEX_LOCK_PI
		{"S", "epoll_wait", "", "0x4 0x7f 0x80 0xffffffff 0x0 0x0", Waiting},
		{"S", "epoll_pwait", "", "0x4 0x7f 0x80 0x3e8 0x0 0x0", TimedWaiting},
		{"S", "poll", "", "0x7f 0x1 0xffffffffffffffff 0x0 0x0 0x0", Waiting},
		{"S", "ppoll", "", "0x7f 0x1 0x7ffe 0x0 0x0 0x0", TimedWaiting},
		{"S", "pselect6", "", "0x1 0x0 0x0 0x0 0x7ffe 0x0", TimedWaiting},
		{"S", "flock", "", "0x3 0x2 0x0 0x0 0x0 0x0", Blocked},
		{"S", "fcntl", "", "0x3 0x7 0x0 0x0 0x0 0x0", Blocked},
		{"S", "wait4", "", "", Waiting},
		{"S", "", "hrtimer_nanosleep", "", TimedWaiting}, // the call is hidden from this user
		{"S", "", "futex_wait_queue", "", Waiting},
	} {
		call := append([]string{"0"}, strings.Fields(c.args)...)
		if got := lifeOf(tandem.ThreadView{State: c.state, Syscall: c.name, Wait: c.wait}, call); got != c.want {
			t.Errorf("%s %s(%s) is %s, want %s", c.state, c.name, c.args, got, c.want)
		}
	}
}

func TestLifeOfAWorker(t *testing.T) {
	of := func(all ...Life) (threads []Thread) {
		for _, l := range all {
			threads = append(threads, Thread{Life: l})
		}
		return threads
	}
	for _, c := range []struct {
		state    string
		threads  []Thread
		want     Life
		observed bool
	}{
		{"starting", of(Runnable), New, false},
		{"idle", of(Waiting), Waiting, false},
		{"suspect", of(Waiting), Blocked, false},
		{"dead", nil, Terminated, false},
		{"busy", nil, Runnable, false},
		{"busy", of(Waiting, Runnable), Runnable, true},
		{"busy", of(TimedWaiting, Waiting), TimedWaiting, true},
		{"busy", of(Waiting, Blocked), Blocked, true},
	} {
		if got, observed := LifeOf(c.state, c.threads); got != c.want || observed != c.observed {
			t.Errorf("%s is %s %v, want %s %v", c.state, got, observed, c.want, c.observed)
		}
	}
}

func TestLookAtOurselves(t *testing.T) {
	p, ok := Look(os.Getpid())
	if !ok || p.PID != os.Getpid() || p.Parent != os.Getppid() || p.UID != os.Getuid() || len(p.Command) == 0 || p.RSS < 1<<20 || p.Threads < 1 || p.Age > 10*time.Minute {
		t.Errorf("%+v, %v", p, ok)
	}
	if _, ok := Look(1 << 30); ok {
		t.Error("there is a process of that number")
	}
	if !slices.Contains(Ancestors(os.Getpid()), os.Getppid()) {
		t.Error("our parent is none of our ancestors")
	}
	if all := Threads(os.Getpid(), 3); len(all) != 3 || all[0].ID != os.Getpid() {
		t.Errorf("%+v", all)
	}
}

func TestListeners(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	all, err := Listeners(port)
	if err != nil || len(all) != 1 || all[0].Address != "127.0.0.1" || len(all[0].Holders) != 1 || all[0].Holders[0].PID != os.Getpid() {
		t.Errorf("%+v, %v", all, err)
	}
	l.Close()
	if all, err := Listeners(port); err != nil || len(all) != 0 {
		t.Errorf("after its end: %+v, %v", all, err)
	}
	six, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here: ", err)
	}
	defer six.Close()
	if all, err := Listeners(six.Addr().(*net.TCPAddr).Port); err != nil || len(all) != 1 || all[0].Address != "::1" {
		t.Errorf("%+v, %v", all, err)
	}
}
