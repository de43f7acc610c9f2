package main

import (
	"encoding/json"
	"fmt"
)

// setting is what the flags chose.
type setting struct {
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds"`
	Only    string  `json:"only,omitempty"`
	Quick   bool    `json:"quick,omitempty"`
	Hybrid  hybrid  `json:"hybrid"`
	list    bool
	json    string
}

// rowRecord is one row in the JSON file. Rounds holds null where the row was not measured, so that index i is the same round in
// every row.
type rowRecord struct {
	Name     string            `json:"name"`
	About    string            `json:"about"`
	Units    map[string]string `json:"units"`
	Summary  map[string]spread `json:"summary"`
	Rounds   []figures         `json:"rounds"`
	LeftOut  string            `json:"left_out,omitempty"`
	Failures []string          `json:"failures,omitempty"`
}

func recordOf(r *result) rowRecord {
	rec := rowRecord{
		Name: r.name, About: r.about, Rounds: r.rounds, LeftOut: r.leftOut, Failures: r.failures,
		Units: make(map[string]string), Summary: make(map[string]spread),
	}
	for _, f := range r.gives {
		rec.Units[f.name] = f.unit
		if v := r.values(f.name); len(v) > 0 {
			rec.Summary[f.name] = spreadOf(v)
		}
	}
	return rec
}

// writeRecord writes everything that was measured, so that a figure in a document can be checked later.
func writeRecord(path string, s setting, m machine, results []*result, reached []reach) error {
	rows := make([]rowRecord, len(results))
	for i, r := range results {
		rows[i] = recordOf(r)
	}
	data, err := json.MarshalIndent(map[string]any{"machine": m, "setting": s, "rows": rows, "ratios": reached}, "", "  ")
	if err == nil {
		err = writeFile(path, append(data, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write the figures: %s: %w", path, err)
	}
	return nil
}
