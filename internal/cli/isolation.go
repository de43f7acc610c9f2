package cli

import (
	"strings"

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

// mapIsolation is --isolation of `tandem map --python`.
func mapIsolation(word string) (proc.Isolation, error) {
	switch word {
	case "", "process":
		return proc.Isolation{}, nil
	case "sandbox":
		return proc.Isolation{Sandbox: true}, nil
	case "none":
		return proc.Isolation{Open: true}, nil
	}
	return proc.Isolation{}, mapWrong("--isolation "+word, "want none, process or sandbox")
}
