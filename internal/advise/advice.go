package advise

import (
	"fmt"
	"time"
)

// Hint says that a step would go better, or otherwise than it was declared, and the evidence.
type Hint struct {
	Better  Setting // the zero Setting when none is named
	Mode    string  // what to write; empty when it is for the user to find
	Because string
}

// Declared is how a step that is not tuned runs.
type Declared struct {
	Kind    Kind
	Setting Setting
}

const (
	toldAfter = time.Second // of a step's work before anything is said about it
	misfit    = 1.5         // times faster that another setting would be
)

// Advise looks at all that a step has done under the setting it was declared with. It says nothing unless the evidence is clear: tasks waited for a place, and
// what they are made of was measured.
func Advise(s Stretch, d Declared, l Limits) (Hint, bool) {
	u := s.Used
	if s.Length < toldAfter || u.Wall < toldAfter/2 || s.Ended < fewTasks {
		return Hint{}, false
	}
	busy := u.CPU.Seconds() / u.Wall.Seconds()
	cores := float64(s.Service) / float64(u.Wall) * u.CPU.Seconds() / s.Length.Seconds() // of the whole step, where tasks are a sample
	switch {
	case d.Kind == Routines:
		if busy >= .7 && cores >= .5 {
			return Hint{Mode: "process", Because: fmt.Sprintf("it runs where work is expected to wait, but computes %s of its time, %.1f processors", percent(busy), cores)}, true
		}
		return Hint{}, false
	case d.Kind == Loops:
		switch late := u.Late.Seconds() / u.Wall.Seconds(); {
		case busy >= .85 && s.Waiting >= .5:
			return Hint{Mode: "process", Because: fmt.Sprintf("its event loop computes %s of the time: nothing else goes on meanwhile", percent(busy))}, true
		case late >= .3 && busy < .5:
			return Hint{Mode: "thread", Because: fmt.Sprintf("its tasks keep the event loop from turning %s of the time, and compute only %s: something in them waits without await", percent(late), percent(busy))}, true
		}
		return Hint{}, false
	case d.Kind == Workers && d.Setting.AtOnce > 1:
		held, known := float64(u.Held)/float64(max(u.Looks, 1)), u.Looks >= 2*fewLooksAt
		own := u.CPU.Seconds() / s.Length.Seconds() / float64(d.Setting.Workers)
		hindered := u.Queue > u.CPU // others have the processors: then it computes less than it could
		if known && held >= .6 && own < 1.2 && (own >= .8 || hindered) && s.Waiting >= .5 {
			return Hint{Mode: "process", Because: fmt.Sprintf("its threads take turns with the interpreter lock, which was held at %s of the looks: together they compute on %.1f processors", percent(held), own)}, true
		}
		return Hint{}, false
	}
	if s.Waiting < .5 {
		return Hint{}, false
	}
	w, ok := workOf(&s)
	if !ok {
		return Hint{}, false
	}
	better, because := w.setting(l, s.Cores)
	now, then := w.expect(d.Setting, s.Cores, d.Kind), w.expect(better, s.Cores, d.Kind)
	if then < misfit*now || now <= 0 {
		return Hint{}, false
	}
	return Hint{Better: better, Mode: "auto", Because: fmt.Sprintf("%s; up to %.1f times as fast", because, then/now)}, true
}
