package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/engine"
	"tandem/internal/cluster"
	"tandem/internal/flowfile"
	"tandem/internal/runs"
)

// remote is a run that a cluster works on: its source and its sink are here.
type remote struct {
	a        *app
	link     link
	name     string
	window   int
	priority int
	delay    time.Duration
	params   []string

	hub  *cluster.Hub
	shut func()
	sub  *cluster.Submission

	again []cluster.DeadItem // to be tried again, in place of the source; nil means the source
	ids   map[string]bool    // of again
	of    string             // the run that they are of
	over  bool               // the cluster knows that the run has ended
}

// submitted is what the run's directory keeps of it, for attach.
type submitted struct {
	Run    string   `json:"run"`
	Params []string `json:"params,omitempty"`
	Link   struct {
		NATS, Creds, CA, Cert, Key, Tenant, Store string
		Replicas                                  int
	} `json:"link"`
}

const submittedName = "cluster.json"

func (a *app) submitCommand() *cobra.Command {
	r := &remote{a: a}
	var o runOptions
	var times string
	c := &cobra.Command{Use: "submit FLOW", Short: "Run a flow on the nodes of a cluster",
		Long: `Run a flow on the nodes of a cluster: this command reads the source and writes the sink, the nodes run the steps.

The flow's directory travels with it as a bundle, except what a file .tandemignore there names. When this command ends early (Ctrl-C, a closed terminal, a kill)
the nodes go on with what they have; tandem attach RUN goes on with the rest, and no line is lost or written twice.
Without --nats it is the node on this machine that runs it: start one with tandem node.`,
		Example: `  tandem submit flow.yaml
  tandem submit flow.yaml --nats nats://a,nats://b,nats://c
  tandem submit flow.yaml --delay 1h --name later
  tandem submit flow.yaml --cron '0 3 * * *' --name nightly`,
		Args: takes(1, 1, "flow file"),
		RunE: func(_ *cobra.Command, args []string) error {
			r.params = o.params
			if times != "" {
				return r.repeat(args[0], times, o)
			}
			return r.submit(args[0], o)
		}}
	f := c.Flags()
	r.link.flags(f)
	f.StringVar(&r.name, "name", "", "name of the run in the cluster; its id unless given")
	f.IntVar(&r.window, "window", cluster.Window, "how many items may be in the queue of a step")
	f.IntVar(&r.priority, "priority", 0, "runs of a higher priority are served first")
	f.StringVar(&times, "cron", "", "stay and submit a run at each of these times, '0 3 * * *'; one that comes while the last run goes on is left out")
	f.DurationVar(&r.delay, "delay", 0, "nodes begin after this long")
	f.StringArrayVar(&o.params, "param", nil, "set a parameter of the flow, NAME=VALUE; may be repeated")
	remoteFlags(c, &o)
	return c
}

// remoteFlags are those that submit and attach share with run.
func remoteFlags(c *cobra.Command, o *runOptions) {
	o.lanes = "off" // no worker of the run is here
	f := c.Flags()
	f.BoolVar(&o.json, "json", false, "print one JSON document with the totals at the end")
	f.StringVar(&o.progress, "progress", "auto", "how to show progress: auto, tty, plain, json or none")
	f.StringArrayVar(&o.reports, "report", nil, "write a report: FILE.json has the totals, FILE.tsv a line per item; may be repeated")
}

func (a *app) attachCommand() *cobra.Command {
	var o runOptions
	c := &cobra.Command{Use: "attach RUN", Short: "Go on with a submitted run: feed the rest, take the results",
		Long:    "Go on with a run that tandem submit began on this machine and that was interrupted: it feeds the rest of the source and writes what has come back in the meantime.",
		Example: "  tandem attach 20260102-150405-abcde",
		Args:    takes(1, 1, "run"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.attach(args[0], o) }}
	remoteFlags(c, &o)
	return c
}

func (r *remote) submit(path string, o runOptions) error {
	file, err := flowfile.Load(path)
	if err != nil {
		return err
	}
	if err := file.SetParams(o.params); err != nil {
		return err
	}
	if file.Order == "keep" {
		return &tandem.Error{Op: "submit", On: path, Kind: tandem.KindInvalid, Message: "order: keep cannot be kept over many machines", Hint: "leave it out, or sort the sink's lines by id afterwards"}
	}
	for i := range file.Steps {
		if s := &file.Steps[i]; s.Once() {
			return &tandem.Error{Op: "submit", On: path, Kind: tandem.KindInvalid, Message: "step " + s.Name + " is idempotent: false, and a queue gives the items of a lost node to another",
				Hint: "run it with tandem run, or let the other side tell a repetition and leave idempotent out"}
		}
	}
	if file.From.Stdin != "" {
		return &tandem.Error{Op: "submit", On: path, Kind: tandem.KindInvalid, Message: "a source on standard input cannot be read again by tandem attach", Hint: "write it into a file"}
	}
	if err := o.check(); err != nil {
		return err
	}
	return (&running{a: r.a, o: o, file: file, begun: time.Now(), remote: r}).run()
}

