package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"sync"
	"time"
)

// api is a slow HTTP service with known latencies: what the uploads of the hybrid job and the 10,000 requests in flight talk to.
//
// With hold, no request is answered before that many are in flight at once, so that a reader of memory finds them all. With slots, that many are
// worked on at a time; the others wait their turn.
type api struct {
	least, most time.Duration
	hold        int
	full        chan struct{} // closed when hold have been in flight
	slots       chan struct{} // a place for each that may be worked on; nil means any number

	mu    sync.Mutex
	stats apiStats
}

// apiStats is what GET /stats answers.
type apiStats struct {
	Requests int           `json:"requests"` // all so far
	Answered int           `json:"answered"`
	InFlight int           `json:"in_flight"`
	Peak     int           `json:"peak"` // most in flight at once
	Wait     time.Duration `json:"wait"` // sum of the latencies given, in ns
}

// latencyOf is the latency of the k-th request, from 0: spread evenly between least and most (steps of the golden ratio), in the same order
// for everyone, so that all candidates wait the same in total.
func latencyOf(k int, least, most time.Duration) time.Duration {
	_, part := math.Modf(float64(k+1) * 0.6180339887498949)
	return least + time.Duration(part*float64(most-least))
}

// waitOf is the sum of the latencies of n requests.
func waitOf(n int, least, most time.Duration) (sum time.Duration) {
	for k := range n {
		sum += latencyOf(k, least, most)
	}
	return sum
}

func (a *api) arrive() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	wait := latencyOf(a.stats.Requests, a.least, a.most)
	a.stats.Requests++
	a.stats.InFlight++
	a.stats.Peak = max(a.stats.Peak, a.stats.InFlight)
	a.stats.Wait += wait
	if a.stats.InFlight == a.hold {
		close(a.full)
		a.hold = 0 // once
	}
	return wait
}

func (a *api) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.InFlight--
	a.stats.Answered++
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/stats" {
		a.mu.Lock()
		s := a.stats
		a.mu.Unlock()
		_ = json.NewEncoder(w).Encode(s) // the reader has gone: nobody to tell
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	wait := a.arrive()
	defer a.leave()
	if a.full != nil {
		select {
		case <-a.full:
		case <-r.Context().Done():
			return
		}
	}
	if a.slots != nil {
		select {
		case a.slots <- struct{}{}:
			defer func() { <-a.slots }()
		case <-r.Context().Done():
			return
		}
	}
	nap(r.Context(), wait)
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"stored":true}`)
}

// serveAPI is the second process.
func serveAPI(args []string) error {
	f := flag.NewFlagSet("serve-api", flag.ContinueOnError)
	a := &api{}
	f.DurationVar(&a.least, "least", 0, "shortest latency")
	f.DurationVar(&a.most, "most", 0, "longest latency")
	f.IntVar(&a.hold, "hold", 0, "answer nobody before so many are in flight")
	slots := f.Int("slots", 0, "work on so many at a time; 0 means any number")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *slots > 0 {
		a.slots = make(chan struct{}, *slots)
	}
	if a.hold > 0 {
		a.full = make(chan struct{})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serve the API: %w", err)
	}
	s := &http.Server{Handler: a}
	go func() {
		untilStdinEnds()
		_ = s.Close() // who is still waiting gets a reset
	}()
	fmt.Printf("http://%s/\n", l.Addr())
	if err := s.Serve(l); err != http.ErrServerClosed {
		return fmt.Errorf("serve the API: %w", err)
	}
	return nil
}

func startAPI(ctx context.Context, least, most time.Duration, hold int) (*server, error) {
	return startServer(ctx, "serve-api", "-least", least.String(), "-most", most.String(), "-hold", fmt.Sprint(hold))
}

// statsOf asks a running API what it has seen.
func statsOf(ctx context.Context, s *server) (got apiStats, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.address+"stats", nil)
	if err != nil {
		return got, fmt.Errorf("ask the API: %w", err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return got, fmt.Errorf("ask the API: %w", err)
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(&got); err != nil {
		return got, fmt.Errorf("ask the API: %s/stats: %w", s.address, err)
	}
	return got, nil
}
