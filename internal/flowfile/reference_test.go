package flowfile

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"tandem"
)

// section is a mapping of the flow file and where it stands.
type section struct {
	title, lead string
	of          reflect.Type
}

var sections = []section{
	{"The file", "", reflect.TypeFor[File]()},
	{"params: NAME", "A plain value stands for `{default: VALUE}`.", reflect.TypeFor[Param]()},
	{"pools: NAME", "A pool without `concurrency` finds it out, as with `auto`.", reflect.TypeFor[Pool]()},
	{"breaker", "In a pool or a step.", reflect.TypeFor[BreakerConfig]()},
	{"from", "Exactly one of these.", reflect.TypeFor[From]()},
	{"steps", "Each step has a name and exactly one of `" + strings.Join(verbs, "`, `") + "`.", reflect.TypeFor[Step]()},
	{"steps: http", "Exactly one of the methods, and at most one of `body`, `json` and `file`.", reflect.TypeFor[HTTP]()},
	{"steps: sql", "One of `exec` and `query`.", reflect.TypeFor[SQL]()},
	{"steps: write", "", reflect.TypeFor[Write]()},
	{"steps: batch", "", reflect.TypeFor[Batch]()},
	{"steps: per_key", "See [so many tasks of one key](../howto/one-at-a-time-per-key.md).", reflect.TypeFor[PerKey]()},
	{"steps: retry", "", reflect.TypeFor[Retry]()},
	{"isolation", "Of the file or of a step. `none`, `process` and `sandbox` stand for `{level: …}`. [Isolation](../explanation/isolation.md) says what each promises.", reflect.TypeFor[Isolation]()},
	{"isolation: files", "", reflect.TypeFor[Files]()},
	{"steps: recycle", "For steps with worker processes; see [Recycle workers that leak](../howto/recycle-leaky-workers.md).", reflect.TypeFor[Recycle]()},
	{"steps: queue", "", reflect.TypeFor[Queue]()},
	{"steps: timeout", "A plain time stands for `{hard: TIME}`.", reflect.TypeFor[Timeout]()},
	{"steps: memory", "A plain size stands for `{limit: SIZE}`.", reflect.TypeFor[Memory]()},
	{"into", "Exactly one of `" + strings.Join(sinks, "`, `") + "`.", reflect.TypeFor[Into]()},
	{"failures", "", reflect.TypeFor[Failures]()},
	{"resume", "A plain path stands for `{file: PATH}`.", reflect.TypeFor[Resume]()},
}

// written says how a value of a type is written in a flow file.
var written = map[reflect.Type]string{
	reflect.TypeFor[time.Duration](): "time: `500ms`, `20s`, `1m30s`, `2h`", reflect.TypeFor[Count](): "whole number or `auto`", reflect.TypeFor[float64](): "rate: `10/s`, `600/min`, `1000/hour`",
	reflect.TypeFor[Workers](): "`4`, `cores`, `cores-1`, `50%`", reflect.TypeFor[Budget](): "whole number or `keep`", reflect.TypeFor[Spares](): "whole number", reflect.TypeFor[Backoff](): "a time, or two: `1s..60s`",
	reflect.TypeFor[StopAfter](): "whole number or percentage", reflect.TypeFor[[]StatusRange](): "`2xx`, `201`, `200-204`, or a list", reflect.TypeFor[int](): "whole number",
	reflect.TypeFor[int64](): "size: `64MiB`, `1GB`, `4096`", reflect.TypeFor[string](): "text", reflect.TypeFor[tandem.Mode](): "text", reflect.TypeFor[any](): "any value",
	reflect.TypeFor[[]string](): "list of texts", reflect.TypeFor[[]any](): "list", reflect.TypeFor[map[string]any](): "mapping", reflect.TypeFor[map[string]string](): "mapping of texts",
}

// special says it where the type does not.
var special = map[string]string{"from.files": "glob, or a list of them", "retry.when": "condition, or a list of them", "from.range": "`1..1000`", "sql.values": "list of expressions", "steps.args": "mapping of values",
	"steps.timeout": "time, or [timeout](#steps-timeout)", "steps.memory": "size, or [memory](#steps-memory)", "steps.output": withUnit, "steps.core": withUnit, "isolation.memory": withUnit, "isolation.cpu": "number: `0.5`, `2`", "isolation.fork": "`false`", "isolation.user": "name or number", "isolation.require": "`all`, or a list", "files.read": "path, or a list", "files.write": "path, or a list", "memory.limit": withUnit, "memory.jvm": withUnit,
	"steps.per_key": "template, or [per_key](#steps-per_key)", "steps.idempotent": "`true`, `false`"}

const withUnit = "size with its unit: `64MiB`, `1GB`"

var (
	describedAs = regexp.MustCompile(`description=((?:[^,\\]|\\.)*)`)
	oneOf       = regexp.MustCompile(`enum=([^,]*)`)
)

// reference is docs/reference/flow.md, from the structs.
func reference(t *testing.T) []byte {
	var b bytes.Buffer
	b.WriteString("# Every key of the flow file\n\nWritten by `make generate` from the structs that the parser fills; [flow.schema.json](../flow.schema.json) says the same to editors, " +
		"[The flow file](../flow.md) explains it.\nRelative paths start at the flow file's directory. Keys that begin with `x-` are yours, anywhere.\n")
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n", s.title)
		if s.lead != "" {
			b.WriteString(s.lead + "\n\n")
		}
		b.WriteString("| key | value | meaning |\n|---|---|---|\n")
		for f := range s.of.Fields() {
			key, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !f.IsExported() || key == "-" {
				continue
			}
			if !strings.Contains(opts, "omitempty") {
				key = "**" + key + "**"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", key, value(t, s, f), meaning(f))
		}
	}
	b.WriteString("\nKeys in bold must be there.\n")
	return b.Bytes()
}

func value(t *testing.T, s section, f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	last := s.title[strings.LastIndexByte(s.title, ' ')+1:]
	if text, ok := special[last+"."+name]; ok {
		return text
	}
	if words := oneOf.FindAllStringSubmatch(f.Tag.Get("jsonschema"), -1); words != nil {
		var all []string
		for _, w := range words {
			all = append(all, "`"+w[1]+"`")
		}
		return strings.Join(all, ", ")
	}
	if text, ok := written[f.Type]; ok {
		return text
	}
	of := f.Type
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
		of = of.Elem()
	}
	for _, other := range sections {
		if other.of == of {
			return "[" + name + "](#" + anchor(other.title) + ")"
		}
	}
	t.Errorf("%s: nobody says how a %s is written", name, f.Type)
	return ""
}

func anchor(title string) string {
	return strings.NewReplacer(":", "", " ", "-").Replace(strings.ToLower(title))
}

func meaning(f reflect.StructField) string {
	m := describedAs.FindStringSubmatch(f.Tag.Get("jsonschema"))
	if m == nil {
		return ""
	}
	return strings.NewReplacer(`\,`, ",", "|", `\|`).Replace(m[1])
}

func TestReferenceIsCurrent(t *testing.T) {
	const path = "../../docs/reference/flow.md"
	want := reference(t)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(have, want) {
		t.Errorf("%s is not what the structs say (%v): run make generate", path, err)
	}
}