func (a *app) attach(id string, o runOptions) error {
	root, err := runsDir()
	if err != nil {
		return err
	}
	entry, err := runEntry(root, id)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(entry.Path, submittedName))
	var s submitted
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return &tandem.Error{Op: "attach to", On: id, Kind: tandem.KindInvalid, Message: "this run was not submitted to a cluster", Hint: "tandem run " + shellWord(entry.Flow) + " --resume goes on with it", Err: err}
	}
	if entry.State == runs.Ended {
		return &tandem.Error{Op: "attach to", On: id, Kind: tandem.KindInvalid, Message: "it has ended: " + entry.Outcome, Hint: "its lines are in the sink of " + shellWord(entry.Flow)}
	}
	file, err := flowfile.Load(entry.Flow)
	if err != nil {
		return err
	}
	if err := file.SetParams(s.Params); err != nil {
		return err
	}
	o.attach = entry.ID
	r := &remote{a: a, name: s.Run, params: s.Params, link: link{nats: s.Link.NATS, creds: s.Link.Creds, ca: s.Link.CA, cert: s.Link.Cert, key: s.Link.Key, tenant: s.Link.Tenant, replicas: s.Link.Replicas, store: s.Link.Store}}
	return (&running{a: a, o: o, file: file, begun: time.Now(), remote: r}).run()
}

// runEntry finds a run of this machine by its id, or by the beginning of it.
func runEntry(root, id string) (found runs.Entry, err error) {
	all, _, err := runs.List(root)
	if err != nil {
		return found, err
	}
	var match []runs.Entry
	for _, e := range all {
		if e.ID == id {
			return e, nil
		}
		if strings.HasPrefix(e.ID, id) {
			match = append(match, e)
		}
	}
	if len(match) == 1 {
		return match[0], nil
	}
	return found, &tandem.Error{Op: "find the run", On: id, Kind: tandem.KindInvalid, Message: fmt.Sprintf("%d runs of this machine have this id", len(match)), Hint: "tandem runs ls lists them"}
}

// send submits the run, or goes on with it, and gives the flow that brings its results back.
func (r *remote) send(ctx context.Context, run *running, flow engine.Flow) (engine.Flow, error) {
	if run.kept == nil || run.kept.Journal == nil && r.again == nil {
		return flow, &tandem.Error{Op: "submit", On: run.file.Path, Kind: tandem.KindInvalid, Message: "the run could not be kept on this machine, so its results could not be taken", Hint: "make the directory of runs writable; see above"}
	}
	for _, s := range flow.Steps {
		if !validStep(s.Name) {
			return flow, &tandem.Error{Op: "submit", On: s.Name, Kind: tandem.KindInvalid, Message: "the name of a step of a submitted flow has only letters, digits, - and _"}
		}
	}
	say := func(up bool, why error) {
		if up {
			run.bar.print(r.a.dim("the cluster answers again"))
		} else {
			run.bar.print(r.a.yellow("the cluster does not answer") + ", waiting: " + errText(why))
		}
	}
	var err error
	if r.hub, r.shut, err = r.link.open(ctx, "submit", say); err != nil {
		return flow, err
	}
	dir := run.kept.dir
	m, err := r.manifest(ctx, run, flow)
	if err != nil {
		r.close()
		return flow, err
	}
	r.sub = &cluster.Submission{Hub: r.hub, Manifest: m, Source: flow.Source, Dir: dir.Path(), Say: func(waits string) { run.bar.print(r.waits(waits)) }, Again: r.again}
	if st := run.kept.State; st != nil {
		r.sub.Have = st.Has
		for _, n := range st.Counts {
			r.sub.Before += n
		}
	}
	flow.Source, flow.Steps, flow.Settled, flow.Done = r.sub, nil, r.sub.Settled, nil
	run.bar.print(r.a.dim(fmt.Sprintf("run %s: %s", m.Run, r.nodes(ctx, m))))
	return flow, nil
}

