package gopool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem"
)

// owner is told of each task.
type owner struct{ told func(*tandem.Task) }

func (o *owner) Complete(ended []*tandem.Task) {
	for _, t := range ended {
		o.told(t)
	}
}

const stoppedApp = "TANDEM_TEST_STOPPED"

// The program that the next test stops: it asks a slow server, which goes on meanwhile.
func TestStoppedApp(t *testing.T) {
	if os.Getenv(stoppedApp) == "" {
		t.Skip("is run by TestStoppedForLongerThanTheTimeout")
	}
	answers := map[string]*os.File{}
	for i, name := range []string{"quick", "never"} {
		answers[name] = os.NewFile(uintptr(3+i), name)
	}
	p := New(Config{Name: "s", Concurrency: 2, Timeout: 700 * time.Millisecond, Handle: func(ctx context.Context, t *tandem.Task) tandem.Result {
		answer := make(chan struct{})
		go func() {
			_, _ = answers[t.ID].Read(make([]byte, 1))
			close(answer)
		}()
		select {
		case <-answer:
			return tandem.Give(t.Value)
		case <-ctx.Done():
			return tandem.Result{Outcome: tandem.Failed, Err: &tandem.Error{Message: ctx.Err().Error()}}
		}
	}})
	ended := make(chan error, 1)
	go func() { ended <- p.Run(context.Background()) }()
	<-p.Ready()
	done := make(chan struct{}, 2)
	for name := range answers {
		go func() {
			_, _ = p.Submit(context.Background(), []*tandem.Task{{ID: name, Owner: &owner{func(t *tandem.Task) {
				fmt.Printf("end %s %s\n", name, t.Result.Outcome)
				done <- struct{}{}
			}}}})
		}()
	}
	fmt.Println("busy")
	<-done
	<-done
	p.Close()
	if err := <-ended; err != nil {
		fmt.Println("end run", err)
	}
	os.Exit(0) // the reader of what never comes is still there
}

// This process is stopped for much longer than the timeout: what was answered meanwhile is taken, and what is not answered times out later.
func TestStoppedForLongerThanTheTimeout(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run", "^TestStoppedApp$")
	cmd.Env = append(os.Environ(), stoppedApp+"=1")
	var ends []*os.File
	for range 2 {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		cmd.ExtraFiles, ends = append(cmd.ExtraFiles, r), append(ends, w)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, r := range cmd.ExtraFiles {
		r.Close()
	}
	got := map[string]string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 1 && f[0] == "busy":
			time.Sleep(100 * time.Millisecond)
			if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			_ = cmd.Process.Signal(syscall.SIGCONT)
			time.Sleep(100 * time.Millisecond) // its timers have fired, if they do
			_, _ = ends[0].Write([]byte{1})
		case len(f) == 3 && f[0] == "end":
			got[f[1]] = f[2]
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got["quick"] != "ok" || got["never"] != "timed_out" {
		t.Errorf("%v", got)
	}
}

// The context says what context.WithTimeout's says.
func TestTheContextOfAnAttempt(t *testing.T) {
	p := New(Config{Name: "s", Timeout: 20 * time.Millisecond})
	var stop context.CancelCauseFunc
	p.ctx, stop = context.WithCancelCause(context.Background())
	ctx, cancel := p.within(time.Now())
	if at, ok := ctx.Deadline(); !ok || time.Until(at) > 20*time.Millisecond || ctx.Err() != nil {
		t.Errorf("deadline in %v, %v", time.Until(at), ctx.Err())
	}
	child, end := context.WithCancel(ctx)
	defer end()
	<-child.Done()
	if ctx.Err() != context.DeadlineExceeded || context.Cause(ctx) != context.DeadlineExceeded || context.Cause(child) != context.DeadlineExceeded {
		t.Errorf("%v, %v, %v", ctx.Err(), context.Cause(ctx), context.Cause(child))
	}
	cancel()
	ctx, cancel = p.within(time.Now())
	cancel()
	if ctx.Err() != context.Canceled {
		t.Errorf("canceled: %v", ctx.Err())
	}
	ctx, cancel = p.within(time.Now())
	defer cancel()
	why := errors.New("enough")
	stop(why)
	if ctx.Err() != context.Canceled || context.Cause(ctx) != why {
		t.Errorf("stopped: %v, %v", ctx.Err(), context.Cause(ctx))
	}
}
