package cluster

import (
	"context"
	"strconv"
	"testing"
	"time"

	"tandem"
	"tandem/engine"
	"tandem/internal/proc"
	"tandem/internal/queue/jetstream"
)

// What an item costs on its way through a step that does nothing, on one node and one server of this process: as it is, split into two (a record each), and with a bound
// for each key (a place each): go test -bench Item -run '^$' -benchtime 8000x ./internal/cluster
func BenchmarkItem(b *testing.B) {
	for _, c := range []struct {
		name   string
		pieces int
		key    func(*tandem.Task) (string, error)
	}{
		{"plain", 1, nil},
		{"split", 2, nil},
		{"keys", 1, func(t *tandem.Task) (string, error) { return string(t.Value.Data), nil }},
		{"ten-keys", 1, func(t *tandem.Task) (string, error) { return t.ID[len(t.ID)-1:], nil }},
	} {
		b.Run(c.name, func(b *testing.B) { passes(b, c.pieces, c.key) })
	}
}

func passes(b *testing.B, pieces int, key func(*tandem.Task) (string, error)) {
	s, err := jetstream.Serve(jetstream.ServerConfig{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	e, err := s.Connect()
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	h, err := Open(b.Context(), e)
	if err != nil {
		b.Fatal(err)
	}
	f := engine.Func{Default: 64, Do: func(_ context.Context, t *tandem.Task) tandem.Result {
		r := tandem.Give(t.Value)
		for range pieces - 1 {
			r.Rest = append(r.Rest, t.Value)
		}
		r.Count = pieces
		return r
	}}
	step := engine.Step{Name: "one", Handler: f}
	if key != nil {
		step.PerKey = engine.PerKey{Key: key, Concurrency: 8}
	}
	ctx, cancel := context.WithCancel(b.Context())
	n := NewNode(h, NodeConfig{Name: "n", Cores: 2, Cache: b.TempDir(), Build: func(context.Context, string, Manifest, int) (engine.Flow, error) {
		return engine.Flow{Name: "test", Steps: []engine.Step{step}}, nil
	}})
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	defer func() { cancel(); <-done }()
	name, packed, err := Bundle(b.TempDir(), nil)
	if err == nil {
		err = h.Store(ctx, name, packed)
	}
	m := Manifest{Version: Version, Run: "run" + strconv.Itoa(b.N), Flow: "one", Bundle: name, State: Active, Created: time.Now(), Window: Window, Steps: []Step{{Name: "one"}}}
	if err == nil {
		err = h.Create(ctx, m)
	}
	if err != nil {
		b.Fatal(err)
	}
	to := newLines()
	before := proc.SelfCPU()
	b.ResetTimer()
	if _, err := submit(ctx, h, m, b.TempDir(), b.N, to); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64((proc.SelfCPU()-before).Microseconds())/float64(b.N), "cpu-µs/op")
	if to.count() != b.N*pieces {
		b.Errorf("%d lines, want %d", to.count(), b.N*pieces)
	}
}
