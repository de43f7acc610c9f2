package cli

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var allFaults = flag.Bool("faults", false, "TestNamespaces tries every fault, not only two")

// island is three network namespaces on a bridge: machines with addresses of their own, as far as the network goes.
type island struct {
	t     *testing.T
	name  string // of the bridge, and the first part of the others
	nodes []string

	stores string // where the servers of the nodes store
}

func ip(args ...string) error {
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// newIsland makes them, or skips the test where it may not.
func newIsland(t *testing.T) *island {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("NOT TESTED: there is no ip (iproute2)")
	}
	sweepIslands()
	i := &island{t: t, name: fmt.Sprintf("tdm%d", os.Getpid()), nodes: []string{"a", "b", "c"}}
	t.Cleanup(i.remove)
	all := [][]string{{"link", "add", i.name, "type", "bridge"}, {"addr", "add", i.address("") + "/24", "dev", i.name}, {"link", "set", i.name, "up"}}
	for _, n := range i.nodes {
		ns, link := i.name+n, i.link(n)
		all = append(all, [][]string{{"netns", "add", ns}, {"link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", ns}, {"link", "set", link, "master", i.name},
			{"link", "set", link, "up"}, {"-n", ns, "addr", "add", i.address(n) + "/24", "dev", "eth0"}, {"-n", ns, "link", "set", "eth0", "up"}, {"-n", ns, "link", "set", "lo", "up"}}...)
	}
	for _, args := range all {
		if err := ip(args...); err != nil {
			t.Skipf("NOT TESTED: this machine does not let us make network namespaces: %v", err)
		}
	}
	return i
}

func (i *island) link(node string) string { return i.name + node + "v" }

// address is that of a node, or of this machine on the bridge for "". Islands of tests that run at the same time must not be one network.
func (i *island) address(node string) string {
	host := 1
	if node != "" {
		host = 11 + int(node[0]-'a')
	}
	return fmt.Sprintf("10.213.%d.%d", os.Getpid()%250, host)
}

func (i *island) remove() {
	for _, n := range i.nodes {
		_ = ip("link", "del", i.link(n))
		_ = ip("netns", "del", i.name+n)
	}
	_ = ip("link", "del", i.name+"s") // of a slow link
	_ = ip("link", "del", i.name)
}

// sweepIslands removes those of tests that were killed before they could.
func sweepIslands() {
	all, _ := filepath.Glob("/sys/class/net/tdm*")
	for _, path := range all {
		name := filepath.Base(path)
		if pid, err := strconv.Atoi(strings.TrimPrefix(name, "tdm")); err == nil && syscall.Kill(pid, 0) != nil {
			(&island{name: name, nodes: []string{"a", "b", "c"}}).remove()
		}
	}
}

// party starts three nodes on the island whose own servers make a cluster, and a run on them. What comes before the nodes may be nil.
func (i *island) party(t *testing.T, before func(*party)) *party {
	p := newParty(t)
	p.wrap = func(name string) []string {
		if name == "submit" {
			return nil
		}
		return []string{"ip", "netns", "exec", i.name + name}
	}
	var urls []string
	for _, n := range i.nodes {
		urls = append(urls, "nats://"+i.address(n)+":4222")
	}
	p.nats = strings.Join(urls, ",")
	stores := t.TempDir() // not in the flow's directory, which travels
	i.stores = stores
	if before != nil {
		before(p)
	}
	p.args = func(name string) []string {
		var routes []string
		for _, n := range i.nodes {
			if n != name {
				routes = append(routes, "nats://"+i.address(n)+":6222")
			}
		}
		return []string{"--store", filepath.Join(stores, name), "--listen", i.address(name) + ":4222", "--cluster", i.address(name) + ":6222", "--routes", strings.Join(routes, ",")}
	}
	for _, n := range i.nodes {
		p.node(n)
	}
	for _, n := range i.nodes {
		for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if b, _ := os.ReadFile(filepath.Join(p.dir, n+".log")); strings.Contains(string(b), "node "+n+":") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("node %s does not start\n%s", n, p.logs())
			}
		}
	}
	p.submit()
	return p
}

