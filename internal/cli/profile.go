package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/advise"
	"tandem/internal/measure"
	"tandem/internal/proc"
	"tandem/internal/profile"
)

// Exit codes of tandem profile when there is no command's own to give; those of env and timeout.
const (
	exitOurs          = 125 // Tandem failed
	exitNotExecutable = 126
	exitNotFound      = 127
)

type profileFlags struct {
	out      []string
	json     bool
	runtime  bool
	spin     bool
	pid      int
	interval time.Duration
	during   time.Duration
}

func (a *app) profileCommand() *cobra.Command {
	var f profileFlags
	c := &cobra.Command{
		Use:   "profile [flags] -- CMD [ARG…]",
		Short: "Run a command and say what it is bound by: processor, run queue, network, disk, lock, sleep",
		Long: `Run a command in any language, watch it from outside, and say where its time went, what it is bound by and which mode would fit.

The command has the terminal: its input, output and signals are its own, also Ctrl-C, and it is not slowed down. What Tandem has to say goes to
standard error when it has ended. With --pid a process that runs already is watched until it ends, --for is up, or Ctrl-C; it is left alone.
Bound is one of cpu, gil, runq, net, disk, sleep, lock, mem, spin, mixed, throttled, opaque. How it is measured, and when not to
believe it: docs/explanation/measuring.md.

-o writes what was found by the name's ending: .html (one page that needs nothing else), .json (the document of --json), .speedscope.json (for speedscope.app), .pftrace
(what each thread did when, for ui.perfetto.dev).

--runtime asks Python, Node and the JVM where in their own code they are. The program then runs with a little of ours in it: a thread in Python, Node's profiler,
jcmd for the JVM, which stops it for a moment up to five times. Go cannot be asked.
--probe-spin finds programs that are busy with nothing. It runs the command a SECOND TIME, looks at the registers of its threads, holds those that go in a circle (or,
where none does, stops everything) half of the time, 4 ms in 8: whoever computes takes longer, whoever spins does not. What the command does to the world it does twice, and
being stopped may make its waits end early. Only the command and what it starts are stopped.

Exit codes: the command's own · 128 and the signal that ended it · 125 Tandem failed · 126 not executable · 127 not found.`,
		Example: `  tandem profile -- python3 train.py
  tandem profile -o profile.html -o threads.pftrace -- ./server --once
  tandem profile --runtime -- python3 train.py
  tandem profile --pid 4711 --for 10s`,
		RunE: func(_ *cobra.Command, args []string) error { return a.profile(f, args) },
	}
	c.Flags().SetInterspersed(false)
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		a.fail(profileWrong(err.Error(), suggestFlag(c, err.Error())))
		return exitCode(exitOurs)
	})
	s := c.Flags()
	s.StringArrayVarP(&f.out, "output", "o", nil, "write what was found to this file: .html, .json, .speedscope.json or .pftrace; may be repeated")
	s.BoolVar(&f.json, "json", false, "print one JSON document, a line of its own, behind what the command prints")
	s.IntVar(&f.pid, "pid", 0, "watch this process instead of running a command")
	s.DurationVar(&f.interval, "interval", 50*time.Millisecond, "time between two looks; it grows when looking would cost more than 1 % of a processor")
	s.DurationVar(&f.during, "for", 0, "with --pid: watch so long")
	s.BoolVar(&f.runtime, "runtime", false, "ask Python, Node and the JVM where in their own code they are")
	s.BoolVar(&f.spin, "probe-spin", false, "run the command a second time, held half of the time, to find out whether it is busy with nothing")
	return c
}

func profileWrong(msg, hint string) error {
	return &tandem.Error{Op: "read the flags of", On: "tandem profile", Kind: tandem.KindInvalid, Message: msg, Hint: hint}
}

func (f profileFlags) check(args []string) error {
	switch {
	case f.pid < 0:
		return profileWrong(fmt.Sprintf("%d is no process id", f.pid), "")
	case f.pid > 0 && len(args) > 0:
		return profileWrong("both --pid and a command", "give one of them")
	case f.pid == 0 && len(args) == 0:
		return profileWrong("no command given", "usage: tandem profile -- CMD [ARG…], or tandem profile --pid PID")
	case f.pid == 0 && f.during != 0:
		return profileWrong("--for is for --pid", "a command is watched to its end")
	case f.during < 0:
		return profileWrong("--for is negative", "")
	case f.interval < time.Millisecond || f.interval > time.Minute:
		return profileWrong("--interval "+f.interval.String()+" is out of range", "1ms to 1m")
	case f.pid > 0 && (f.runtime || f.spin):
		return profileWrong("--runtime and --probe-spin are for a command", "a process that runs already is only looked at")
	}
	for _, o := range f.out {
		if profile.Known(o) == "" && filepath.Ext(o) != ".json" {
			return profileWrong("-o "+o+": no such format", "want a name that ends in .json, "+strings.Join(profile.Endings, ", "))
		}
	}
	return nil
}