// manifest makes the run known to the cluster, or finds what it knows of it.
func (r *remote) manifest(ctx context.Context, run *running, flow engine.Flow) (cluster.Manifest, error) {
	dir, file := run.kept.dir, run.file
	if r.name == "" {
		r.name = dir.Run().ID
	}
	if r.again != nil {
		r.name = r.of + "-again-" + dir.Run().ID
	}
	if run.o.attach != "" {
		m, err := r.hub.Await(ctx, r.name)
		if err == nil && m.State == cluster.Canceled {
			err = &tandem.Error{Op: "attach to", On: r.name, Kind: tandem.KindInvalid, Message: "it was canceled: " + m.Why}
		}
		return m, err
	}
	m := cluster.Manifest{Version: cluster.Version, Run: r.name, Flow: file.Name, File: filepath.Base(file.Path), State: cluster.Active, Priority: r.priority, Created: time.Now(), From: hostname(),
		Window: r.window, Packs: true, Params: map[string]string{}, DeadOf: r.of}
	if r.delay > 0 {
		m.NotBefore = time.Now().Add(r.delay)
	}
	for _, p := range r.params {
		k, v, _ := strings.Cut(p, "=")
		m.Params[k] = v
	}
	for i, s := range flow.Steps {
		m.Steps = append(m.Steps, cluster.Step{Name: s.Name, Labels: file.Steps[i].Labels, Pool: file.Steps[i].Pool})
	}
	name, packed, err := cluster.Bundle(file.Dir, writes(file))
	if err != nil {
		return m, err
	}
	if err := r.hub.Store(ctx, name, packed); err != nil {
		return m, err
	}
	m.Bundle = name
	var s submitted
	s.Run, s.Params = m.Run, r.params
	s.Link.NATS, s.Link.Creds, s.Link.CA, s.Link.Cert, s.Link.Key, s.Link.Tenant, s.Link.Store, s.Link.Replicas = r.link.nats, r.link.creds, r.link.ca, r.link.cert, r.link.key, r.link.tenant, r.link.store, r.link.replicas
	b, err := json.Marshal(s)
	if err != nil {
		return m, err
	}
	if err := os.WriteFile(filepath.Join(dir.Path(), submittedName), b, 0o600); err != nil {
		return m, err
	}
	if err := r.hub.Create(ctx, m); err != nil {
		return m, err
	}
	return m, r.hub.Store(ctx, name, packed) // the last run that had it may have been removed in between
}

// writes are the files that the flow writes beside itself: they are no part of its code.
func writes(f *flowfile.File) (names []string) {
	if f.Into != nil {
		names = append(names, f.Into.JSONL, f.Into.CSV, f.Into.Dir, f.Into.SQLite)
	}
	names = append(names, f.Failures.Save)
	return slices.DeleteFunc(names, func(n string) bool { return n == "" || n == "-" || strings.Contains(n, "${{") })
}

func validStep(name string) bool {
	return !strings.ContainsFunc(name, func(c rune) bool {
		return c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
}

// nodes says who is there to run it.
func (r *remote) nodes(ctx context.Context, m cluster.Manifest) string {
	all, err := r.hub.Nodes(ctx)
	if err != nil {
		return err.Error()
	}
	if len(all) == 0 {
		return "no node is there yet; what is fed waits for one"
	}
	cores := 0
	for _, n := range all {
		cores += n.Cores
	}
	return fmt.Sprintf("%s with %s", plural(int64(len(all)), "node"), plural(int64(cores), "core"))
}

// ended tells the cluster that the run is over; one that goes on later stays as it is.
func (r *remote) ended(report engine.Report, whole bool, err error) {
	r.over = whole
	if r.hub == nil || !whole && !isKind(err, tandem.KindFailures) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	ferr := r.sub.Finish(ctx)
	state, why := cluster.Ended, ""
	if !whole {
		state, why = cluster.Canceled, err.Error()
	}
	cerr := r.hub.Change(ctx, r.name, func(m *cluster.Manifest) error {
		m.State, m.Why, m.EndedAt, m.Outcomes = state, why, time.Now(), map[string]int64{}
		for _, o := range tandem.Outcomes {
			if n := report.Items.Of(o); n > 0 {
				m.Outcomes[string(o)] = n
			}
		}
		return nil
	})
	if cerr == nil {
		m, gerr := r.hub.Get(ctx, r.name)
		if cerr = gerr; cerr == nil {
			cerr = r.hub.Drop(ctx, m)
		}
	}
	if cerr = errors.Join(ferr, cerr); cerr != nil {
		r.a.fail(errors.Join(errors.New("the run has ended, and the cluster could not be told"), cerr))
	}
}

// waits words what the run waits for.
func (r *remote) waits(what string) string {
	if what == "" {
		return r.a.dim("the run goes on")
	}
	return r.a.yellow("waiting: ") + printable(what)
}

func (r *remote) close() {
	if r.shut != nil {
		r.giveUp()
		r.shut()
		r.shut = nil
	}
}
