package profile

import (
	"cmp"
	"encoding/json"
	"io"
	"slices"
	"time"

	"tandem/internal/advise"
)

// The file format of speedscope.app: stacks with weights. A stack is the program, a thread of it, a state, and for what it waited.
type scope struct {
	Schema   string         `json:"$schema"`
	Name     string         `json:"name"`
	Exporter string         `json:"exporter"`
	Shared   scopeFrames    `json:"shared"`
	Profiles []scopeProfile `json:"profiles"`
}

type scopeFrames struct {
	Frames []scopeFrame `json:"frames"`
}

type scopeFrame struct {
	Name string `json:"name"`
}

type scopeProfile struct {
	Type    string    `json:"type"`
	Name    string    `json:"name"`
	Unit    string    `json:"unit"`
	Start   float64   `json:"startValue"`
	End     float64   `json:"endValue"`
	Samples [][]int   `json:"samples"`
	Weights []float64 `json:"weights"`
}

func (p *Profile) speedscope(w io.Writer) error {
	s := scope{Schema: "https://www.speedscope.app/file-format-schema.json", Name: p.Command, Exporter: "tandem profile", Shared: scopeFrames{[]scopeFrame{}}}
	index := map[string]int{}
	frame := func(name string) int {
		i, ok := index[name]
		if !ok {
			i = len(s.Shared.Frames)
			index[name] = i
			s.Shared.Frames = append(s.Shared.Frames, scopeFrame{name})
		}
		return i
	}
	all := scopeProfile{Type: "sampled", Name: "all threads", Unit: "seconds", Samples: [][]int{}, Weights: []float64{}}
	for i, t := range p.threads() {
		one := scopeProfile{Type: "sampled", Name: title(t), Unit: "seconds", Samples: [][]int{}, Weights: []float64{}}
		add := func(d time.Duration, names ...string) {
			if d <= 0 {
				return
			}
			stack := []int{frame(cmp.Or(t.Program, p.Command)), frame(title(t))}
			for _, n := range names {
				if n != "" {
					stack = append(stack, frame(n))
				}
			}
			for _, to := range []*scopeProfile{&one, &all} {
				to.Samples, to.Weights = append(to.Samples, stack), append(to.Weights, d.Seconds())
				to.End += d.Seconds()
			}
		}
		add(t.On, "cpu")
		add(t.Queue, "run queue")
		for _, c := range causes(t) {
			for _, x := range split(t.Wait[c], t.Where[c]) {
				add(x.d, string(c), x.what)
			}
		}
		if i < mostThreads {
			s.Profiles = append(s.Profiles, one)
		}
	}
	s.Profiles = slices.Insert(s.Profiles, 0, all)
	return json.NewEncoder(w).Encode(s)
}

func causes(t advise.Thread) (all []advise.Cause) {
	for c := range t.Wait {
		all = append(all, c)
	}
	slices.Sort(all)
	return all
}

type piece struct {
	what string
	d    time.Duration
}

// split divides a wait by what it was seen to be for.
func split(d time.Duration, where map[string]time.Duration) (all []piece) {
	seen := time.Duration(0)
	for _, x := range where {
		seen += x
	}
	if seen <= 0 {
		return []piece{{"", d}}
	}
	for what, x := range where {
		all = append(all, piece{what, time.Duration(float64(d) * float64(x) / float64(seen))})
	}
	slices.SortFunc(all, func(a, b piece) int { return cmp.Or(cmp.Compare(b.d, a.d), cmp.Compare(a.what, b.what)) })
	return all
}