func (a *app) profile(f profileFlags, args []string) error {
	fail := func(err error) error {
		a.fail(err)
		return exitCode(exitOurs)
	}
	if err := f.check(args); err != nil {
		return fail(err)
	}
	var files []*os.File
	for _, name := range f.out { // before the command runs: its work must not be lost for a name that cannot be written
		file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o666)
		if err != nil {
			return fail(&tandem.Error{Op: "write", On: name, Kind: tandem.KindFile, Message: err.Error(), Err: err})
		}
		defer file.Close()
		files = append(files, file)
	}
	r, err := a.watched(f, args)
	if err != nil {
		var e *tandem.Error
		a.fail(err)
		switch {
		case !errors.As(err, &e) || e.Kind != tandem.KindStart:
			return exitCode(exitOurs)
		case proc.NotFound(err):
			return exitCode(exitNotFound)
		case errors.Is(err, os.ErrPermission), proc.NotProgram(err):
			return exitCode(exitNotExecutable)
		}
		return exitCode(exitOurs)
	}
	a.printProfile(r)
	if err := a.writeProfile(f, files, r); err != nil {
		return fail(err)
	}
	if r.exit == nil || *r.exit == 0 {
		return nil
	}
	return exitCode(*r.exit)
}

// profiled is what became of a profile.
type profiled struct {
	m       *advise.Measurement
	v       advise.Verdict
	exit    *int // of the command; nil when a process was watched
	signal  string
	label   string
	looking time.Duration
	all     time.Duration
}

// watched runs the command, or watches the process, to its end.
func (a *app) watched(f profileFlags, args []string) (*profiled, error) {
	if f.pid > 0 {
		return a.attached(f)
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, proc.Passed...)
	defer signal.Stop(signals)
	typed := proc.InForeground()
	before := measure.OwnChildren()
	ask, extra, stopAsking, err := f.asking()
	if err != nil {
		return nil, err
	}
	defer stopAsking()
	begun := time.Now()
	child, err := proc.StartForeground(args, extra...)
	if err != nil {
		return nil, err
	}
	ask.begin(child.PID())
	tree, terr := measure.Follow(child.PID(), begun, measure.TreeConfig{Interval: f.interval, Before: before, Record: f.records()})
	stop := make(chan struct{})
	var watching sync.WaitGroup
	if terr == nil {
		watching.Go(func() { tree.Watch(stop) })
	}
	for running := true; running; {
		select {
		case s := <-signals:
			if !typed || !proc.Typed(s) { // what is typed has reached the command already
				child.Signal(s)
			}
		case <-child.Gone():
			running = false
		}
	}
	close(stop)
	watching.Wait()
	ask.end()
	if terr == nil {
		tree.Look() // the counters of a process that is gone but not buried
	}
	x, used := child.Reap()
	code := x.ExitStatus()
	r := &profiled{exit: &code, label: measure.Label(args)}
	if x.Signal != 0 {
		r.signal = x.Reason()
	}
	if terr != nil { // the command has run all the same; say what is known of it
		r.m = &advise.Measurement{Wall: time.Since(begun), CPU: used.User + used.System, System: used.System, Notes: []string{terr.Error()}, Cores: float64(measure.FindCores().Effective())}
		all := advise.Thread{Life: max(r.m.Wall, r.m.CPU), On: r.m.CPU, Wait: map[advise.Cause]time.Duration{}}
		all.Wait[advise.Blind] = all.Life - all.On
		r.m.Threads = []advise.Thread{all}
	} else {
		r.m = tree.End(&used)
		r.looking, r.all, _ = tree.Cost()
	}
	r.v = advise.Judge(r.m)
	if f.spin {
		a.probeSpin(r, args, time.Since(begun), signals, typed)
	}
	ask.tell(r)
	return r, nil
}

// attached watches a process that runs already.
func (a *app) attached(f profileFlags) (*profiled, error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, proc.Terminate)
	defer signal.Stop(signals)
	tree, err := measure.Follow(f.pid, time.Now(), measure.TreeConfig{Interval: f.interval, Attach: true, Record: f.records()})
	if err != nil {
		return nil, &tandem.Error{Op: "watch", On: fmt.Sprintf("process %d", f.pid), Kind: tandem.KindInvalid, Message: err.Error(), Hint: "`ps -e` lists processes; those of other users need root", Err: err}
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tree.Watch(stop)
	}()
	var up <-chan time.Time
	if f.during > 0 {
		t := time.NewTimer(f.during)
		defer t.Stop()
		up = t.C
	}
	select {
	case <-signals:
	case <-up:
	case <-ended:
	}
	close(stop)
	<-ended
	r := &profiled{m: tree.End(nil)}
	r.label = r.m.Label
	r.looking, r.all, _ = tree.Cost()
	r.v = advise.Judge(r.m)
	return r, nil
}

