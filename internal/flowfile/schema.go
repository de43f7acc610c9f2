package flowfile

import (
	"bytes"
	"encoding/json"

	"github.com/invopop/jsonschema"
)

// Schema is the JSON Schema (2020-12) of the flow file, made from the structs that Parse fills. Editors complete and check flow files with it; Parse
// says the same and more, in better words.
func Schema() []byte {
	r := &jsonschema.Reflector{Anonymous: true, ExpandedStruct: true, DoNotReference: true}
	b, err := json.Marshal(r.Reflect(&File{}))
	var root map[string]any
	if err == nil {
		err = json.Unmarshal(b, &root)
	}
	if err != nil {
		panic("flowfile: the structs have no schema: " + err.Error()) // a mistake in this package, found by its tests
	}
	root["title"] = "Tandem flow"
	loosen(root)

	props := func(m any, names ...string) map[string]any {
		for _, n := range names {
			m = m.(map[string]any)[n]
		}
		return m.(map[string]any)
	}
	either := func(m map[string]any, alternatives ...any) {
		delete(m, "type")
		delete(m, "items")
		m["anyOf"] = alternatives
	}
	text, number := map[string]any{"type": "string"}, map[string]any{"type": "integer"}
	texts := map[string]any{"type": "array", "items": text, "minItems": 1}
	from := props(root, "properties", "from")
	either(props(from, "properties", "files"), text, texts)
	props(from, "properties", "range")["pattern"] = `^-?[0-9]+\.\.-?[0-9]+$`
	exactlyOne(from, sources...)
	exactlyOne(props(root, "properties", "into"), sinks...)

	step := props(root, "properties", "steps", "items")
	exactlyOne(step, verbs...)
	for _, name := range []string{"worker", "run"} {
		argv := props(step, "properties", name)
		argv["minItems"], argv["items"] = 1, map[string]any{"type": []string{"string", "number"}}
	}
	duration := func(m map[string]any) {
		m["type"], m["pattern"] = "string", `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`
	}
	for _, name := range []string{"hang", "cpu_time"} {
		duration(props(step, "properties", name))
	}
	sized := func(m map[string]any) {
		m["type"], m["pattern"] = "string", `^[0-9.]+ *([kKMGT]i?B|B)$`
	}
	for _, name := range []string{"output", "core"} {
		sized(props(step, "properties", name))
	}
	duration(props(step, "properties", "recycle", "properties", "age"))
	duration(props(step, "properties", "recycle", "properties", "idle"))
	duration(props(step, "properties", "batch", "properties", "every"))
	positive := map[string]any{"type": "integer", "minimum": 1}
	pools := props(root, "properties", "pools", "additionalProperties")
	for _, limits := range []map[string]any{step, pools} {
		either(props(limits, "properties", "concurrency"), positive, map[string]any{"const": "auto"})
		rate := props(limits, "properties", "rate")
		rate["type"], rate["pattern"] = "string", `^[0-9.]+ */ *(s|sec|second|m|min|minute|h|hour)$`
		duration(props(limits, "properties", "breaker", "properties", "pause"))
	}
	object := func(m map[string]any, alternatives ...any) { // what may stand in place of an object
		nested := map[string]any{}
		for _, k := range []string{"type", "properties", "additionalProperties", "patternProperties", "required"} {
			if v, ok := m[k]; ok {
				nested[k] = v
				delete(m, k)
			}
		}
		m["anyOf"] = append(alternatives, nested)
	}
	duration(props(step, "properties", "timeout", "properties", "soft"))
	duration(props(step, "properties", "timeout", "properties", "hard"))
	sized(props(step, "properties", "memory", "properties", "limit"))
	sized(props(step, "properties", "memory", "properties", "jvm"))
	short, one := map[string]any{}, map[string]any{}
	duration(short)
	sized(one)
	object(props(step, "properties", "timeout"), short)
	object(props(step, "properties", "memory"), one)
	for _, of := range []map[string]any{root, step} {
		i := props(of, "properties", "isolation")
		sized(props(i, "properties", "memory"))
		props(i, "properties", "cpu")["minimum"] = 0.01
		for _, list := range []map[string]any{props(i, "properties", "require"), props(i, "properties", "files", "properties", "read"), props(i, "properties", "files", "properties", "write")} {
			either(list, text, texts)
		}
		either(props(i, "properties", "user"), text, number)
		object(i, map[string]any{"enum": isolationLevels})
	}
	either(props(step, "properties", "workers"), positive, map[string]any{"type": "string", "pattern": `^(cores( *[-+] *[0-9]+)?|[0-9.]+%)$`})
	either(props(step, "properties", "budget"), positive, map[string]any{"const": "keep"})
	plain(props(step, "properties", "workers"))
	pause := props(step, "properties", "retry", "properties", "backoff")
	plain(pause)
	pause["type"], pause["pattern"] = "string", `^[0-9.]+[a-zµ]+(\.\.[0-9.]+[a-zµ]+)?$`
	either(props(step, "properties", "retry", "properties", "when"), text, map[string]any{"type": "array", "items": map[string]any{"type": []string{"string", "integer"}}})
	for _, k := range []string{"keep", "when"} {
		props(step, "properties", k)["pattern"] = `^\$\{\{`
	}
	stop := props(root, "properties", "failures", "properties", "stop_after")
	plain(stop)
	either(stop, positive, map[string]any{"type": "string", "pattern": `^[0-9.]+%$`})
	object(props(step, "properties", "per_key"), text)
	object(props(root, "properties", "resume"), text)
	value := map[string]any{"type": []string{"string", "number", "boolean"}}
	object(props(root, "properties", "params", "additionalProperties"), value)
	size := props(step, "properties", "queue", "properties", "bytes")
	for _, size := range []map[string]any{size, props(step, "properties", "recycle", "properties", "memory")} {
		either(size, map[string]any{"type": "integer", "minimum": 1}, map[string]any{"type": "string", "pattern": `^[0-9.]+ *([kKMGT]i?B|B)?$`})
	}
	http := props(step, "properties", "http")
	exactlyOne(http, "get", "post", "put", "patch", "delete")
	status := map[string]any{"type": "string", "pattern": `^([1-5](xx|XX|[0-9]{2})(-[1-5][0-9]{2})?,? *)+$`}
	either(props(http, "properties", "expect"), number, status, map[string]any{"type": "array", "items": map[string]any{"anyOf": []any{number, status}}})

	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(root); err != nil {
		panic("flowfile: the schema is not JSON: " + err.Error())
	}
	return out.Bytes()
}

// plain takes away what a struct has and the text that stands for it has not.
func plain(m map[string]any) {
	for _, k := range []string{"properties", "additionalProperties", "patternProperties", "required"} {
		delete(m, k)
	}
}

// exactlyOne demands one of the keys and refuses a second.
func exactlyOne(m map[string]any, keys ...string) {
	var list []any
	for _, k := range keys {
		list = append(list, map[string]any{"required": []string{k}})
	}
	m["oneOf"] = list
}

// loosen lets keys that begin with x- pass in every mapping with fixed keys.
func loosen(v any) {
	switch v := v.(type) {
	case map[string]any:
		if v["additionalProperties"] == false {
			v["patternProperties"] = map[string]any{"^x-": true}
		}
		for _, x := range v {
			loosen(x)
		}
	case []any:
		for _, x := range v {
			loosen(x)
		}
	}
}
