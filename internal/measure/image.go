package measure

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"strings"
)

// image is what the program file of a process tells about the runtime in it.
type image struct {
	runtime string // python, jvm, go, node, or empty
	gil     span   // where Python keeps its interpreter lock
	known   bool
}

type span struct{ addr, size uint64 }

// identify finds the runtime of a process, once for each program that it turns into.
func (t *Tree) identify(p *process) {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.pid))
	if err != nil || p.exe == exe && p.image.known {
		return
	}
	p.exe = exe
	p.image = t.inspect(p.pid, exe)
}

// inspect looks into the files that are mapped as programs.
func (t *Tree) inspect(pid int, exe string) image {
	im := image{known: true}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return im
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 6 || !strings.HasPrefix(f[5], "/") || seen[f[5]] {
			continue
		}
		path := f[5]
		seen[path] = true
		from, _, _ := strings.Cut(f[0], "-")
		start := hex(from) - hex(f[2])
		switch name := path[strings.LastIndexByte(path, '/')+1:]; {
		case strings.HasPrefix(name, "libjvm.so"):
			im.runtime = "jvm"
		case strings.HasPrefix(name, "libnode.so"):
			im.runtime = "node"
		case strings.HasPrefix(name, "libpython"), path == exe:
			file, ok := t.images[path]
			if !ok {
				file = read(fmt.Sprintf("/proc/%d/root%s", pid, path))
				t.images[path] = file
			}
			if file.runtime != "" && (im.runtime == "" || file.gil.size > 0) {
				im.runtime = file.runtime
			}
			if file.gil.size > 0 {
				im.gil = file.gil
				if file.known { // its addresses are relative to where it is mapped
					im.gil.addr += start
				}
			}
		}
	}
	return im
}

// read looks into a program file. known says that its addresses are relative.
func read(path string) image {
	f, err := elf.Open(path)
	if err != nil {
		return image{}
	}
	defer f.Close()
	im := image{known: f.Type == elf.ET_DYN}
	if f.Section(".go.buildinfo") != nil || f.Section(".gopclntab") != nil {
		im.runtime = "go"
		return im
	}
	names := f.Section(".dynstr")
	if names == nil {
		return im
	}
	b, err := names.Data()
	if err != nil {
		return im
	}
	switch {
	case bytes.Contains(b, []byte("\x00_PyRuntime\x00")):
		im.runtime = "python"
		list, err := f.DynamicSymbols()
		if err != nil {
			return im
		}
		for _, s := range list {
			if s.Name == "_PyRuntime" && s.Size > 0 {
				im.gil = span{s.Value, s.Size}
			}
		}
	case bytes.Contains(b, []byte("\x00node_module_register\x00")):
		im.runtime = "node"
	}
	return im
}