// profileDoc is the document of --json.
type profileDoc struct {
	Command    string            `json:"command"`
	Seconds    float64           `json:"seconds"`
	CPUSeconds float64           `json:"cpu_seconds"`
	Cores      float64           `json:"cores"`
	Bound      advise.Bound      `json:"bound"`
	Also       advise.Bound      `json:"also,omitempty"`
	Confidence string            `json:"confidence"`
	Doubt      string            `json:"doubt,omitempty"`
	Sentence   string            `json:"sentence"`
	Split      advise.Split      `json:"split"`
	Starved    bool              `json:"starved"`
	Peers      []profilePeer     `json:"peers"`
	Advice     profileAdvice     `json:"advice"`
	Functions  []advise.Function `json:"functions"`
	Runtimes   []string          `json:"runtimes"`
	Processes  int               `json:"processes_left"`
	Notes      []string          `json:"notes"`
	Sampler    profileCost       `json:"sampler"`
	Exit       *int              `json:"command_exit"`
	Signal     string            `json:"command_signal,omitempty"`
}

type profilePeer struct {
	Name    string   `json:"name"`
	Program string   `json:"program,omitempty"`
	Busy    *float64 `json:"busy"`
	Seconds float64  `json:"wait_seconds"`
}

type profileAdvice struct {
	Mode     tandem.Mode `json:"mode"`
	Size     int         `json:"size"`
	Interval *[2]float64 `json:"times_as_fast"`
	Because  string      `json:"because"`
}

type profileCost struct {
	Looks int     `json:"looks"`
	Core  float64 `json:"share_of_one_core"`
}

func (r *profiled) document() profileDoc {
	m, v := r.m, r.v
	d := profileDoc{Command: r.label, Seconds: round(m.Wall.Seconds(), 1e4), CPUSeconds: round(m.CPU.Seconds(), 1e4), Cores: m.Cores, Bound: v.Bound, Also: v.Also, Confidence: string(v.Confidence),
		Doubt: v.Doubt, Sentence: v.Sentence, Split: v.Split.Rounded(), Starved: v.Starved, Peers: []profilePeer{}, Functions: append([]advise.Function{}, m.Functions...), Runtimes: append([]string{}, m.Runtimes...),
		Processes: m.Left, Notes: append([]string{}, m.Notes...), Sampler: profileCost{m.Looks, round(r.looking.Seconds()/m.Wall.Seconds(), 1e5)}, Exit: r.exit, Signal: r.signal,
		Advice: profileAdvice{Mode: v.Advice.Mode, Size: v.Advice.Size, Because: v.Advice.Because}}
	if v.Advice.Interval != ([2]float64{}) {
		d.Advice.Interval = &v.Advice.Interval
	}
	for _, p := range m.Peers {
		one := profilePeer{Name: p.Name, Program: p.Who, Seconds: round(p.Wait.Seconds(), 1e4)}
		if p.Busy >= 0 {
			busy := round(p.Busy, 1e4)
			one.Busy = &busy
		}
		d.Peers = append(d.Peers, one)
	}
	return d
}

func round(x, by float64) float64 { return float64(int64(x*by+.5)) / by }

func (a *app) writeProfile(f profileFlags, files []*os.File, r *profiled) error {
	b, err := json.Marshal(r.document())
	if err != nil {
		return err
	}
	b = append(b, '\n')
	for i, file := range files {
		werr := file.Truncate(0)
		if ending := profile.Known(f.out[i]); werr == nil && ending != "" {
			p := profile.Profile{Command: r.label, Measurement: r.m, Verdict: r.v, Advice: adviceText(r.v.Advice), Exit: r.ending()}
			werr = p.Write(file, ending)
		} else if werr == nil {
			_, werr = file.Write(b)
		}
		if err := errors.Join(werr, file.Close()); err != nil {
			return &tandem.Error{Op: "write", On: f.out[i], Kind: tandem.KindFile, Message: err.Error(), Err: err}
		}
	}
	if !f.json {
		return nil
	}
	if !r.m.Silent && r.exit != nil && !endsLine(os.Stdout) {
		b = append([]byte{'\n'}, b...) // the command may have ended in the middle of a line
	}
	if _, err := a.out.Write(b); err != nil {
		return &tandem.Error{Op: "write", On: "standard output", Kind: tandem.KindFile, Message: err.Error(), Err: err}
	}
	return nil
}

// endsLine says whether a file's last byte, as far as it can be told, ends a line. Of a pipe nothing can be told: an empty line does no harm there.
func endsLine(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	if info.Size() == 0 {
		return true
	}
	g, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return false
	}
	defer g.Close()
	var last [1]byte
	_, err = g.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] == '\n'
}
