// Package flowfile reads flow files: strict YAML into a [File], a File into a flow that the engine runs.
//
// Every fault of a file is reported, in the order of the file, each with file, line and column, the line with a caret, what was expected and, for a
// misspelt word, what was probably meant. Load runs nothing and opens nothing but the file itself; Build finds interpreters, builds Go workers and
// opens the sink.
package flowfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tandem"
)

// Version is the value of the key `tandem`.
const Version = "v1"

// File is a flow file. The tags and descriptions are also its JSON Schema.
type File struct {
	Path string `json:"-"` // as the user named it
	Dir  string `json:"-"` // its directory: relative paths start here

	Tandem string `json:"tandem" jsonschema:"enum=v1,description=Version of the flow language."`
	Name   string `json:"name" jsonschema:"description=Name of the flow in output and reports."`
	About  string `json:"about,omitempty" jsonschema:"description=What the flow is for."`
	From   From   `json:"from" jsonschema:"description=Where the items come from: exactly one source."`
	Steps  []Step `json:"steps" jsonschema:"minItems=1,description=What is done to each item, in this order."`
	Into   *Into  `json:"into,omitempty" jsonschema:"description=Where each item's outcome goes. Without it outcomes are only counted."`

	src   []byte
	nodes map[string]place // where each key path stands
}

// From is the source: exactly one key.
type From struct {
	Files []string `json:"files,omitempty" jsonschema:"description=Glob patterns; ** matches directories. The item is the file's path."`
	Lines string   `json:"lines,omitempty" jsonschema:"description=A text file; each line is an item. - is standard input."`
	JSONL string   `json:"jsonl,omitempty" jsonschema:"description=A JSON lines file; each line is an item. - is standard input."`
	Range string   `json:"range,omitempty" jsonschema:"description=Whole numbers from first to last\\, for example 1..1000."`

	First int64 `json:"-"`
	Last  int64 `json:"-"`
}

// Step is one handler applied to each item.
type Step struct {
	Name   string   `json:"name" jsonschema:"description=Unique name of the step."`
	Python string   `json:"python,omitempty" jsonschema:"description=A Python function: module:function or file.py:function."`
	Go     string   `json:"go,omitempty" jsonschema:"description=A Go worker: ./package:handler. The package is built."`
	Worker []string `json:"worker,omitempty" jsonschema:"description=A program that speaks the worker protocol\\, as argv. Needs handler."`
	Run    []string `json:"run,omitempty" jsonschema:"description=One command per item\\, as argv; templates allowed. Its output is the value."`
	HTTP   *HTTP    `json:"http,omitempty" jsonschema:"description=One HTTP request per item."`

	Handler string         `json:"handler,omitempty" jsonschema:"description=For worker: the handler's name."`
	Venv    string         `json:"venv,omitempty" jsonschema:"description=For python: directory of a virtual environment."`
	Stdin   string         `json:"stdin,omitempty" jsonschema:"description=For run: template of what the command reads."`
	Args    map[string]any `json:"args,omitempty" jsonschema:"description=For python\\, go and worker: named arguments with templates. Without it the handler gets the item's value."`

	Mode        tandem.Mode   `json:"mode,omitempty" jsonschema:"enum=auto,enum=goroutine,enum=thread,enum=async,enum=process,description=How the handler runs; auto is the default."`
	Workers     int           `json:"workers,omitempty" jsonschema:"minimum=1,description=Worker processes; one per core unless told otherwise."`
	Threads     int           `json:"threads,omitempty" jsonschema:"minimum=1,description=Tasks at a time in one worker process."`
	Concurrency int           `json:"concurrency,omitempty" jsonschema:"minimum=1,description=Tasks in flight for goroutine and async; 64 unless told otherwise."`
	Timeout     time.Duration `json:"timeout,omitempty" jsonschema:"description=For one attempt\\, for example 20s; what runs longer is killed."`
	Queue       Queue         `json:"queue,omitempty" jsonschema:"description=Bounds of the queue in front of the step."`
}

