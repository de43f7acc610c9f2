package lab

import (
	"context"
	"embed"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem/internal/proc"
)

//go:embed programs
var programs embed.FS

// starters are the command lines for an experiment, by runtime. A runtime that is not here is noted as missing.
func (r *Report) starters(ctx context.Context, cfg *Config) (map[string]func(experiment string) []string, error) {
	if err := unpack(cfg.Temp); err != nil {
		return nil, err
	}
	at := func(parts ...string) string {
		return filepath.Join(append([]string{cfg.Temp, "programs"}, parts...)...)
	}
	missing := func(runtime, why string) { r.Missing = append(r.Missing, Missing{Runtime: runtime, Why: why}) }
	starters := map[string]func(string) []string{"go": func(e string) []string { return append(slices.Clone(cfg.Self), e) }}
	python := cfg.Python
	if python == "" {
		python = "python3"
	}
	if path, err := proc.Look(python); err != nil {
		missing("python", python+" is not here")
	} else if v, ok := says(ctx, path, "-c", "import platform, os; os.memfd_create; print(platform.python_version())"); !ok {
		missing("python", path+" does not run, or is older than 3.8: "+v)
	} else {
		r.Machine.Runtimes["python"] = v
		starters["python"] = func(e string) []string { return []string{path, at("python", e+".py")} }
	}
	if path, err := proc.Look("node"); err != nil {
		missing("node", "node is not here")
	} else if v, ok := says(ctx, path, "--version"); !ok {
		missing("node", path+" does not run: "+v)
	} else {
		r.Machine.Runtimes["node"] = strings.TrimPrefix(v, "v")
		starters["node"] = func(e string) []string { return []string{path, at("lab.mjs"), e} }
	}
	java, v := findJava(ctx, cfg.Java)
	switch {
	case java == "":
		missing("java", "java is not here")
	default:
		r.Machine.Runtimes["java"] = v
		if major, _, _ := strings.Cut(v, "."); number(major) < 21 {
			missing("java", "virtual threads need Java 21; here is "+v)
		}
		// Compiled once, where there is a compiler: else each start compiles.
		starters["java"] = func(e string) []string { return []string{java, at("Lab.java"), e} }
		if _, ok := says(ctx, filepath.Join(filepath.Dir(java), "javac"), "-d", at("java"), at("Lab.java")); ok {
			starters["java"] = func(e string) []string { return []string{java, "-cp", at("java"), "Lab", e} }
		}
	}
	return starters, nil
}

// unpack writes the programs.
func unpack(dir string) error {
	return fs.WalkDir(programs, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(dir, name), 0o755)
		}
		text, err := programs.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		return err
	})
}

// says is the first line that a program prints, or why it does not run.
func says(ctx context.Context, argv ...string) (string, bool) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	end, err := proc.Run(ctx, proc.Command{Argv: argv})
	if err != nil {
		return err.Error(), false
	}
	first := func(b []byte) string { line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n"); return line }
	if end.Code != 0 || end.Signal != "" {
		return first(end.Stderr), false
	}
	return first(end.Stdout), true
}

func number(s string) int { n, _ := strconv.Atoi(s); return n }

// findJava is the newest Java: of those given, on the path, and where distributions put it.
func findJava(ctx context.Context, given []string) (path, version string) {
	all := slices.Clone(given)
	if p, err := proc.Look("java"); err == nil {
		all = append(all, p)
	}
	more, _ := filepath.Glob("/usr/lib/jvm/*/bin/java")
	seen := map[string]bool{}
	for _, p := range append(all, more...) {
		real, err := filepath.EvalSymlinks(p)
		if err != nil || seen[real] {
			continue
		}
		seen[real] = true
		v := release(filepath.Dir(filepath.Dir(real)))
		if v == "" {
			line, ok := says(ctx, real, "--version") // openjdk 17.0.15 2025-04-15
			if f := strings.Fields(line); ok && len(f) > 1 {
				v = f[1]
			}
		}
		major, _, _ := strings.Cut(v, ".")
		best, _, _ := strings.Cut(version, ".")
		if number(major) > number(best) {
			path, version = real, v
		}
	}
	return path, version
}

// release is the version that a Java directory says it has.
func release(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, "release"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "JAVA_VERSION="); ok {
			return strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return ""
}
