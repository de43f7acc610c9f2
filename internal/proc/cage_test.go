package proc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"tandem"
)

// by is who Tandem is when it cages a program. Without namespaces it is root in a user namespace that may have no others.
type by struct {
	name  string
	attr  *syscall.SysProcAttr
	under []string
}

var cagers = []by{
	{name: "as we are"},
	{name: "nobody", attr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}},
	{name: "nobody without namespaces", attr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}},
		under: []string{"unshare", "-U", "-r", "sh", "-c", `for f in /proc/sys/user/max_*_namespaces; do echo 0 > $f; done; exec "$0"`}},
}

// cage runs a program in a cage made by an application of its own, with the test's words for what it tries.
func (w by) cage(t *testing.T, c caging) caged {
	t.Helper()
	r, err := w.try(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Groups) > 0 {
		t.Errorf("control groups are left behind: %v", r.Groups)
	}
	return r
}

func (w by) try(t *testing.T, c caging) (r caged, err error) {
	t.Helper()
	if w.attr != nil && os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: only root can be somebody else")
	}
	us := copyOfUs(t)
	c.Argv = append([]string{us}, c.Argv...)
	in, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	argv := append(append([]string(nil), w.under...), us)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.SysProcAttr = "/", bytes.NewReader(in), w.attr
	var said bytes.Buffer
	cmd.Stderr = &said
	tmp := filepath.Join(filepath.Dir(us), "tmp", strings.ReplaceAll(w.name, " ", "-"))
	_ = os.Mkdir(tmp, 0o777)
	_ = os.Chmod(tmp, 0o777)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + tmp, "PROC_TEST=caged"}
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		return r, fmt.Errorf("%w: %s%.300s", err, out, said.String())
	}
	return r, nil
}

func eachCager(t *testing.T, f func(t *testing.T, w by)) {
	for _, w := range cagers {
		t.Run(w.name, func(t *testing.T) { f(t, w) })
	}
}

// place is a directory that everybody may do everything in, but for what a sandbox keeps them from.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "proc-cage")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, d := range []string{dir, dir + "/in", dir + "/out"} {
		_ = os.Mkdir(d, 0o777)
		_ = os.Chmod(d, 0o777)
		if err := os.WriteFile(d+"/file", []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
		_ = os.Chmod(d+"/file", 0o666)
	}
	return dir
}

type attempt struct{ try, want string }

// expect compares what was tried with what came of it. A want may list alternatives.
func expect(t *testing.T, r caged, list []attempt) {
	t.Helper()
	if r.Error != nil {
		t.Fatal(r.Error, r.Error.Hint)
	}
	lines := strings.Split(strings.TrimSuffix(r.Output, "\n"), "\n")
	if len(lines) != len(list) {
		t.Fatalf("%d answers, want %d: %q, %v", len(lines), len(list), r.Output, r.Exit)
	}
	for i, a := range list {
		ok := false
		for w := range strings.SplitSeq(a.want, "|") {
			ok = ok || lines[i] == w
		}
		if !ok {
			t.Errorf("%s: %s, want %s (%v)", a.try, lines[i], a.want, r.Isolation)
		}
	}
}

func tries(list []attempt) (argv []string) {
	for _, a := range list {
		argv = append(argv, a.try)
	}
	return argv
}

// What a sandbox keeps from a program, and what it leaves to it.
func TestSandbox(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := place(t)
	u, err := net.Listen("unix", dir+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	_ = os.Chmod(dir+"/socket", 0o777)
	other := exec.Command("sleep", "60")
	eachCager(t, func(t *testing.T, w by) {
		other = exec.Command("sleep", "60")
		other.SysProcAttr = w.attr
		if err := other.Start(); err != nil {
			t.Skip("SKIPPED, NOT TESTED: ", err)
		}
		defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
		pid := itoa(other.Process.Pid)
		list := []attempt{
			{"read " + dir + "/in/file", "done"}, {"write " + dir + "/in/file", "EACCES"}, {"truncate " + dir + "/in/file", "EACCES"}, {"rename " + dir + "/in/file", "EACCES"},
			{"remove " + dir + "/in/file", "EACCES"}, {"mkdir " + dir + "/in/new", "EACCES"}, {"chown " + dir + "/in/file", "EPERM|EACCES|EINVAL"},
			{"read " + dir + "/file", "EACCES"}, {"list " + dir, "EACCES"}, {"write " + dir + "/new", "EACCES"}, {"list /root", "EACCES"}, {"read /etc/shadow", "EACCES"}, {"list /tmp", "EACCES"}, {"list /", "EACCES"},
			{"write " + dir + "/out/new", "done"}, {"write " + dir + "/out/file", "done"}, {"mkdir " + dir + "/out/dir", "done"}, {"remove " + dir + "/out/new", "done"}, {"remove " + dir + "/out/dir", "done"},
			{"read /etc/passwd", "done"}, {"list /usr/lib", "done"}, {"write /dev/null", "done"}, {"write /proc/sys/kernel/hostname", "EACCES"}, {"read /proc/self/status", "done"},
			{"connect " + l.Addr().String(), "EACCES|ENETUNREACH"}, {"unix " + dir + "/socket", "EACCES"}, {"loopback", "EACCES|ENETUNREACH|EADDRNOTAVAIL"},
			{"socket 17", "EACCES"}, {"socket 40", "EACCES"}, // packets, and the virtual machine's host
			{"kill " + pid, "ESRCH|EPERM"}, {"ptrace " + pid, "EPERM"}, {"environ " + pid, "ENOENT|EACCES"},
			{"unshare", "EPERM"}, {"mount " + dir + "/out", "EPERM"}, {"bpf", "EPERM"}, {"uring", "EPERM"}, {"keyctl", "EPERM"}, {"clone3", "ENOSYS"}, {"tty", "EPERM"},
			{"fork", "done"}, {"thread", "done"}, {"caps 0000000000000000 0000000000000000", "done"}, {"nonew 1", "done"}, {"filters 2", "done"},
		}
		r := w.cage(t, caging{Argv: tries(list), Isolation: Isolation{Sandbox: true, Read: []string{dir + "/in"}, Write: []string{dir + "/out"}}})
		gap := func(what string) bool {
			return slices.ContainsFunc(r.Isolation.Missing, func(m tandem.Missing) bool { return m.What == what })
		}
		for i, a := range list { // what an older kernel cannot hold is told, and is so
			if a.try == "truncate "+dir+"/in/file" && gap("files: truncating") || strings.HasPrefix(a.try, "kill ") && gap("rights: signals") {
				list[i].want = "done"
			}
		}
		expect(t, r, list)
		t.Log(r.Isolation)
		for _, what := range []string{"files", "network", "rights"} {
			if r.Isolation.Has(what) == "" {
				t.Errorf("%s is not reported: %v", what, r.Isolation)
			}
		}
	})
}
