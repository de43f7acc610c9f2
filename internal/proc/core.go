package proc

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	corePattern = "/proc/sys/kernel/core_pattern"
	coreUsesPID = "/proc/sys/kernel/core_uses_pid"
)

// TakeCore finds the core file of a process that has died and worked in dir, and moves it into the directory into, or leaves it where it is when that is
// empty. Why says why there is none. What the wait status says of a core is not looked at: with a pattern that pipes cores elsewhere it is true without any file.
func TakeCore(pid int, dir string, since time.Time, into string) (path, why string) {
	pattern, err := os.ReadFile(corePattern)
	if err != nil {
		return "", "core not available: " + err.Error()
	}
	uses, _ := os.ReadFile(coreUsesPID)
	found, why := findCore(strings.TrimSpace(string(pattern)), strings.TrimSpace(string(uses)) == "1", dir, since)
	if found == "" {
		return "", why
	}
	if into == "" {
		return found, ""
	}
	if err := os.MkdirAll(into, 0o700); err != nil {
		return found, ""
	}
	path = filepath.Join(into, "core."+strconv.Itoa(pid))
	if err := move(found, path); err != nil {
		return found, ""
	}
	return path, ""
}

// findCore looks where the kernel was told to write. The newest that fits and came after since is it.
func findCore(pattern string, usesPID bool, dir string, since time.Time) (path, why string) {
	switch {
	case strings.HasPrefix(pattern, "|"):
		program, _, _ := strings.Cut(strings.TrimSpace(pattern[1:]), " ")
		return "", "core not available: piped to " + program
	case strings.HasPrefix(pattern, "@"):
		return "", "core not available: sent to the socket " + strings.TrimLeft(pattern, "@")
	case pattern == "" && !usesPID:
		return "", "core not available: " + corePattern + " is empty"
	}
	if !filepath.IsAbs(pattern) {
		if dir == "" {
			dir, _ = os.Getwd()
		}
		pattern = filepath.Clean(dir) + "/" + pattern
	}
	where, name := filepath.Split(pattern)
	entries, err := os.ReadDir(where)
	if err != nil {
		return "", "core not available: " + err.Error()
	}
	glob := coreGlob(name, usesPID)
	var newest time.Time
	for _, e := range entries {
		if ok, _ := filepath.Match(glob, e.Name()); !ok {
			continue
		}
		st, err := e.Info()
		// A second of grace: file systems keep the time of their last tick.
		if err == nil && st.Mode().IsRegular() && st.Size() > 0 && st.ModTime().After(since.Add(-time.Second)) && st.ModTime().After(newest) {
			path, newest = where+e.Name(), st.ModTime()
		}
	}
	if path == "" {
		return "", "core not available: the kernel has written none at " + where + name
	}
	return path, ""
}

// coreGlob matches the names that a pattern makes: the numbers in them are those of the program's own namespace.
func coreGlob(name string, usesPID bool) string {
	var b strings.Builder
	pid := false
	for i := 0; i < len(name); i++ {
		switch c := name[i]; c {
		case '%':
			if i++; i == len(name) {
				return b.String()
			}
			if name[i] == '%' {
				b.WriteByte('%')
				continue
			}
			pid = pid || name[i] == 'p'
			b.WriteByte('*')
		case '*', '?', '[', '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	if usesPID && !pid {
		b.WriteString(".[0-9]*")
	}
	return b.String()
}

// move renames a file, or copies it to another file system.
func move(from, to string) error {
	if os.Rename(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(to)
		return err
	}
	return os.Remove(from)
}
