package source

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"tandem"
)

// Files gives each regular file that matches one of the patterns, sorted within a directory: text, the file's absolute path; the id is the path
// relative to base. Links to files are followed, links to directories are not. A file that several patterns match comes once. With one pattern
// nothing is remembered; with several, the ids that were given.
func Files(base string, patterns []string) (tandem.Source, error) {
	abs, err := filepath.Abs(base)
	if err != nil {
		return nil, &tandem.Error{Op: "find files below", On: base, Kind: tandem.KindSource, Message: err.Error(), Err: err}
	}
	for _, p := range patterns {
		if !doublestar.ValidatePattern(p) {
			return nil, &tandem.Error{Op: "find files", On: p, Kind: tandem.KindSource, Message: "not a good pattern", Hint: "* matches in a name, ** matches directories, {a,b} one of several, \\ takes a sign as it is"}
		}
	}
	return files{abs, patterns}, nil
}

type files struct {
	base     string
	patterns []string
}

func (s files) Total() int64 { return -1 }

func (s files) Each(ctx context.Context, yield func(string, tandem.Value) bool) error {
	var seen map[string]bool
	if len(s.patterns) > 1 {
		seen = map[string]bool{}
	}
	for _, p := range s.patterns {
		stop := false
		err := s.glob(ctx, p, func(path string) bool {
			id := path
			if rel, err := filepath.Rel(s.base, path); err == nil {
				id = filepath.ToSlash(rel)
			}
			if seen != nil {
				if seen[id] {
					return true
				}
				seen[id] = true
			}
			stop = !yield(id, tandem.TextValue(path))
			return !stop
		})
		if err != nil || stop {
			return err
		}
	}
	return nil
}

// glob walks one pattern.
func (s files) glob(ctx context.Context, pattern string, give func(string) bool) error {
	full := pattern
	if !filepath.IsAbs(pattern) {
		// A base with signs that mean something in patterns is still just a path: only the pattern's own part is matched.
		full = filepath.Join(escape(s.base), pattern)
	}
	root, rest := doublestar.SplitPattern(filepath.ToSlash(full))
	root = unescape(root)
	if !hasMeta(rest) {
		path := filepath.Join(root, unescape(rest))
		info, err := os.Stat(path)
		if err != nil {
			return s.fault(path, err, "a pattern such as photos/**/*.jpg matches many files")
		}
		if info.IsDir() {
			return &tandem.Error{Op: "find files", On: pattern, Kind: tandem.KindSource, Message: "is a directory", Hint: "write " + strings.TrimRight(pattern, "/") + "/**/* for the files below it"}
		}
		give(path)
		return nil
	}
	if _, err := os.Stat(root); err != nil {
		return s.fault(root, err, "paths are relative to the flow file")
	}
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return s.fault(path, err, "make it readable, or leave it out of the pattern")
		}
		if ctx.Err() != nil {
			return filepath.SkipAll
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() {
			if rel != "." && !mayHold(rest, rel) {
				return filepath.SkipDir
			}
			return nil
		}
		if ok, _ := doublestar.Match(rest, filepath.ToSlash(rel)); !ok {
			return nil
		}
		if !d.Type().IsRegular() {
			if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
				return nil // a dangling link, a socket, a directory behind a link
			}
		}
		if !give(path) {
			return filepath.SkipAll
		}
		return nil
	})
}

func (s files) fault(path string, err error, hint string) error {
	return &tandem.Error{Op: "find files", On: path, Kind: tandem.KindSource, Message: reason(err), Hint: hint, Err: err}
}

// mayHold says whether a directory can hold a match: without ** a pattern reaches no deeper than its own parts.
func mayHold(pattern, dir string) bool {
	if strings.Contains(pattern, "**") || strings.ContainsAny(pattern, "{") {
		return true
	}
	parts, have := strings.Split(pattern, "/"), strings.Split(filepath.ToSlash(dir), "/")
	if len(have) >= len(parts) {
		return false
	}
	ok, _ := doublestar.Match(strings.Join(parts[:len(have)], "/"), filepath.ToSlash(dir))
	return ok
}

const meta = `*?[]{}\`

func hasMeta(s string) bool { return strings.ContainsAny(strings.ReplaceAll(s, `\`, ""), `*?[{`) }

func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if strings.IndexByte(meta, c) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
