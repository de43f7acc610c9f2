package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tandem"
	"tandem/internal/cluster"
	"tandem/internal/flowfile"
	"tandem/internal/runs"
)

// retried tells whether an item is tried again, or came of one that is.
func (r *remote) retried(id string) bool {
	if r.ids == nil {
		r.ids = map[string]bool{}
		for i := range r.again {
			r.ids[r.again[i].ID] = true
		}
	}
	for {
		if r.ids[id] {
			return true
		}
		at := strings.LastIndexByte(id, '/')
		if at < 0 {
			return false
		}
		if _, err := strconv.Atoi(id[at+1:]); err != nil {
			return false
		}
		id = id[:at]
	}
}

// giveUp ends, in the cluster, a run of items that are tried again which did not get to its end: they are dead letters still, and can be tried once more.
func (r *remote) giveUp() {
	if r.again == nil || r.over || r.hub == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = r.hub.Turn(ctx, r.name, cluster.Canceled, "its submitter ended before its end")
}

// canceled tells whether the run was ended in the cluster, so that there is nothing to go on with.
func (r *remote) canceled(err error) bool {
	return r != nil && isKind(err, tandem.KindCanceled) && !errors.Is(err, tandem.ErrInterrupted)
}

// retryDead runs dead items of a run again, from this machine, which has its sink.
func (a *app) retryDead(l link, name string, again []cluster.DeadItem, o runOptions) error {
	root, err := runsDir()
	if err != nil {
		return err
	}
	entry, s, err := submittedAs(root, name)
	if err != nil {
		return err
	}
	if entry.State != runs.Ended {
		return &tandem.Error{Op: "retry the dead items of", On: name, Kind: tandem.KindInvalid, Message: "the run has not ended yet", Hint: "let it end first: tandem attach " + entry.ID}
	}
	file, err := flowfile.Load(entry.Flow)
	if err != nil {
		return err
	}
	if err := file.SetParams(s.Params); err != nil {
		return err
	}
	if err := hasSteps(file, name, again); err != nil {
		return err
	}
	o.retryFailed = true
	r := &remote{a: a, link: l, params: s.Params, window: cluster.Window, again: again, of: name}
	return (&running{a: a, o: o, file: file, begun: time.Now(), remote: r}).run()
}

// hasSteps refuses items that ended at a step which is gone.
func hasSteps(file *flowfile.File, name string, again []cluster.DeadItem) error {
	for _, i := range again {
		if !hasStep(file, i.Step) {
			return &tandem.Error{Op: "retry the dead items of", On: name, Kind: tandem.KindInvalid, Message: "the flow has no step " + i.Step + " any more, where item " + i.ID + " ended",
				Hint: "give the step its name back, or drop those items: tandem dlq drop " + name + " --where 'step == \"" + i.Step + "\"'"}
		}
	}
	return nil
}

func hasStep(f *flowfile.File, name string) bool {
	for i := range f.Steps {
		if f.Steps[i].Name == name {
			return true
		}
	}
	return false
}

// submittedAs finds the run of this machine that was submitted under a name, the newest of several.
func submittedAs(root, name string) (found runs.Entry, s submitted, err error) {
	all, _, err := runs.List(root)
	if err != nil {
		return found, s, err
	}
	for _, e := range all {
		b, err := os.ReadFile(filepath.Join(e.Path, submittedName))
		if err != nil {
			continue
		}
		if json.Unmarshal(b, &s) == nil && s.Run == name {
			return e, s, nil
		}
	}
	return found, s, &tandem.Error{Op: "find the run", On: name, Kind: tandem.KindInvalid, Message: "it was not submitted from this machine, or is no longer kept here",
		Hint: fmt.Sprintf("retry where it was submitted: its sink is there; or write into another file: tandem dlq retry %s --into again.jsonl", name)}
}
