package cli

import (
	"os"
	"path/filepath"
	"strings"

	"tandem/internal/flowfile"
	"tandem/internal/proc"
)

// isolationFindings are the doctor's lines about what a step can be kept from. They are tried out together, in a process that ends instead of running anything.
func isolationFindings() (list []finding) {
	i, err := proc.Probe()
	if err != nil {
		return []finding{{name: "isolation", found: err.Error(), costs: "isolation: sandbox cannot be tried out"}}
	}
	for _, what := range i.Requested {
		if what == "containment" {
			continue // has a line of its own
		}
		f := finding{name: what, ok: true, found: i.Has(what)}
		var missing, costs []string
		for _, m := range i.Missing {
			if property, _, _ := strings.Cut(m.What, ":"); property == what {
				f.ok = false
				said := m.String()
				if m.What == what {
					said = m.Why
				}
				missing, costs = append(missing, said), append(costs, m.Effect)
			}
		}
		if !f.ok {
			if f.found != "" {
				f.found += ", without "
			}
			f.found += strings.Join(missing, ", ")
			f.costs = strings.Join(costs, "; ")
		}
		list = append(list, f)
	}
	return list
}

// mapIsolation is --isolation of `tandem map`: a level, or what stands behind isolation: in a flow file. The working directory may be read, as a flow's directory may.
func mapIsolation(text string) (memory int64, box proc.Isolation, err error) {
	if text == "" {
		return 0, box, nil
	}
	if memory, box, err = flowfile.ReadIsolation("--isolation", text); err != nil {
		return 0, box, err
	}
	if box.Sandbox || len(box.Read)+len(box.Write) > 0 {
		dir, err := os.Getwd()
		if err != nil {
			return 0, box, err
		}
		for _, list := range [][]string{box.Read, box.Write} {
			for i, path := range list {
				if list[i], err = filepath.Abs(path); err != nil {
					return 0, box, err
				}
			}
		}
		box.Read = append(box.Read, dir)
	}
	return memory, box, nil
}
