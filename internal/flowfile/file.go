// Package flowfile reads flow files: strict YAML into a [File], a File into a flow that the engine runs.
//
// Every fault of a file is reported, in the order of the file, each with file, line and column, the line with a caret, what was expected and, for a
// misspelt word, what was probably meant. Load runs nothing and opens nothing but the file itself; Build finds interpreters, builds Go workers and
// opens the sink.
package flowfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"tandem"
	"tandem/internal/expr"
)

// Version is the value of the key `tandem`.
const Version = "v1"

// File is a flow file. The tags and descriptions are also its JSON Schema.
type File struct {
	Path string `json:"-"` // as the user named it
	Dir  string `json:"-"` // its directory: relative paths start here

	Tandem    string           `json:"tandem" jsonschema:"enum=v1,description=Version of the flow language."`
	Name      string           `json:"name" jsonschema:"description=Name of the flow in output and reports."`
	About     string           `json:"about,omitempty" jsonschema:"description=What the flow is for."`
	Params    map[string]Param `json:"params,omitempty" jsonschema:"description=Values that the command line may set: --param NAME=VALUE. A value is the default; {type\\, default\\, about} says more."`
	Secrets   string           `json:"secrets,omitempty" jsonschema:"description=A file of NAME=VALUE lines that only its owner may read. TANDEM_SECRET_NAME in the environment comes first."`
	Pools     map[string]Pool  `json:"pools,omitempty" jsonschema:"description=Limits that several steps share\\, for example one API's: steps name them with pool."`
	From      From             `json:"from" jsonschema:"description=Where the items come from: exactly one source."`
	Steps     []Step           `json:"steps" jsonschema:"minItems=1,description=What is done to each item\\, in this order."`
	Into      *Into            `json:"into,omitempty" jsonschema:"description=Where each item's outcome goes. Without it outcomes are only counted."`
	Isolation Isolation        `json:"isolation,omitempty" jsonschema:"description=For all steps that run processes and do not say otherwise: none\\, process\\, sandbox\\, or more by its keys."`
	Order     string           `json:"order,omitempty" jsonschema:"enum=keep,description=keep: outcomes are written in the order of the source."`
	Failures  Failures         `json:"failures,omitempty" jsonschema:"description=When to stop\\, and where failed items are kept."`
	Resume    Resume           `json:"resume,omitempty" jsonschema:"description=The run's journal: a path\\, or {file\\, sync}. Unless told otherwise it is kept with the run."`

	src     []byte
	nodes   map[string]place // where each key path stands
	names   *expr.Names      // what templates of the file may name; Build completes its facts
	secrets []string         // the secrets that templates ask for
}

// Param is a value that the command line may set.
type Param struct {
	Type    string `json:"type,omitempty" jsonschema:"enum=text,enum=int,enum=number,enum=bool,description=text unless the default says otherwise."`
	Default any    `json:"default,omitempty" jsonschema:"description=Without one the parameter must be given."`
	About   string `json:"about,omitempty"`
}

// Pool is limits that steps share.
type Pool struct {
	Concurrency Count         `json:"concurrency,omitempty" jsonschema:"description=Tasks in flight\\, or auto: as many as the server takes without getting slower."`
	Max         int           `json:"max,omitempty" jsonschema:"minimum=1,description=For auto: never more."`
	Rate        float64       `json:"rate,omitempty" jsonschema:"description=Starts in a time\\, for example 200/s or 600/min."`
	Breaker     BreakerConfig `json:"breaker,omitempty" jsonschema:"description=Stop asking a server that is down."`
}

// Count is a number or auto, which is -1.
type Count int

// BreakerConfig stops a step whose server is down.
type BreakerConfig struct {
	Failures int           `json:"failures,omitempty" jsonschema:"minimum=1,description=So many broken attempts in a row (network\\, 5xx\\, timeout) pause the pool."`
	Pause    time.Duration `json:"pause,omitempty" jsonschema:"description=Then one task tries again; 10s unless told otherwise."`
}

// From is the source: exactly one key.
type From struct {
	Files []string `json:"files,omitempty" jsonschema:"description=Glob patterns; ** matches directories. The item is the file's path."`
	Lines string   `json:"lines,omitempty" jsonschema:"description=A text file; each line is an item. - is standard input."`
	JSONL string   `json:"jsonl,omitempty" jsonschema:"description=A JSON lines file; each line is an item. - is standard input."`
	CSV   string   `json:"csv,omitempty" jsonschema:"description=A CSV file with a header; each row is an object. - is standard input."`
	Stdin string   `json:"stdin,omitempty" jsonschema:"enum=lines,enum=jsonl,enum=csv,description=Standard input\\, read as lines\\, jsonl or csv."`
	Range string   `json:"range,omitempty" jsonschema:"description=Whole numbers from first to last\\, for example 1..1000."`

	First int64 `json:"-"`
	Last  int64 `json:"-"`
}

