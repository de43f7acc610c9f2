package cli

import (
	"encoding/json"

	"tandem/engine"
)

// moment is one line of --progress json.
type moment struct {
	Seconds float64      `json:"seconds"`
	Items   engine.Items `json:"items"`
	Total   *int64       `json:"total"` // null when it is not known
	Steps   []stepMoment `json:"steps"`
}

type stepMoment struct {
	Name     string  `json:"name"`
	Ended    int64   `json:"ended"`
	Failed   int64   `json:"failed"`
	Rate     float64 `json:"rate"` // items a second
	InFlight int     `json:"in_flight"`
	Queue    int     `json:"queue"`
	Waiting  int     `json:"waiting"` // for another attempt
	Paused   string  `json:"paused,omitempty"`
}

func (p *progress) document(now engine.Progress) moment {
	m := moment{Seconds: now.Elapsed.Seconds(), Items: now.Items, Steps: []stepMoment{}}
	if now.Total >= 0 {
		m.Total = &now.Total
	}
	for _, s := range now.Steps {
		m.Steps = append(m.Steps, stepMoment{s.Name, s.Ended, s.Bad, p.rates[s.Name], s.Pool.Running, s.Queue, s.Waiting, s.Paused})
	}
	return m
}

// record writes one line of JSON to standard error. The mutex is held.
func (p *progress) record(v any) {
	enc := json.NewEncoder(p.a.err)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // standard error is gone: there is nobody to tell
}
