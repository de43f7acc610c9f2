package flowfile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tandem"
)

// condition is one word of retry.when.
type condition func(o tandem.Outcome, e *tandem.Error) bool

// transient is what is worth another attempt unless the flow says what is: the server was busy or away.
var transient = []string{"408", "425", "429", "5xx", "timeout", "network"}

var conditionWords = []string{"timeout", "network", "reset", "dns", "refused", "crash", "exit", "status", "exception", "panic", "busy", "memory", "start"}

// parseCondition reads 429, 5xx, 500-504, timeout, reset, exit:3, ValueError.
func parseCondition(word string) (condition, bool) {
	kind := func(k string) condition {
		return func(_ tandem.Outcome, e *tandem.Error) bool { return e.Kind == k }
	}
	reason := func(k, r string) condition {
		return func(_ tandem.Outcome, e *tandem.Error) bool { return e.Kind == k && e.Reason == r }
	}
	switch word {
	case "timeout":
		return func(o tandem.Outcome, e *tandem.Error) bool {
			return o == tandem.TimedOut || e.Kind == tandem.KindTimeout
		}, true
	case "network", "exit", "status", "exception", "panic", "memory", "start":
		return kind(word), true
	case "reset", "dns", "refused":
		return reason(tandem.KindNetwork, word), true
	case "busy":
		return func(_ tandem.Outcome, e *tandem.Error) bool { return e.Reason == word }, true
	case "crash": // is tried once more anyway; more often would not help
		return func(tandem.Outcome, *tandem.Error) bool { return false }, true
	}
	if r, ok := parseStatus(word); ok {
		return func(_ tandem.Outcome, e *tandem.Error) bool {
			n, err := strconv.Atoi(e.Reason)
			return e.Kind == tandem.KindStatus && err == nil && n >= r.From && n <= r.To
		}, true
	}
	if code, ok := strings.CutPrefix(word, "exit:"); ok {
		n, err := strconv.Atoi(strings.TrimSpace(code))
		return reason(tandem.KindExit, fmt.Sprint("exit ", n)), err == nil && n > 0 && n < 256
	}
	if word != "" && word[0] >= 'A' && word[0] <= 'Z' && !strings.ContainsAny(word, " \t:") {
		return func(_ tandem.Outcome, e *tandem.Error) bool {
			return (e.Kind == tandem.KindException || e.Kind == tandem.KindMemory) && e.Reason == word
		}, true
	}
	return nil, false
}

func (r *Retry) decode(d *decoder, n *node, path []any) {
	d.fields(n, path, reads{
		"attempts": d.whole(&r.Attempts),
		"backoff": func(n *node, path []any) {
			text, _ := n.value.(string)
			var ok bool
			if r.Backoff, ok = parseBackoff(text); !ok {
				d.wrong(n, path, "for example 1s..60s: the first pause and the longest", "want a pause or two, got %s", n.what())
			}
		},
		"when": func(n *node, path []any) { d.texts(&r.When, true)(n, path); r.conditions(d, n, path) },
	})
	if r.Attempts == 0 {
		r.Attempts = 3
	}
	if len(r.when) == 0 && len(r.When) == 0 {
		for _, w := range transient {
			c, _ := parseCondition(w)
			r.when = append(r.when, c)
		}
	}
}

func (r *Retry) conditions(d *decoder, n *node, path []any) {
	for i, w := range r.When {
		c, ok := parseCondition(w)
		if !ok {
			at, here := n, path
			if items, ok := n.value.([]*node); ok && i < len(items) {
				at, here = items[i], with(path, i)
			}
			d.wrong(at, here, "want a status (429, 5xx), an exception's name (ValueError), exit:N, or one of: "+list(slices.Sorted(slices.Values(conditionWords))),
				"unknown condition `%s`%s", short(w), suggest(w, conditionWords))
			continue
		}
		r.when = append(r.when, c)
	}
}

// matches tells whether a failure is worth another attempt.
func (r *Retry) matches(o tandem.Outcome, e *tandem.Error) bool {
	return slices.ContainsFunc(r.when, func(c condition) bool { return c(o, e) })
}
