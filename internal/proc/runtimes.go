package proc

import (
	"debug/buildinfo"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Runtimes map more memory than they use, and RLIMIT_DATA counts what is mapped: so much is let them beyond the limit. Measured at their start on two
// processors: Go 40 MiB, Node 48 MiB, Java 500 MiB; Python and small programs in C map what they use. What they really use is looked at.
var reserves = map[string]int64{"go": 64 << 20, "node": 256 << 20, "java": 1 << 30}

// shadowed programs map a multiple of the machine's memory before they begin: no RLIMIT_DATA fits them.
const shadowed = "sanitized"

// WithData is limits with the RLIMIT_DATA that bounds the memory of this program without keeping it from starting for what it only maps.
func (l Limits) WithData(program string) Limits {
	if kind := runtimeOf(program); l.Memory > 0 && kind != shadowed {
		l.Data = l.Memory + reserves[kind]
	}
	return l
}

var goPrograms sync.Map // by path: go, shadowed, or nothing

// runtimeOf is go, node, java, shadowed or nothing.
func runtimeOf(program string) string {
	switch name := filepath.Base(program); name {
	case "java", "node":
		return name
	case "nodejs", "deno", "bun":
		return "node"
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return ""
	}
	if kind, known := goPrograms.Load(path); known {
		return kind.(string)
	}
	kind := ""
	if info, err := buildinfo.ReadFile(path); err == nil {
		kind = "go"
		for _, s := range info.Settings {
			if s.Value == "true" && (s.Key == "-race" || s.Key == "-asan" || s.Key == "-msan") {
				kind = shadowed
			}
		}
	}
	goPrograms.Store(path, kind)
	return kind
}

// MemoryFlags is what to add to env so that runtimes in it keep to a limit of memory by themselves, by collecting garbage sooner: Go and Node, and
// Java machines when jvm says how large their heap may be. What env sets stays as it is.
func MemoryFlags(env []string, memory, jvm int64) []string {
	var add []string
	value := func(name string) (string, bool) {
		i := slices.IndexFunc(env, func(s string) bool { return strings.HasPrefix(s, name+"=") })
		if i < 0 {
			return "", false
		}
		return env[i][len(name)+1:], true
	}
	also := func(name, flag, has string) {
		switch v, set := value(name); {
		case strings.Contains(v, has):
		case set && v != "":
			add = append(add, name+"="+v+" "+flag)
		default:
			add = append(add, name+"="+flag)
		}
	}
	if memory > 0 {
		if _, set := value("GOMEMLIMIT"); !set {
			add = append(add, "GOMEMLIMIT="+strconv.FormatInt(memory/10*9, 10))
		}
		also("NODE_OPTIONS", "--max-old-space-size="+strconv.FormatInt(max(memory/4*3>>20, 1), 10), "--max-old-space-size")
	}
	if jvm > 0 {
		also("JAVA_TOOL_OPTIONS", "-Xmx"+strconv.FormatInt(max(jvm>>10, 1), 10)+"k", "-Xmx")
	}
	return add
}