// Failures says when a run stops early, and where failed items are kept.
type Failures struct {
	StopAfter StopAfter `json:"stop_after,omitempty" jsonschema:"description=Stop at so many failed items\\, or at a share of those that ended: 50 or 5%."`
	Save      string    `json:"save,omitempty" jsonschema:"description=A file for the failed items; tandem run --retry-failed reads it."`
}

// StopAfter is a number of items or a share of them.
type StopAfter struct {
	Items int
	Share float64
}

// Resume names the journal.
type Resume struct {
	File string `json:"file,omitempty" jsonschema:"description=Path of the journal."`
	Sync string `json:"sync,omitempty" jsonschema:"enum=kill,enum=always,description=kill: what is noted survives the end of the process. always: also a power cut\\, at the price of waiting for the disk."`
}

// Step is one handler applied to each item.
type Step struct {
	Name   string   `json:"name" jsonschema:"description=Unique name of the step."`
	Python string   `json:"python,omitempty" jsonschema:"description=A Python function: module:function or file.py:function."`
	Go     string   `json:"go,omitempty" jsonschema:"description=A Go worker: ./package:handler. The package is built."`
	Worker []string `json:"worker,omitempty" jsonschema:"description=A program that speaks the worker protocol\\, as argv. Needs handler."`
	Run    []string `json:"run,omitempty" jsonschema:"description=One command per item\\, as argv; templates allowed. Its output is the value."`
	Shell  string   `json:"shell,omitempty" jsonschema:"description=One shell script per item; each template stands for one word\\, whatever its value holds. Its output is the value."`
	HTTP   *HTTP    `json:"http,omitempty" jsonschema:"description=One HTTP request per item."`
	SQL    *SQL     `json:"sql,omitempty" jsonschema:"description=One statement per item; with batch one transaction per batch."`
	Write  *Write   `json:"write,omitempty" jsonschema:"description=Write a file per item."`
	Keep   string   `json:"keep,omitempty" jsonschema:"description=A condition; items for which it is false are filtered out."`

	Handler string         `json:"handler,omitempty" jsonschema:"description=For worker: the handler's name."`
	Venv    string         `json:"venv,omitempty" jsonschema:"description=For python: directory of a virtual environment."`
	Stdin   string         `json:"stdin,omitempty" jsonschema:"description=For run: template of what the command reads."`
	Args    map[string]any `json:"args,omitempty" jsonschema:"description=For python\\, go and worker: named arguments with templates. Without it the handler gets the item's value."`

	When  string `json:"when,omitempty" jsonschema:"description=A condition; items for which it is false pass the step by with the value they have."`
	Batch *Batch `json:"batch,omitempty" jsonschema:"description=The handler gets several items at a time."`
	Retry *Retry `json:"retry,omitempty" jsonschema:"description=When a failed attempt is followed by another."`
	Pool  string `json:"pool,omitempty" jsonschema:"description=Name of the limits that this step shares with others."`

	Labels []string `json:"labels,omitempty" jsonschema:"description=For tandem submit: only nodes with all of these labels run the step."`

	Mode        tandem.Mode   `json:"mode,omitempty" jsonschema:"enum=auto,enum=goroutine,enum=thread,enum=async,enum=process,description=How the handler runs. auto: measured and decided while it runs\\, also into threads. Without it: processes\\, an event loop for an async def\\, goroutines for verbs without workers."`
	Workers     Workers       `json:"workers,omitempty" jsonschema:"description=Worker processes: a number\\, cores\\, cores-1 or 50%; cores unless told otherwise."`
	Start       Start         `json:"start,omitempty" jsonschema:"enum=auto,enum=fork,enum=spawn,description=How Python workers come into being: auto forks them from a process that has loaded the handler\\, where that is safe; fork insists on it; spawn starts each by itself."`
	Spares      Spares        `json:"spares,omitempty" jsonschema:"minimum=0,description=Ready workers that wait to take the place of a dead one; without it one is kept from the first death on when workers are forked or take 100ms or more to start."`
	Threads     int           `json:"threads,omitempty" jsonschema:"minimum=1,description=Tasks at a time in one worker process."`
	Concurrency Count         `json:"concurrency,omitempty" jsonschema:"description=Tasks in flight for goroutine and async; auto finds out how many. Of a submitted run: on each node; of http and of a pool on all nodes together."`
	Max         int           `json:"max,omitempty" jsonschema:"minimum=1,description=For concurrency: auto\\, never more than this."`
	Rate        float64       `json:"rate,omitempty" jsonschema:"description=Starts in a time\\, for example 200/s or 600/min."`
	Breaker     BreakerConfig `json:"breaker,omitempty" jsonschema:"description=Stop asking a server that is down."`
	PerKey      *PerKey       `json:"per_key,omitempty" jsonschema:"description=At most so many tasks of one key at the same time\\, while others go on; on all nodes together in a submitted run."`
	Budget      Budget        `json:"budget,omitempty" jsonschema:"description=Threads that one worker or command may compute with (OMP_NUM_THREADS and its like); 1 unless told otherwise\\, keep leaves the environment alone."`
	Timeout     Timeout       `json:"timeout,omitempty" jsonschema:"description=For one attempt\\, for example 20s; what runs longer is killed. {soft: 20s\\, hard: 30s} asks it to end first."`
	Hang        time.Duration `json:"hang,omitempty" jsonschema:"description=What neither answers nor uses a processor for so long is killed\\, for example 30s."`
	CPUTime     time.Duration `json:"cpu_time,omitempty" jsonschema:"description=Processor time of one attempt\\, of all it starts together\\, for example 10s."`
	Memory      Memory        `json:"memory,omitempty" jsonschema:"description=Of a worker or a command and all it starts\\, with a unit: 512MiB. More ends the item as out_of_memory. {limit\\, jvm} also tells Java machines how large their heap may be."`
	Output      int64         `json:"output,omitempty" jsonschema:"description=What one attempt may give\\, with a unit: 10MiB. More ends the item as failed."`
	Core        int64         `json:"core,omitempty" jsonschema:"description=Keep the core file of a process that dies of a fault\\, of at most this size: 64MiB."`
	Isolation   Isolation     `json:"isolation,omitempty" jsonschema:"description=How far its processes are kept from the machine: none\\, process\\, sandbox\\, or more by its keys."`
	Recycle     *Recycle      `json:"recycle,omitempty" jsonschema:"description=When a worker is replaced though nothing is wrong with it\\, for handlers that leak. The new one is ready before the old one goes."`
	Idempotent  *bool         `json:"idempotent,omitempty" jsonschema:"description=false: an item that has begun here is never begun again\\, whatever happens; one whose worker or run died ends as crashed and may or may not have been done."`
	Queue       Queue         `json:"queue,omitempty" jsonschema:"description=Bounds of the queue in front of the step."`

	t   templates
	box Isolation // the step's own and the file's
}

