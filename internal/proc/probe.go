package proc

import (
	"errors"
	"os/exec"

	"tandem"
)

// Probe finds what this machine allows by doing it: everything that can be asked for at once, to a process that then ends instead of executing anything. What is refused
// is in Missing. It takes some milliseconds.
func Probe() (tandem.Isolation, error) {
	return try(Limits{Memory: 1 << 30}, Isolation{Sandbox: true, NoFork: true, CPU: 1, PIDs: 1000, User: "65534"})
}

// try goes as far as the cage and no further.
func try(limits Limits, ask Isolation) (tandem.Isolation, error) {
	c := Containment()
	p, err := newPlan(limits, ask, c)
	if err != nil {
		return tandem.Isolation{}, err
	}
	defer func() { p.drop() }()
	for {
		p.cage.bits |= cageTrial
		h, _, direct, err := startHeld(exec.Command("/proc/self/exe"), p, false)
		if direct {
			return p.report, nil
		}
		if err == nil {
			h.bury(func() {}) // its group can be removed only then
			h.close()
			return p.report, nil
		}
		f, caught := errors.AsType[*cageFault](err)
		if !caught {
			return p.report, err
		}
		if err := p.weaken(f, c); err != nil {
			return p.report, err
		}
	}
}
