package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestLatenciesAreSpreadAndTheSameForAll(t *testing.T) {
	least, most := 80*time.Millisecond, 400*time.Millisecond
	quarters := [4]int{}
	for k := range 200 {
		d := latencyOf(k, least, most)
		if d < least || d >= most {
			t.Fatalf("latency %d is %v", k, d)
		}
		quarters[4*(d-least)/(most-least)]++
	}
	for i, n := range quarters {
		if n < 48 || n > 52 {
			t.Errorf("quarter %d holds %d of 200: not even", i, n)
		}
	}
	if mean := waitOf(200, least, most) / 200; mean < 238*time.Millisecond || mean > 242*time.Millisecond {
		t.Errorf("the mean latency is %v, want about 240 ms", mean)
	}
}

func post(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("{}"))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

func TestAPIHoldsUntilAllAreInFlight(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := startAPI(ctx, time.Millisecond, 2*time.Millisecond, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	errs := make([]error, 3)
	var clients sync.WaitGroup
	for i := range 2 {
		clients.Go(func() { errs[i] = post(ctx, s.address) })
	}
	for {
		seen, err := statsOf(ctx, s)
		if err != nil {
			t.Fatal(err)
		}
		if seen.InFlight == 2 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	time.Sleep(30 * time.Millisecond)
	if seen, _ := statsOf(ctx, s); seen.InFlight != 2 {
		t.Errorf("%d in flight: one was answered before three were there", seen.InFlight)
	}
	clients.Go(func() { errs[2] = post(ctx, s.address) })
	clients.Wait()
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	seen, err := statsOf(ctx, s)
	want := apiStats{Requests: 3, Answered: 3, Peak: 3, Wait: waitOf(3, time.Millisecond, 2*time.Millisecond)}
	if err != nil || seen != want {
		t.Errorf("the API counted %+v, %v; want %+v", seen, err, want)
	}
}

func TestAPIWithSlotsLetsTheOthersWait(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := startServer(ctx, "serve-api", "-least", "20ms", "-most", "20ms", "-slots", "2")
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	begin, errs := time.Now(), make([]error, 6)
	var clients sync.WaitGroup
	for i := range errs {
		clients.Go(func() { errs[i] = post(ctx, s.address) })
	}
	clients.Wait()
	took := time.Since(begin)
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if took < 60*time.Millisecond {
		t.Errorf("six requests of 20 ms took %v in two slots", took)
	}
}
