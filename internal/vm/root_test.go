package vm

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// root is the file system of the guest, path by path. It becomes the kernel's first archive, which is unpacked into memory: so it needs no disk and no driver.
type root map[string]entry

type entry struct {
	mode fs.FileMode
	from string // of this machine
	text string // its contents, or what a link points to
}

func (r root) dir(path string) {
	if path == "/" || path == "." {
		return
	}
	if _, there := r[path]; there {
		return
	}
	r.dir(filepath.Dir(path))
	r[path] = entry{mode: fs.ModeDir | 0o755}
}

func (r root) put(path string, e entry) {
	r.dir(filepath.Dir(path))
	r[path] = e
}

func (r root) file(path, text string, mode fs.FileMode) { r.put(path, entry{mode: mode, text: text}) }

// copied takes over a file of this machine, with what its links lead to where those lead to elsewhere in the guest.
func (r root) copied(to, from string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		r.dir(to)
	case info.Mode()&fs.ModeSymlink != 0:
		text, err := os.Readlink(from)
		if err != nil {
			return err
		}
		r.put(to, entry{mode: fs.ModeSymlink | 0o777, text: text})
	case info.Mode().IsRegular():
		r.put(to, entry{mode: info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid), from: from})
	}
	return nil
}

// left out of packages: what no program reads.
var leftOut = []string{"/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/", "/usr/share/lintian/", "/usr/share/bug/", "/usr/lib/python3.11/test/", "/usr/lib/python3.11/idlelib/", "/usr/lib/x86_64-linux-gnu/gconv/", "/usr/share/zoneinfo/", "/usr/share/perl"}

// packages takes over what these Debian packages and those they depend on have installed here.
func (r root) packages(names ...string) error {
	all, err := installed()
	if err != nil {
		return err
	}
	var want []string
	for list := names; len(list) > 0; list = list[1:] {
		p, there := all[list[0]]
		if !there {
			return fmt.Errorf("the Debian package %s is not installed: apt-get install %s", list[0], list[0])
		}
		if slices.Contains(want, p.name) {
			continue
		}
		want = append(want, p.name)
		for _, d := range p.needs {
			for alternative := range strings.SplitSeq(d, "|") {
				name, _, _ := strings.Cut(strings.TrimSpace(alternative), " ")
				name, _, _ = strings.Cut(name, ":")
				if _, there := all[name]; there && name != "debconf" && !strings.HasPrefix(name, "perl") {
					list = append(list, name)
					break
				}
			}
		}
	}
	out, err := exec.Command("dpkg-query", append([]string{"--listfiles"}, want...)...).Output()
	if err != nil {
		return fmt.Errorf("dpkg-query: %w", err)
	}
	for path := range strings.Lines(string(out)) {
		path = strings.TrimSpace(path)
		if !strings.HasPrefix(path, "/") || slices.ContainsFunc(leftOut, func(p string) bool { return strings.HasPrefix(path, p) }) {
			continue
		}
		for _, d := range []string{"bin", "sbin", "lib", "lib64"} { // links into /usr
			if rest, ok := strings.CutPrefix(path, "/"+d+"/"); ok {
				path = "/usr/" + d + "/" + rest
			}
		}
		if _, there := r[path]; there || slices.Contains([]string{"/bin", "/sbin", "/lib", "/lib64", "/."}, path) {
			continue
		}
		if err := r.copied(path, path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

type debian struct {
	name  string
	needs []string
}

func installed() (map[string]debian, error) {
	out, err := exec.Command("dpkg-query", "--show", "--showformat", "${Package}\t${binary:Package}\t${Provides}\t${Pre-Depends}, ${Depends}\t${db:Status-Status}\n").Output()
	if err != nil {
		return nil, fmt.Errorf("dpkg-query: %w (make vm takes the guest's programs from Debian packages)", err)
	}
	all := map[string]debian{}
	for line := range strings.Lines(string(out)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 5 || f[4] != "installed" {
			continue
		}
		p := debian{name: f[1], needs: strings.Split(f[3], ",")}
		all[f[0]] = p
		for provided := range strings.SplitSeq(f[2], ",") {
			name, _, _ := strings.Cut(strings.TrimSpace(provided), " ")
			if _, there := all[name]; !there && name != "" {
				all[name] = p
			}
		}
	}
	return all, nil
}

// pack writes the root as the kernel reads it (cpio, newc).
func (r root) pack(path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriterSize(f, 1<<20)
	var names []string
	for name := range r {
		names = append(names, name)
	}
	slices.Sort(names) // a directory before what is in it
	for i, name := range names {
		if err := record(w, i+1, strings.TrimPrefix(name, "/"), r[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if err := record(w, 0, "TRAILER!!!", entry{}); err != nil {
		return err
	}
	return w.Flush()
}

func record(w *bufio.Writer, inode int, name string, e entry) error {
	mode, size, links := uint32(e.mode.Perm()), int64(len(e.text)), 1
	switch {
	case e.mode.IsDir():
		mode, links = mode|0o040000, 2
	case e.mode&fs.ModeSymlink != 0:
		mode |= 0o120000
	default:
		mode |= 0o100000
	}
	for bit, is := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if e.mode&is != 0 {
			mode |= bit
		}
	}
	var from *os.File
	if e.from != "" {
		var err error
		if from, err = os.Open(e.from); err != nil {
			return err
		}
		defer from.Close()
		info, err := from.Stat()
		if err != nil {
			return err
		}
		size = info.Size()
	}
	head, _ := fmt.Fprintf(w, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00", inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	pad := func(n int64) { _, _ = w.Write(make([]byte, (4-n%4)%4)) }
	pad(int64(head))
	if from != nil {
		if n, err := io.CopyN(w, from, size); err != nil {
			return fmt.Errorf("%d of %d bytes: %w", n, size, err)
		}
	} else {
		_, _ = w.WriteString(e.text)
	}
	pad(size)
	return nil
}
