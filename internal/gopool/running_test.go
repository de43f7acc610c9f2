package gopool

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"tandem"
)

func TestRunningShowsTheLongestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Handle: handler("sleep"), Concurrency: 50, Timeout: time.Hour})
		ended := make(chan error, 1)
		go func() { ended <- p.Run(context.Background()) }()
		<-p.Ready()
		c := &collect{ended: map[*tandem.Task]int{}}
		for i := range 30 {
			task := &tandem.Task{ID: fmt.Sprint("item ", i), Value: tandem.TextValue("1m"), Owner: c}
			if _, err := p.Submit(context.Background(), []*tandem.Task{task}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		got, total := p.Running(3)
		if total != 30 || len(got) != 3 || got[0].Item != "item 0" || got[2].Item != "item 2" || got[0].Seconds < 29.9 || got[0].Seconds > 30.1 {
			t.Errorf("%+v of %d", got, total)
		}
		time.Sleep(45 * time.Second) // half of them have ended
		if got, total := p.Running(100); total >= 30 || total == 0 || len(got) != total {
			t.Errorf("%d of %d", len(got), total)
		}
		p.Close()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if got, total := p.Running(3); total != 0 || len(got) != 0 {
			t.Errorf("after the end: %+v of %d", got, total)
		}
	})
}

// A handler that does not listen is not shown with the task that has ended without it.
func TestRunningForgetsWhatHasTimedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{Handle: handler("deaf"), Concurrency: 2, Timeout: time.Second})
		ended := make(chan error, 1)
		go func() { ended <- p.Run(context.Background()) }()
		<-p.Ready()
		c := &collect{ended: map[*tandem.Task]int{}}
		if _, err := p.Submit(context.Background(), []*tandem.Task{{ID: "x", Value: tandem.TextValue("4s"), Owner: c}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Millisecond)
		if _, total := p.Running(9); total != 1 {
			t.Errorf("%d run", total)
		}
		time.Sleep(2 * time.Second)
		if _, total := p.Running(9); total != 0 {
			t.Errorf("%d are shown though none is wanted any more", total)
		}
		p.Close()
		<-ended
	})
}
