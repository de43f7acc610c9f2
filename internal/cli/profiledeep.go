package cli

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"

	"tandem"
	"tandem/internal/advise"
	"tandem/internal/inside"
)

// records says whether what threads did when is to be kept.
func (f profileFlags) records() bool {
	for _, o := range f.out {
		if strings.HasSuffix(o, ".pftrace") {
			return true
		}
	}
	return false
}

// ending is how the command ended, in words.
func (r *profiled) ending() string {
	switch {
	case r.exit == nil:
		return ""
	case r.signal != "":
		return r.signal
	}
	return fmt.Sprintf("exit code %d", *r.exit)
}

// asking is what --runtime has under way; nil without it.
type asking struct {
	in     *inside.Inside
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// asking prepares what --runtime needs: extra is for the command's environment, stop is to be called in the end.
func (f profileFlags) asking() (k *asking, extra []string, stop func(), err error) {
	if !f.runtime {
		return nil, nil, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "tandem-inside")
	if err == nil {
		k = &asking{}
		k.in, err = inside.New(dir)
	}
	if err != nil {
		return nil, nil, nil, &tandem.Error{Op: "prepare", On: "--runtime", Kind: tandem.KindFile, Message: err.Error(), Err: err}
	}
	return k, k.in.Env(os.Environ()), func() {
		k.end()
		_ = os.RemoveAll(dir) // a process that outlives the command may still write there: it is a temporary directory
	}, nil
}

func (k *asking) begin(pid int) {
	if k == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.cancel = cancel
	k.done.Go(func() { k.in.Watch(ctx, pid) })
}

func (k *asking) end() {
	if k != nil && k.cancel != nil {
		k.cancel()
		k.done.Wait()
	}
}

// tell adds what the runtimes said.
func (k *asking) tell(r *profiled) {
	if k == nil {
		return
	}
	functions, notes := k.in.Functions(r.m.Runtimes)
	r.m.Functions, r.m.Notes = functions, append(r.m.Notes, notes...)
	advise.Name(r.m, &r.v)
}