// queues says what the streams of the run hold, for a run that does not get on.
func (p *party) queues() string {
	nc, err := nats.Connect(p.nats, nats.Timeout(15*time.Second))
	if err != nil {
		return "no server answers: " + err.Error()
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err.Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var all strings.Builder
	streams := js.ListStreams(ctx)
	for s := range streams.Info() {
		fmt.Fprintf(&all, "%s: %d messages, %d to %d, led by %s\n", s.Config.Name, s.State.Msgs, s.State.FirstSeq, s.State.LastSeq, s.Cluster.Leader)
		if !strings.Contains(s.Config.Name, p.submitted()) {
			continue
		}
		st, err := js.Stream(ctx, s.Config.Name)
		if err != nil {
			fmt.Fprintln(&all, "  ", err)
			continue
		}
		consumers := st.ListConsumers(ctx)
		for c := range consumers.Info() {
			fmt.Fprintf(&all, "   %s: %d pending, %d unacknowledged, %d redelivered, delivered to %d, floor %d, %d wait, led by %s\n", c.Name, c.NumPending, c.NumAckPending, c.NumRedelivered, c.Delivered.Stream,
				c.AckFloor.Stream, c.NumWaiting, c.Cluster.Leader)
		}
		if s.State.Msgs > 0 && s.State.Msgs < 20 {
			for n := s.State.FirstSeq; n <= s.State.LastSeq; n++ {
				if m, err := st.GetMsg(ctx, n); err == nil {
					fmt.Fprintf(&all, "   %d: %s, stored %s, %.200s\n", n, m.Header.Get("Tandem-Id"), m.Time.Format(time.TimeOnly), m.Data)
				}
			}
		}
	}
	if err := streams.Err(); err != nil {
		fmt.Fprintln(&all, err)
	}
	return all.String()
}

// leader is the node whose server leads the stream of the first step.
func (i *island) leader(p *party) string {
	p.t.Helper()
	nc, err := nats.Connect(p.nats)
	if err != nil {
		p.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		p.t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(p.t.Context(), time.Second) // who is asked before there is a leader never answers
		s, err := js.Stream(ctx, "tandem-"+p.submitted()+"-step-fan")
		cancel()
		if err == nil && s.CachedInfo().Cluster.Leader != "" {
			if n := s.CachedInfo().Config.Replicas; n != 3 {
				p.t.Errorf("the stream has %d copies, want 3", n)
			}
			return s.CachedInfo().Cluster.Leader
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the first step's stream has no leader: %v\n%s", err, p.logs())
		}
	}
}

// Nodes with addresses of their own, and what a network and machines do to them. After each fault every item has one line.
func TestNamespaces(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("NOT TESTED: python3 is not here")
	}
	isle := newIsland(t)
	for _, fault := range []struct {
		name   string
		every  bool           // only with -faults
		before func(p *party) // before the nodes start; may be nil
		do     func(t *testing.T, p *party)
	}{
		{"kill -9 of the leader's node", false, nil, func(t *testing.T, p *party) {
			n := isle.leader(p)
			at := time.Now()
			p.kill(n)
			t.Logf("killed %s, which led the first step's stream", n)
			p.finish(3 * time.Minute)
			took, items := p.elsewhere(n, at)
			t.Logf("%d items that it had begun were begun elsewhere, the last after %v", items, took.Round(10*time.Millisecond))
			if *allFaults && took > 10*time.Second {
				t.Errorf("its items were begun elsewhere after %v, want at most 10s", took)
			}
		}},
		{"partition and heal", true, nil, func(t *testing.T, p *party) {
			n := isle.leader(p)
			isle.must(t, ip("link", "set", isle.link(n), "down"))
			p.advance(20, time.Minute)
			time.Sleep(8 * time.Second) // past the lease
			isle.must(t, ip("link", "set", isle.link(n), "up"))
		}},
		{"kill -9 of another node, and back", true, nil, func(t *testing.T, p *party) {
			for _, n := range isle.nodes {
				if n != isle.leader(p) {
					p.kill(n)
					p.advance(20, time.Minute)
					p.node(n)
					break
				}
			}
		}},
		{"slow link", true, nil, func(t *testing.T, p *party) {
			defer isle.slow(t, "b", wire{delay: 60 * time.Millisecond, jitter: 20 * time.Millisecond, loss: 0.02, rate: 1 << 18, queue: 500})()
			p.advance(200, 2*time.Minute)
		}},
		{"full disk of a node, and room again", true, func(p *party) {
			small(p.t, filepath.Join(isle.stores, "b"))
			for _, n := range isle.nodes { // so that the run is not over before there is room again
				p.env[n] = "KILL_PAUSE=0.3"
			}
		}, func(t *testing.T, p *party) {
			empty := fill(t, filepath.Join(isle.stores, "b"))
			p.hears("b", "cannot store", time.Minute)
			p.advance(60, time.Minute) // on the other two
			empty()
			p.hears("b", "stores again", time.Minute)
			for _, n := range isle.nodes {
				if n != "b" && n != isle.leader(p) {
					p.kill(n) // now it needs b
				}
			}
		}},
		{"clocks 30 s fast and 30 s slow", true, func(p *party) {
			program := skewed(p.t)
			for n, seconds := range map[string]string{"a": "30", "c": "-30"} {
				p.from[n], p.env[n] = program, "CLOCK_SKEW="+seconds
			}
		}, func(t *testing.T, p *party) {
			isle.clocks(p, map[string]time.Duration{"a": 30 * time.Second, "b": 0, "c": -30 * time.Second})
			n := isle.leader(p)
			at := time.Now()
			p.kill(n)
			p.finish(3 * time.Minute)
			took, items := p.elsewhere(n, at)
			t.Logf("%s, which led, was killed: %d items that it had begun were begun elsewhere, the last after %v", n, items, took.Round(10*time.Millisecond))
		}},
		{"every server killed and started again", true, nil, func(t *testing.T, p *party) {
			for _, n := range isle.nodes {
				p.kill(n)
			}
			time.Sleep(2 * time.Second)
			for _, n := range isle.nodes {
				p.node(n)
			}
		}},
		{"the submitter cut off", true, nil, func(t *testing.T, p *party) {
			isle.must(t, ip("link", "set", isle.name, "down"))
			time.Sleep(9 * time.Second)
			isle.must(t, ip("link", "set", isle.name, "up"))
		}},
	} {
		if fault.every && !*allFaults {
			continue
		}
		t.Run(fault.name, func(t *testing.T) {
			begun := time.Now()
			p := isle.party(t, fault.before)
			t.Logf("the cluster was there after %v", time.Since(begun).Round(10*time.Millisecond))
			if !p.advance(40, time.Minute) {
				t.Fatalf("the run ended before the fault\n%s", p.logs())
			}
			fault.do(t, p)
			lost := p.finish(4 * time.Minute)
			t.Logf("%d lines, each item one, in %v; %d ended as crashed because their lease lapsed more than ten times", p.lines(), time.Since(begun).Round(time.Second), lost)
		})
	}
}

func (i *island) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
