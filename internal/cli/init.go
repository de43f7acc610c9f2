package cli

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"tandem"
	"tandem/internal/flowfile"
)

//go:embed starters
var starterFiles embed.FS

// starter is a flow to begin with.
type starter struct {
	name, about string
	next        []string // what to do when it is there
}

var starters = []starter{
	{"photos", "small pictures of photos: Python with Pillow in worker processes, a file for each", []string{
		"python3 -m venv .venv && .venv/bin/pip install pillow", "put photos into photos/, or add --param photos=DIR"}},
	{"pdf", "the words of PDFs: pdftotext, Python's standard library, SQLite", []string{
		"install pdftotext (Debian: apt install poppler-utils)", "put PDFs into pdfs/, or add --param pdfs=DIR"}},
	{"http", "a request per line: retries, a breaker, as many in flight as the server takes", []string{
		"have something to ask: python3 -m http.server 8000 --bind 127.0.0.1 &", "or edit paths.txt and add --param api=URL"}},
	{"python", "a Python function over many items; needs nothing else", nil},
}

func starterNames() (names []string) {
	for _, s := range starters {
		names = append(names, s.name)
	}
	return names
}

func (a *app) initCommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "init [NAME]",
		Short: "Write a flow to begin with",
		Long: `Write a flow to begin with, its handler and the JSON Schema for editors. Without a name, list what there is.
No file is overwritten: when one of them is there already, nothing is written.`,
		Example: "  tandem init\n  tandem init python\n  tandem init http --dir fetch", Args: takes(0, 1, "starter"), ValidArgs: starterNames(),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				for _, s := range starters {
					fmt.Fprintf(a.out, "%-8s %s\n", s.name, s.about)
				}
				return nil
			}
			i := slices.IndexFunc(starters, func(s starter) bool { return s.name == args[0] })
			if i < 0 {
				return &tandem.Error{Op: "begin with", On: args[0], Kind: tandem.KindInvalid, Message: "there is no such flow", Hint: "there are " + strings.Join(starterNames(), ", ")}
			}
			return a.begin(starters[i], dir)
		},
	}
	c.Flags().StringVar(&dir, "dir", ".", "write into this directory, which is made when it is not there")
	return c
}

// begin writes a starter into dir and says what to do next.
func (a *app) begin(s starter, dir string) error {
	files, err := s.files()
	if err != nil {
		return err
	}
	names, err := writeAll(dir, files)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.err, "wrote "+strings.Join(names, ", "))
	fmt.Fprintln(a.err, "next:")
	next := s.next
	if filepath.Clean(dir) != "." {
		next = append([]string{"cd " + shellWord(dir)}, next...)
	}
	for _, line := range append(slices.Clone(next), "tandem check flow.yaml", "tandem run flow.yaml") {
		fmt.Fprintln(a.err, "  "+line)
	}
	return nil
}

// files are the starter's, with the schema of this binary.
func (s starter) files() (map[string][]byte, error) {
	sub, err := fs.Sub(starterFiles, "starters/"+s.name)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"flow.schema.json": flowfile.Schema()}
	return files, fs.WalkDir(sub, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[path], err = fs.ReadFile(sub, path)
		return err
	})
}

// writeAll writes files into dir: all of them or, when one is there already or cannot be written, none.
func writeAll(dir string, files map[string][]byte) (names []string, err error) {
	wrong := func(path string, err error, hint string) error {
		return &tandem.Error{Op: "write", On: path, Kind: tandem.KindFile, Message: fileReason(err), Hint: hint, Err: err}
	}
	var order []string
	for name := range files {
		order = append(order, name)
	}
	slices.Sort(order)
	_, err = os.Lstat(dir)
	made := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, wrong(dir, err, "name a directory that can be written with --dir")
	}
	defer func() {
		if err == nil {
			return
		}
		for _, path := range names {
			_ = os.Remove(path)
		}
		if made {
			_ = os.Remove(dir)
		}
	}()
	for _, name := range order {
		path := filepath.Join(dir, name)
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) // not through a link, not over a file
		if errors.Is(err, fs.ErrExist) {
			return names, wrong(path, err, "no file is overwritten and nothing was written; choose another directory with --dir")
		}
		if err != nil {
			return names, wrong(path, err, "name a directory that can be written with --dir")
		}
		names = append(names, path)
		_, err = f.Write(files[name])
		if err = errors.Join(err, f.Close()); err != nil {
			return names, wrong(path, err, "")
		}
	}
	return names, nil
}

// fileReason is an error of a file without the path, which is named already.
func fileReason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}
