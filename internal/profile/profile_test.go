package profile

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"tandem/internal/advise"
)

func sample() *Profile {
	m := &advise.Measurement{Wall: 2 * time.Second, CPU: time.Second, Cores: 2, Looks: 40, Functions: []advise.Function{{Runtime: "python", Name: "fetch", At: "a.py:3", State: "waits", Share: 1}},
		Peers: []advise.Peer{{Name: "10.0.0.1:80", Busy: -1, Wait: time.Second}},
		Threads: []advise.Thread{{PID: 7, TID: 7, Name: "main", Program: "job <b>", Life: 2 * time.Second, On: time.Second, Wait: map[advise.Cause]time.Duration{advise.Net: time.Second},
			Where: map[advise.Cause]map[string]time.Duration{advise.Net: {"10.0.0.1:80": 30, "10.0.0.2:80": 10}},
			Lane:  []advise.Span{{From: 0, To: time.Second, State: "cpu"}, {From: time.Second, To: 2 * time.Second, State: "network", Where: "10.0.0.1:80"}}}}}
	return &Profile{Command: "job", Measurement: m, Verdict: advise.Judge(m), Advice: "none"}
}

func written(t *testing.T, ending string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := sample().Write(&b, ending); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPage(t *testing.T) {
	text := string(written(t, ".html"))
	for _, want := range []string{"10.0.0.1:80", "fetch", "main 7 (job &lt;b&gt;)", "50.0 %"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the page", want)
		}
	}
}

// The weights of the stacks are the time of the threads, each wait divided by what it was for.
func TestSpeedscope(t *testing.T) {
	var s scope
	if err := json.Unmarshal(written(t, ".speedscope.json"), &s); err != nil {
		t.Fatal(err)
	}
	all := s.Profiles[0]
	got := map[string]float64{}
	sum := 0.0
	for i, stack := range all.Samples {
		sum += all.Weights[i]
		got[s.Shared.Frames[stack[len(stack)-1]].Name] += all.Weights[i]
	}
	if math.Abs(sum-2) > 1e-6 || math.Abs(all.End-2) > 1e-6 || got["cpu"] != 1 || math.Abs(got["10.0.0.1:80"]-.75) > 1e-6 || math.Abs(got["10.0.0.2:80"]-.25) > 1e-6 {
		t.Errorf("%v of %v, %v", got, sum, all.End)
	}
}

// Every packet can be read, and each slice that begins ends.
// Field numbers and kinds of perfetto.protos, as its readers know them.
const (
	packetEvent          = 11
	eventType, eventName = 9, 23
	sliceBegin, sliceEnd = 1, 2
)

func TestPerfetto(t *testing.T) {
	open, packets, names := 0, 0, 0
	walk(t, written(t, ".pftrace"), func(_ protowire.Number, _ uint64, packet []byte) {
		packets++
		walk(t, packet, func(n protowire.Number, _ uint64, body []byte) {
			if n != packetEvent {
				return
			}
			walk(t, body, func(n protowire.Number, x uint64, text []byte) {
				switch {
				case n == eventType && x == sliceBegin:
					open++
				case n == eventType && x == sliceEnd:
					open--
				case n == eventName && (string(text) == "cpu" || string(text) == "network"):
					names++
				}
			})
		})
	})
	if open != 0 || packets != 6 || names != 2 {
		t.Errorf("%d open, %d packets, %d names", open, packets, names)
	}
}

func walk(t *testing.T, b []byte, call func(n protowire.Number, x uint64, body []byte)) {
	t.Helper()
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			t.Fatal(protowire.ParseError(size))
		}
		b = b[size:]
		var x uint64
		var body []byte
		if kind == protowire.VarintType {
			x, size = protowire.ConsumeVarint(b)
		} else {
			body, size = protowire.ConsumeBytes(b)
		}
		if size < 0 {
			t.Fatal(protowire.ParseError(size))
		}
		call(n, x, body)
		b = b[size:]
	}
}
