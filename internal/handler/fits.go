package handler

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"tandem/internal/proc"
)

var pythonName = regexp.MustCompile(`^python[0-9.]*$`)

// Hidden names a file that a command cannot run without and that a sandbox hides, and the directory to let it read; both are empty when none is known. It only looks at
// files: nothing is run outside the sandbox. What a program of machine code loads at run time is not known here.
func Hidden(program string, box proc.Isolation) (file, dir string) {
	path, err := proc.Look(program)
	if err != nil {
		return "", "" // that is told for itself
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", ""
	}
	for range 4 { // an interpreter may be a script too
		by, ok := interpreter(path)
		if !ok {
			break
		}
		if root := filepath.Dir(filepath.Dir(path)); filepath.Base(filepath.Dir(path)) == "shims" && hides(box, root) { // pyenv, rbenv, asdf, …: what it leads to lies there
			return root, root
		}
		if !filepath.IsAbs(by) {
			if by, err = proc.Look(by); err != nil {
				return "", ""
			}
		}
		if hides(box, by) {
			return by, installed(by)
		}
		path = by
	}
	if real, err := filepath.EvalSymlinks(path); err == nil && pythonName.MatchString(filepath.Base(real)) {
		// Without its library it cannot begin. There may be several below one prefix, of which only it knows its own.
		own, _ := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(real)), "lib", "python3*", "os.py"))
		if len(own) > 0 && !slices.ContainsFunc(own, func(f string) bool { return !hides(box, f) }) {
			return filepath.Dir(own[0]), installed(real)
		}
	}
	return "", ""
}

// hides looks at where links lead to: a link in a hidden place to a program that may be read works.
func hides(box proc.Isolation, path string) bool {
	real, err := filepath.EvalSymlinks(path)
	return err == nil && !box.Reaches(real)
}

// installed is the directory in which what belongs to a program lies.
func installed(program string) string {
	real, err := filepath.EvalSymlinks(program)
	if err != nil {
		real = program
	}
	if dir := filepath.Dir(real); filepath.Base(dir) != "bin" || filepath.Dir(dir) == "/" {
		return dir
	}
	return filepath.Dir(filepath.Dir(real))
}

// interpreter is what the first line of a script names; behind env, what env would look for.
func interpreter(file string) (program string, ok bool) {
	f, err := os.Open(file)
	if err != nil {
		return "", false
	}
	defer f.Close()
	line, _ := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n')
	line, ok = strings.CutPrefix(line, "#!")
	words := strings.Fields(line)
	if !ok || len(words) == 0 {
		return "", false
	}
	if filepath.Base(words[0]) == "env" {
		if i := slices.IndexFunc(words[1:], func(w string) bool { return !strings.HasPrefix(w, "-") && !strings.Contains(w, "=") }); i >= 0 {
			return words[1+i], true
		}
	}
	return words[0], true
}

// begins are interpreters, and what makes them begin and end with as little as they can.
var begins = map[string][]string{"sh": {"-c", ":"}, "bash": {"--norc", "-c", ":"}, "dash": {"-c", ":"}, "python": {"-I", "-S", "-c", ""}, "perl": {"-e", "0"}, "ruby": {"--disable-all", "-e", "0"}}

// TooSmall tells that a command's memory is less than its interpreter needs to begin, and names that. It is true only when the interpreter does not begin with the
// limit, does so without, and then again does not with it; of what is no interpreter that is known here it says nothing, for to try it would be to run it.
func TooSmall(ctx context.Context, argv []string, env []string, dir string, limits proc.Limits, box proc.Isolation) (program string, small bool) {
	path, err := proc.Look(argv[0])
	if err != nil || limits.Memory <= 0 {
		return "", false
	}
	if by, ok := interpreter(path); ok {
		if path, err = proc.Look(by); err != nil {
			return "", false
		}
	}
	name := filepath.Base(path)
	if pythonName.MatchString(name) {
		name = "python"
	}
	args, ok := begins[name]
	if _, shim := interpreter(path); !ok || shim {
		return "", false
	}
	begun := func(limits proc.Limits) bool {
		x, err := proc.Run(ctx, proc.Command{Argv: append([]string{path}, args...), Env: env, Dir: dir, Limits: limits, Isolation: box})
		return err == nil && x.Code == 0 && x.Signal == "" && x.Over == nil
	}
	small = !begun(limits) && begun(proc.Limits{}) && !begun(limits)
	return filepath.Base(path), small && ctx.Err() == nil
}
