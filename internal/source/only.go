package source

import (
	"context"
	"fmt"
	"strings"

	"tandem"
)

// Only is the items of s that have one of these ids. It stops reading when all have been seen; an id that s does not give is an error at the end.
func Only(s tandem.Source, ids []string) tandem.Source { return only{s, ids} }

type only struct {
	of  tandem.Source
	ids []string
}

func (o only) Total() int64 { return int64(len(o.ids)) }

func (o only) Each(ctx context.Context, yield func(string, tandem.Value) bool) error {
	missing := map[string]bool{}
	for _, id := range o.ids {
		missing[id] = true
	}
	stopped := false
	err := o.of.Each(ctx, func(id string, v tandem.Value) bool {
		if ctx.Err() != nil {
			stopped = true
			return false
		}
		if !missing[id] {
			return true
		}
		delete(missing, id)
		if !yield(id, v) {
			stopped = true
			return false
		}
		return len(missing) > 0
	})
	if err != nil || stopped || len(missing) == 0 {
		return err
	}
	var names []string
	for _, id := range o.ids {
		if missing[id] {
			names = append(names, fmt.Sprintf("%q", id))
		}
	}
	return &tandem.Error{Op: "find the item", On: strings.Join(names, ", "), Kind: tandem.KindSource, Message: "the source gives no item of this id", Hint: "ids stand in the lines of the sink and in messages; those of files are paths relative to the flow"}
}