// Start is how workers come into being.
type Start string

// The ways to start a worker.
const (
	StartAuto  Start = "auto"
	StartFork  Start = "fork"
	StartSpawn Start = "spawn"
)

// Spares is a number of ready workers; zero says nothing of it, -1 means none.
type Spares int

// Workers is a number of processes, or a share of the cores: Cores times Share, plus Plus.
type Workers struct {
	N     int
	Share float64 // of the cores; zero means that N is meant
	Plus  int
}

// Timeout is how long one attempt may take.
type Timeout struct {
	Soft time.Duration `json:"soft,omitempty" jsonschema:"description=Then it is asked to end."`
	Hard time.Duration `json:"hard" jsonschema:"description=Then it is killed."`
}

// Memory is what a worker or a command may have.
type Memory struct {
	Limit int64 `json:"limit" jsonschema:"description=Of it and all it starts\\, with a unit: 512MiB."`
	JVM   int64 `json:"jvm,omitempty" jsonschema:"description=Heap of Java machines\\, as -Xmx in JAVA_TOOL_OPTIONS."`
}

// caps is what one attempt may use.
func (s *Step) caps() tandem.Caps {
	return tandem.Caps{Memory: s.Memory.Limit, JVM: s.Memory.JVM, CPUTime: s.CPUTime, Soft: s.Timeout.Soft, Hang: s.Hang, Output: s.Output, Core: s.Core}
}

// Budget is a number of threads; -1 leaves the environment alone.
type Budget int

// Batch says how many items a handler gets at a time.
type Batch struct {
	Size  int           `json:"size" jsonschema:"minimum=1,description=Items in a batch."`
	Every time.Duration `json:"every,omitempty" jsonschema:"description=A batch waits no longer than this to be full; 1s unless told otherwise."`
}

// PerKey bounds how many tasks of one key run at the same time.
type PerKey struct {
	Key         string `json:"key" jsonschema:"description=Template: ${{ item.value.user }}. Items for which it is empty are not bound."`
	Concurrency int    `json:"concurrency,omitempty" jsonschema:"minimum=1,description=1 unless told otherwise."`
}

// Retry says when a failed attempt is followed by another.
type Retry struct {
	Attempts int      `json:"attempts,omitempty" jsonschema:"minimum=1,description=In all; 3 unless told otherwise."`
	Backoff  Backoff  `json:"backoff,omitempty" jsonschema:"description=First and longest pause\\, for example 1s..60s; a random part of it is waited."`
	When     []string `json:"when,omitempty" jsonschema:"description=What is worth another attempt: 429\\, 5xx\\, timeout\\, network\\, reset\\, dns\\, refused\\, memory\\, crash\\, start\\, exit:N\\, exception or an exception's name."`

	when []condition
}

