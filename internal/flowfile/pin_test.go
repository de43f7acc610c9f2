package flowfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tandem"
)

func TestPinChangesOnlyWhatItShould(t *testing.T) {
	head := "tandem: v1\nname: x\nfrom: {range: 1..3}\nsteps:\n"
	thread := Pinned{Step: "a", Mode: tandem.Thread, Workers: 1, Threads: 64}
	for _, c := range []struct {
		name, steps string
		pin         Pinned
		want        string // empty: it is refused
	}{
		{"on a line of its own", "  - name: a\n    mode: auto # as it comes\n    python: m:f\n", thread, "  - name: a\n    mode: thread # as it comes\n    workers: 1\n    threads: 64\n    python: m:f\n"},
		{"first of its step", "  - mode: auto\n    name: a\n    python: m:f\n", thread, "  - mode: thread\n    workers: 1\n    threads: 64\n    name: a\n    python: m:f\n"},
		{"at the end of the file", "  - name: a\n    python: m:f\n    mode: \"auto\"", thread, "  - name: a\n    python: m:f\n    mode: thread\n    workers: 1\n    threads: 64"},
		{"in braces", "  - {name: a, mode: auto, python: m:f} # c\n", thread, "  - {name: a, mode: thread, workers: 1, threads: 64, python: m:f} # c\n"},
		{"in braces over lines", "  - {name: a,\n     python: m:f,\n     mode: auto\n    }\n", thread, "  - {name: a,\n     python: m:f,\n     mode: thread, workers: 1, threads: 64\n    }\n"},
		{"lines that end as on Windows", "  - name: a\r\n    mode: auto\r\n    python: m:f\r\n", thread, "  - name: a\r\n    mode: thread\r\n    workers: 1\r\n    threads: 64\r\n    python: m:f\r\n"},
		{"workers are there", "  - name: a\n    mode: auto\n    workers: cores-1\n    python: m:f\n", thread, "  - name: a\n    mode: thread\n    threads: 64\n    workers: cores-1\n    python: m:f\n"},
		{"characters of several bytes before it", "  - {name: a, \"x-é\": ü, mode: auto, python: m:f}\n", thread, "  - {name: a, \"x-é\": ü, mode: thread, workers: 1, threads: 64, python: m:f}\n"},
		{"a command", "  - name: a\n    mode: auto\n    run: [date]\n", Pinned{Step: "a", Mode: tandem.Goroutine, Concurrency: 9}, "  - name: a\n    mode: goroutine\n    concurrency: 9\n    run: [date]\n"},
		{"the mode of another step stays", "  - {name: b, mode: auto, python: m:f}\n  - {name: a, mode: auto, python: m:f}\n", thread, "  - {name: b, mode: auto, python: m:f}\n  - {name: a, mode: thread, workers: 1, threads: 64, python: m:f}\n"},
		{"a value that two steps share", "  - {name: b, mode: &m auto, python: m:f}\n  - {name: a, mode: *m, python: m:f}\n", thread, ""},
		{"a step that is not auto stays", "  - {name: a, mode: process, python: m:f}\n", thread, "  - {name: a, mode: process, python: m:f}\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "flow.yaml")
			if err := os.WriteFile(path, []byte(head+c.steps), 0o640); err != nil {
				t.Fatal(err)
			}
			f, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			edits, err := f.Pin([]Pinned{c.pin})
			got, rerr := os.ReadFile(path)
			if rerr != nil {
				t.Fatal(rerr)
			}
			if c.want == "" {
				if err == nil || string(got) != head+c.steps {
					t.Fatalf("error %v, file %q", err, got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != head+c.want {
				t.Errorf("got\n%q\nwant\n%q", got, head+c.want)
			}
			if changed := c.want != c.steps; changed != (len(edits) > 0) {
				t.Errorf("edits %v", edits)
			}
			if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
				t.Errorf("mode %v", info.Mode())
			}
			if _, err := Load(path); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPinRefusesAFileThatHasChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flow.yaml")
	src := "tandem: v1\nname: x\nfrom: {range: 1..3}\nsteps:\n  - {name: a, mode: auto, python: m:f}\n"
	if err := os.WriteFile(path, []byte(src), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(src+"# mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Pin([]Pinned{{Step: "a", Mode: tandem.Process, Workers: 2}}); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != src+"# mine\n" {
		t.Errorf("%q", got)
	}
}
