package jetstream

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"tandem"
	"tandem/tandemtest"
)

func TestEmbedded(t *testing.T) {
	for _, level := range []Level{Process, Power} {
		t.Run(string(level), func(t *testing.T) {
			s, err := Serve(ServerConfig{Dir: t.TempDir(), Level: level})
			if err != nil {
				t.Fatal(err)
			}
			e, err := s.Connect()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := e.Close(); err != nil {
					t.Error(err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			exercise(t, e)
		})
	}
}

func exercise(t *testing.T, e *Engine) {
	tandemtest.ExerciseQueue(t, func(t *testing.T, cfg tandem.QueueConfig) tandem.Queue {
		q, err := e.Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = q.Close() })
		return q
	})
}

// cluster starts three servers that know each other, each with a port for clients.
func cluster(t *testing.T, level Level) []*Server {
	t.Helper()
	ports := freePorts(t, 6)
	all := make([]*Server, 3)
	var starting sync.WaitGroup
	for i := range 3 {
		var routes []string
		for j := range 3 {
			if j != i {
				routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[j]))
			}
		}
		cfg := ServerConfig{Dir: t.TempDir(), Name: fmt.Sprint("n", i), Level: level, Listen: fmt.Sprintf("127.0.0.1:%d", ports[3+i]),
			Cluster: fmt.Sprintf("127.0.0.1:%d", ports[i]), Routes: routes}
		starting.Go(func() {
			s, err := Serve(cfg)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = s.Close() })
			all[i] = s
		})
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return all
}

func TestCluster(t *testing.T) {
	servers := cluster(t, Process)
	e, err := Connect(servers[0].URL()+","+servers[1].URL()+","+servers[2].URL(), Config{Replicas: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	if err := e.Await(t.Context(), 30*time.Second); err != nil {
		t.Fatal(err)
	}
	exercise(t, e)
}
