package inside

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// pythons are the counts that Python programs wrote.
func (i *Inside) pythons() tally {
	t := tally{}
	names, _ := filepath.Glob(filepath.Join(i.out(), "python-*.json"))
	for _, name := range names {
		var rows [][4]any
		if b, err := os.ReadFile(name); err != nil || json.Unmarshal(b, &rows) != nil {
			continue
		}
		for _, r := range rows {
			function, ok1 := r[0].(string)
			at, ok2 := r[1].(string)
			state, ok3 := r[2].(string)
			n, ok4 := r[3].(float64)
			if ok1 && ok2 && ok3 && ok4 {
				t[place{function, at, state}] += int(n)
			}
		}
	}
	return t
}

// nodes are the profiles that Node wrote.
func (i *Inside) nodes() tally {
	t := tally{}
	names, _ := filepath.Glob(filepath.Join(i.out(), "*.cpuprofile"))
	for _, name := range names {
		var p struct {
			Nodes []struct {
				HitCount  int `json:"hitCount"`
				CallFrame struct {
					FunctionName string `json:"functionName"`
					URL          string `json:"url"`
					Line         int    `json:"lineNumber"`
				} `json:"callFrame"`
			} `json:"nodes"`
		}
		if b, err := os.ReadFile(name); err != nil || json.Unmarshal(b, &p) != nil {
			continue
		}
		for _, n := range p.Nodes {
			f := n.CallFrame
			where := place{name: f.FunctionName, state: "runs"}
			switch f.FunctionName {
			case "(root)":
				continue
			case "(idle)":
				where = place{name: "the event loop", state: "waits"}
			case "(program)", "(garbage collector)":
				where.name = strings.Trim(f.FunctionName, "()")
			case "":
				where.name = "a function without a name"
			}
			if f.URL != "" {
				where.at = fmt.Sprintf("%s:%d", filepath.Base(f.URL), f.Line+1)
			}
			if n.HitCount > 0 {
				t[where] += n.HitCount
			}
		}
	}
	return t
}