// Queue bounds what waits in front of a step.
type Queue struct {
	Items int   `json:"items,omitempty" jsonschema:"minimum=1,description=1024 unless told otherwise."`
	Bytes int64 `json:"bytes,omitempty" jsonschema:"description=Of the items' values\\, for example 64MiB\\, which is the default."`
}

// HTTP is one request per item. The method's key holds the URL.
type HTTP struct {
	Get    string `json:"get,omitempty" jsonschema:"description=URL; templates allowed."`
	Post   string `json:"post,omitempty" jsonschema:"description=URL; templates allowed."`
	Put    string `json:"put,omitempty" jsonschema:"description=URL; templates allowed."`
	Patch  string `json:"patch,omitempty" jsonschema:"description=URL; templates allowed."`
	Delete string `json:"delete,omitempty" jsonschema:"description=URL; templates allowed."`

	Headers map[string]string `json:"headers,omitempty" jsonschema:"description=Templates allowed."`
	Body    string            `json:"body,omitempty" jsonschema:"description=Template; ${{ prev }} sends the value of the step before as it is."`
	JSON    any               `json:"json,omitempty" jsonschema:"description=Any value with templates inside\\, sent as JSON."`
	File    string            `json:"file,omitempty" jsonschema:"description=Path of a file to send; templates allowed."`
	Expect  []StatusRange     `json:"expect,omitempty" jsonschema:"description=Good statuses: 2xx\\, 201 or a list; 2xx is the default."`

	Method  string `json:"-"`
	URL     string `json:"-"`
	HasBody bool   `json:"-"`
	HasJSON bool   `json:"-"`
}

// StatusRange is a range of statuses, both ends included.
type StatusRange struct{ From, To int }

// Into is the sink.
type Into struct {
	JSONL string `json:"jsonl" jsonschema:"description=A file with one JSON line per item; - is standard output. It is emptied first."`
}

const maxSize = 1 << 20

// Load reads and checks a flow file. The error is an *Error or a [Faults].
func Load(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		hint := "give the path of a flow file"
		if errors.Is(err, os.ErrPermission) {
			hint = "make it readable"
		}
		return nil, &Error{File: path, Message: reason(err), Hint: hint}
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, &Error{File: path, Message: "is a directory", Hint: "give the path of a flow file"}
	}
	src, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, &Error{File: path, Message: reason(err)}
	}
	file, err := Parse(path, src)
	if err != nil {
		return nil, err
	}
	if file.Dir, err = filepath.Abs(filepath.Dir(path)); err != nil {
		return nil, &Error{File: path, Message: err.Error()}
	}
	return file, nil
}

func reason(err error) string {
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

// WritesStdout says whether the sink is standard output.
func (f *File) WritesStdout() bool { return f.Into != nil && f.Into.JSONL == "-" }

// SinkPath is where outcomes go, for people; empty when nowhere.
func (f *File) SinkPath() string {
	if f.Into == nil || f.Into.JSONL == "-" {
		return ""
	}
	return f.Into.JSONL
}

// Verb is the step's verb.
func (s *Step) Verb() string {
	switch {
	case s.Python != "":
		return "python"
	case s.Go != "":
		return "go"
	case len(s.Worker) > 0:
		return "worker"
	case len(s.Run) > 0:
		return "run"
	}
	return "http"
}

// Outline is the flow in one line.
func (f *File) Outline() string {
	var parts []string
	switch {
	case len(f.From.Files) > 0:
		parts = append(parts, "files")
	case f.From.Lines != "":
		parts = append(parts, "lines")
	case f.From.JSONL != "":
		parts = append(parts, "jsonl")
	default:
		parts = append(parts, fmt.Sprintf("range %d..%d", f.From.First, f.From.Last))
	}
	for i := range f.Steps {
		parts = append(parts, f.Steps[i].Name+" ("+f.Steps[i].Verb()+")")
	}
	if f.Into != nil {
		parts = append(parts, f.Into.JSONL)
	}
	return strings.Join(parts, " → ")
}
