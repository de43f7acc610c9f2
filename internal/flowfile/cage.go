package flowfile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tandem"
	"tandem/internal/handler"
	"tandem/internal/proc"
)

// boxed finds what a step's isolation must leave open for the handler to run at all, and tries it out: a sandbox that hides the handler's own files is told before
// the first item. argv may come back with the interpreter's own name in place of one that finds it.
func (f *File) boxed(ctx context.Context, i int, s Surroundings, argv, own []string) ([]string, proc.Isolation, error) {
	ask, err := f.ask(i)
	if err != nil || ask.IsZero() {
		return argv, ask, err
	}
	at := f.isolationPath(i)
	limits := proc.Limits{Memory: f.Steps[i].Memory.Limit}
	closed := ask.Sandbox || len(ask.Read)+len(ask.Write) > 0
	dir := f.Dir
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	program := ""
	if len(argv) > 0 {
		path, err := proc.Look(argv[0])
		if err != nil {
			return argv, ask, err
		}
		program = path
	}
	python := f.Steps[i].Python != ""
	if closed {
		ask.Read = append(ask.Read, dir)
		if python {
			exe, dirs, err := handler.PythonFiles(ctx, program, s.Env)
			if err != nil {
				return argv, ask, err
			}
			argv = append([]string{exe}, argv[1:]...)
			program = exe
			ask.Read = append(append(ask.Read, dirs...), s.Cache)
		}
		for _, p := range own {
			if python {
				ask.Read = append(ask.Read, p)
			}
			if python && strings.HasSuffix(p, ".py") { // it may import what lies beside it
				ask.Read = append(ask.Read, filepath.Dir(p))
			}
		}
		if program != "" {
			own = append(own, program)
		}
		for _, p := range own {
			if !ask.Reaches(p) && p != program {
				return argv, ask, f.Errorf("name it in files: {read: […]}, or its directory", at, "the sandbox hides %s, which the step needs", p)
			}
		}
		if program != "" && !python {
			if file, dir := handler.Hidden(program, ask); file != "" {
				return argv, ask, f.Errorf("let it be read: files: {read: ["+dir+"]}", at, "the sandbox hides %s, without which %s does not run", file, program)
			}
		}
		if program != "" && !python && !ask.Reaches(program) {
			// The program itself may always be read; what it consists of beside that may lie next to it.
			if script(program) {
				return argv, ask, f.Errorf("name the directory it is installed in in files: {read: […]}, or use the program that it leads to", at,
					"the sandbox hides what %s leads to: it is a script", program)
			}
		}
	}
	if !closed && ask.User == "" && len(ask.Require) == 0 {
		return argv, ask, nil
	}
	if closed || python {
		own = append(own, dir)
	}
	trial := []string{"sh", "-c", `for f; do test -r "$f" || echo "$f"; done`, "sh"}
	if python {
		trial = []string{argv[0], "-c", handler.PythonTrial}
	}
	x, err := proc.Run(ctx, proc.Command{Argv: append(trial, own...), Env: s.Env, Dir: dir, Limits: limits, Isolation: ask})
	if err != nil {
		if ask.User != "" && errors.Is(err, fs.ErrPermission) {
			return argv, ask, f.Errorf("let that user reach it, choose another program, or leave user out", at, "the user %s cannot run %s", ask.User, trial[0])
		}
		if e, ok := errors.AsType[*tandem.Error](err); ok {
			return argv, ask, f.Errorf(e.Hint, at, "%s: %s", e.On, e.Message)
		}
		return argv, ask, err
	}
	switch hidden := strings.TrimSpace(string(x.Stdout)); {
	case ctx.Err() != nil:
		return argv, ask, ctx.Err()
	case x.Over != nil:
		return argv, ask, f.Errorf("raise it", at, "memory: %s is less than %s needs to begin with", proc.Bytes(limits.Memory), trial[0])
	case x.Code != 0 || x.Signal != "":
		return argv, ask, f.Errorf("see docs/howto/untrusted-handlers.md; name what it needs in files: {read: […]}", at, "in this isolation %s does not run: %s", trial[0], firstOf(lastLine(string(x.Stderr)), x.Signal, "exit code "+strconv.Itoa(x.Code)))
	case hidden != "":
		first, _, _ := strings.Cut(hidden, "\n")
		if ask.User != "" {
			return argv, ask, f.Errorf("let that user read it (chmod, chown), or leave user out", at, "the user %s cannot read %s, which the step needs", ask.User, first)
		}
		return argv, ask, f.Errorf("name it in files: {read: […]}", at, "the sandbox hides %s, which the step needs", first)
	}
	return argv, ask, nil
}

func firstOf(list ...string) string {
	i := slices.IndexFunc(list, func(s string) bool { return s != "" })
	return list[max(i, 0)]
}

func lastLine(s string) string {
	s = strings.TrimRight(s, "\n")
	return s[strings.LastIndexByte(s, '\n')+1:]
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// script says whether a file begins with #!.
func script(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [2]byte
	n, _ := f.Read(head[:])
	return string(head[:n]) == "#!"
}

// namedFiles are the files that a command line names by themselves: those that are there. What a template makes is not known yet.
func (f *File) namedFiles(args []string) (list []string) {
	for _, a := range args {
		if filepath.IsAbs(a) && !strings.Contains(a, "${{") && exists(a) {
			list = append(list, a)
		}
	}
	return list
}

// teller remembers how far the commands of a step are kept from the machine, and passes on what is news.
type teller struct {
	step string
	hear func(tandem.Event) // may be nil
	mu   sync.Mutex
	last *tandem.Isolation
	said string
}

func (t *teller) isolated(i tandem.Isolation) {
	said := i.String()
	t.mu.Lock()
	news := said != t.said
	t.said, t.last = said, &i
	t.mu.Unlock()
	if news && t.hear != nil && len(i.Requested) > 0 {
		t.hear(tandem.Event{Time: time.Now(), What: "isolation", ID: t.step, From: i.Level, To: i.State(), Reason: said})
	}
}

func (t *teller) isolation() *tandem.Isolation {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// pythonFiles are the files that a python step names: its handler's, and its venv.
func (f *File) pythonFiles(python, venv string) (list []string) {
	module, _, _ := cutLast(python)
	if strings.HasSuffix(module, ".py") {
		if path, err := filepath.Abs(f.resolve(module)); err == nil && exists(path) {
			list = append(list, path)
		}
	}
	if venv != "" {
		list = append(list, venv)
	}
	return list
}