// Backoff is the first and the longest pause.
type Backoff struct{ First, Longest time.Duration }

// SQL is one statement per item.
type SQL struct {
	Open   string `json:"open" jsonschema:"description=The database: sqlite:PATH."`
	Setup  string `json:"setup,omitempty" jsonschema:"description=Run once before the first item\\, for example CREATE TABLE IF NOT EXISTS …; makes the file when it is not there."`
	Exec   string `json:"exec,omitempty" jsonschema:"description=A statement with ? for each value."`
	Query  string `json:"query,omitempty" jsonschema:"description=A query with ? for each value; the rows are the value."`
	Values []any  `json:"values,omitempty" jsonschema:"description=An expression for each ?\\, for example item.id."`
}

// Write is a file per item.
type Write struct {
	Path string `json:"path" jsonschema:"description=Templates allowed; what one puts in cannot leave the directory that is written in front of it."`
	Body string `json:"body,omitempty" jsonschema:"description=Template; ${{ prev }} unless told otherwise."`
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

// Into is the sink: exactly one of jsonl, csv, dir and sqlite.
type Into struct {
	JSONL   string            `json:"jsonl,omitempty" jsonschema:"description=A file with one JSON line per item; - is standard output. It is emptied first."`
	CSV     string            `json:"csv,omitempty" jsonschema:"description=A CSV file with one row per item; - is standard output. It is emptied first."`
	Dir     string            `json:"dir,omitempty" jsonschema:"description=A directory with a file for each value\\, and outcomes.jsonl."`
	SQLite  string            `json:"sqlite,omitempty" jsonschema:"description=A database with one row per item."`
	Columns map[string]string `json:"columns,omitempty" jsonschema:"description=For csv: the columns and the template that makes each."`
	Name    string            `json:"name,omitempty" jsonschema:"description=For dir: template of a file's name; the item's id unless told otherwise."`
	Table   string            `json:"table,omitempty" jsonschema:"description=For sqlite: the table; items unless told otherwise."`

	order   []string // of the columns
	columns []*expr.Template
	name    *expr.Template
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
func (f *File) WritesStdout() bool {
	return f.Into != nil && (f.Into.JSONL == "-" || f.Into.CSV == "-")
}

// WritesFiles says whether two runs at the same time would write into the same files.
func (f *File) WritesFiles() bool { return f.rawSinkPath() != "" || f.Failures.Save != "" }

// SinkPath is where outcomes go, for people; empty when nowhere.
func (f *File) SinkPath() string {
	raw := f.rawSinkPath()
	if text, err := f.fixed(raw, "into"); err == nil {
		return text
	}
	return raw
}

// rawSinkPath is SinkPath as it stands in the file.
func (f *File) rawSinkPath() string {
	if f.Into == nil || f.WritesStdout() {
		return ""
	}
	return f.Into.path()
}

// kind is the sink's key.
func (i *Into) kind() string {
	switch {
	case i == nil:
		return ""
	case i.JSONL != "":
		return "jsonl"
	case i.CSV != "":
		return "csv"
	case i.Dir != "":
		return "dir"
	}
	return "sqlite"
}

func (i *Into) path() string { return cmp.Or(i.JSONL, i.CSV, i.Dir, i.SQLite) }

// ReadsStdin says whether the source is standard input.
func (f *File) ReadsStdin() bool {
	return f.From.Stdin != "" || f.From.Lines == "-" || f.From.JSONL == "-" || f.From.CSV == "-"
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
	case s.Shell != "":
		return "shell"
	case s.HTTP != nil:
		return "http"
	case s.SQL != nil:
		return "sql"
	case s.Write != nil:
		return "write"
	}
	return "keep"
}

// verb is the word of a source: files, lines, …
func (from *From) verb() string {
	switch {
	case len(from.Files) > 0:
		return "files"
	case from.Lines != "":
		return "lines"
	case from.JSONL != "":
		return "jsonl"
	case from.CSV != "":
		return "csv"
	case from.Stdin != "":
		return "stdin"
	}
	return "range"
}

// Outline is the flow in one line.
func (f *File) Outline() string {
	first := f.From.verb()
	if first == "range" {
		first = fmt.Sprintf("range %d..%d", f.From.First, f.From.Last)
	}
	parts := []string{first}
	for i := range f.Steps {
		parts = append(parts, f.Steps[i].Name+" ("+f.Steps[i].Verb()+")")
	}
	if f.Into != nil {
		sink := f.SinkPath()
		if sink == "" {
			sink = "standard output"
		}
		parts = append(parts, sink)
	}
	return strings.Join(parts, " → ")
}
