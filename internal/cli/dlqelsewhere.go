package cli

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"tandem"
	"tandem/internal/cluster"
	"tandem/internal/flowfile"
)

// elsewhere is where the new lines of dead items go when they are not tried again where their run was submitted.
type elsewhere struct {
	into string // a file of lines; empty means the run's own sink
	flow string // empty means the flow that was submitted
}

func (e *elsewhere) flags(f *pflag.FlagSet) {
	f.StringVar(&e.into, "into", "", "write the new lines into this file instead of the run's sink; works on any machine")
	f.StringVar(&e.flow, "flow", "", "with --into: the flow file, mended; the one that was submitted unless given")
}

func (e *elsewhere) check() error {
	wrong := func(message, hint string) error {
		return &tandem.Error{Op: "read the flags of", On: "tandem dlq retry", Kind: tandem.KindInvalid, Message: message, Hint: hint}
	}
	switch {
	case e.into == "" && e.flow != "":
		return wrong("--flow without --into", "where the run was submitted its flow file is read anew; elsewhere name a file for the lines: --into again.jsonl")
	case e.into == "-":
		return wrong("--into -", "want a file: lines of the same items in it are replaced")
	}
	return nil
}

// retryElsewhere runs dead items of a run again from any machine.
func (a *app) retryElsewhere(ctx context.Context, l link, name string, again []cluster.DeadItem, o runOptions, to elsewhere) error {
	m, path, err := a.flowOf(ctx, l, name, to)
	if err != nil {
		return err
	}
	file, err := flowfile.Load(path)
	if err != nil {
		return err
	}
	var params []string
	for k, v := range m.Params {
		params = append(params, k+"="+v)
	}
	slices.Sort(params)
	if err := file.SetParams(params); err != nil {
		return err
	}
	if err := hasSteps(file, name, again); err != nil {
		return err
	}
	into, err := filepath.Abs(to.into)
	if err != nil {
		return err
	}
	file.Into, file.Failures.Save = &flowfile.Into{JSONL: into}, ""
	o.retryFailed = true
	r := &remote{a: a, link: l, params: params, window: cluster.Window, again: again, of: name}
	return (&running{a: a, o: o, file: file, begun: time.Now(), remote: r}).run()
}

// flowOf finds the flow file of a run that has ended: the one that is named, or that of the bundle.
func (a *app) flowOf(ctx context.Context, l link, name string, to elsewhere) (m cluster.Manifest, path string, err error) {
	hub, shut, err := l.open(ctx, "dlq retry", nil)
	if err != nil {
		return m, "", err
	}
	defer shut()
	if m, err = hub.Get(ctx, name); err != nil {
		return m, "", err
	}
	if m.State != cluster.Ended && m.State != cluster.Canceled {
		return m, "", &tandem.Error{Op: "retry the dead items of", On: name, Kind: tandem.KindInvalid, Message: "the run is " + string(m.State), Hint: "let it end first: tandem attach, where it was submitted; or tandem runs cancel " + name}
	}
	if to.flow != "" {
		return m, to.flow, nil
	}
	dir, err := hub.Fetch(ctx, m.Bundle, filepath.Join(cacheDir(), "bundles"))
	return m, filepath.Join(dir, filepath.Base(m.File)), err
}
