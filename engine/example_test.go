package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"tandem/engine"
	"tandem/worker"
)

// A handler that computes is defined in a package-level variable: the worker process, which is this program again, finds it by its name.
var reverse = worker.Define("reverse", func(_ context.Context, s string) (string, error) {
	if s == "" {
		return "", fmt.Errorf("nothing to reverse")
	}
	r := []rune(s)
	slices.Reverse(r)
	return string(r), nil
})

// Words are reversed in worker processes and decorated in goroutines. main must call worker.Main() first; here TestMain does.
func Example() {
	words := engine.From("words", slices.Values([]string{"stressed", "drawer", ""}))
	reversed := engine.Compute(words, reverse, engine.Step{Workers: 2})
	loud := engine.Wait(reversed, "shout", func(_ context.Context, s string) (string, error) {
		return strings.ToUpper(s) + "!", nil
	}, engine.Step{Concurrency: 8})

	var lines []string
	for r, err := range loud.Results(context.Background()) { // in the order in which they end
		if err != nil {
			fmt.Println("stopped:", err)
			return
		}
		if r.Err != nil {
			lines = append(lines, fmt.Sprintf("item %s %s: %v", r.ID, r.Outcome, r.Err))
			continue
		}
		lines = append(lines, fmt.Sprintf("item %s %s: %s", r.ID, r.Outcome, r.Value))
	}
	slices.Sort(lines)
	fmt.Println(strings.Join(lines, "\n"))
	// Output:
	// item 1 ok: DESSERTS!
	// item 2 ok: REWARD!
	// item 3 failed: run reverse: nothing to reverse
}

// A flow without types: a source, steps and a sink of one's own, and the report of the run.
func ExampleEngine_Run() {
	upper := func(_ context.Context, s string) (string, error) { return strings.ToUpper(s), nil }
	flow := engine.Wait(engine.From("letters", slices.Values([]string{"a", "b", "c"})), "upper", upper, engine.Step{}).Flow()
	report, err := engine.New(engine.Config{}).Run(context.Background(), flow)
	fmt.Println(report.Outcome, report.Items.In, report.Items.OK, err)
	// Output: ok 3 3 <nil>
}
