// Package vm runs tests on another kernel: a virtual machine, emulated when there is no KVM, in which control groups are those of version 2 alone, and to which may be done
// what would harm the machine that it runs on. It has no code but tests; make vm runs it, and make test only says that it was not run.
//
//   - The guest's root is an archive in memory: programs of Debian packages that are installed here, tests built without C, and the command. It has no disk, no network and
//     nothing of yours.
//   - testdata/settings lists what is run in it and as whom. The result is the tests' own: one that fails in the guest fails here, with what it said, and what it skips is listed.
package vm

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	boot   = flag.Bool("vm", false, "boot the machine")
	only   = flag.String("only", "", "the settings to run, with commas between them; all unless told otherwise")
	match  = flag.String("match", "", "the tests to run in each setting, as of -run")
	kernel = flag.String("kernel", "", "the kernel to boot; the newest cloud kernel of Debian in /boot unless told otherwise")
	memory = flag.String("memory", "1536", "MiB of memory")
)

// built are the tests that run in the guest, and where they find their data.
var built = map[string]string{"proc": "internal/proc", "faults": "internal/faults"}

func TestMachine(t *testing.T) {
	if !*boot {
		t.Skip("NOT TESTED: control groups of version 2, as root and delegated, another kernel, and faults that harm a machine, are tested in a virtual machine: make vm")
	}
	for _, program := range []string{"qemu-system-x86_64", "dpkg-query", "busybox"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is not here: apt-get install qemu-system-x86 busybox-static linux-image-cloud-amd64", program)
		}
	}
	image := *kernel
	if image == "" {
		list, _ := filepath.Glob("/boot/vmlinuz-*-cloud-amd64")
		if len(list) == 0 {
			t.Fatal("there is no kernel to boot: apt-get install linux-image-cloud-amd64, or make vm VM=\"-kernel FILE\"")
		}
		image = list[len(list)-1]
	}
	dir := t.TempDir()
	r := root{}
	for _, d := range []string{"bin", "sbin", "lib", "lib64"} {
		r.put("/"+d, entry{mode: os.ModeSymlink | 0o777, text: "usr/" + d})
	}
	if err := r.packages("busybox-static", "dash", "bash", "coreutils", "util-linux", "mount", "grep", "findutils", "procps", "python3", "strace", "libc-bin"); err != nil {
		t.Fatal(err)
	}
	r.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n", 0o644)
	r.file("/etc/group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n", 0o644)
	r.file("/etc/shadow", "root:*:1::::::\n", 0o600)
	for _, name := range []string{"init", "settings"} {
		if err := r.copied("/vm/"+name, "testdata/"+name); err != nil {
			t.Fatal(err)
		}
	}
	r.put("/init", entry{mode: 0o755, from: "testdata/init"})
	r.file("/root/.keep", "", 0o600)
	r["/root"] = entry{mode: os.ModeDir | 0o700}
	for _, applet := range []string{"ip", "poweroff"} {
		r.put("/usr/bin/"+applet, entry{mode: os.ModeSymlink | 0o777, text: "busybox"})
	}
	for name, pkg := range built {
		gobuild(t, "test", "-c", "-o", filepath.Join(dir, name+".test"), "tandem/"+pkg)
		r.put("/vm/"+name+".test", entry{mode: 0o755, from: filepath.Join(dir, name+".test")})
		r.dir("/src/" + pkg)
		_ = filepath.WalkDir("../../"+pkg+"/testdata", func(path string, d os.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			return r.copied("/src/"+strings.TrimPrefix(path, "../../"), path)
		})
	}
	gobuild(t, "build", "-o", filepath.Join(dir, "tandem"), "tandem/cmd/tandem")
	r.put("/usr/bin/tandem", entry{mode: 0o755, from: filepath.Join(dir, "tandem")})
	for name, from := range map[string]string{"worker": "tandem/internal/faults/testdata/worker", "embed": "tandem/internal/faults/testdata/embed"} {
		gobuild(t, "build", "-o", filepath.Join(dir, name), from)
		r.put("/vm/built/"+name, entry{mode: 0o755, from: filepath.Join(dir, name)})
	}
	r.put("/vm/built/tandem", entry{mode: 0o755, from: filepath.Join(dir, "tandem")})
	archive := filepath.Join(dir, "root.cpio")
	if err := r.pack(archive); err != nil {
		t.Fatal(err)
	}
	run(t, image, archive)
}

// gobuild builds without the C library, so that it runs everywhere.
func gobuild(t *testing.T, args ...string) {
	t.Helper()
	c := exec.Command("go", args...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
}

var result = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+s)\)`)

// run boots and listens to the console.
func run(t *testing.T, image, archive string) {
	ctx, cancel := context.WithTimeout(t.Context(), 80*time.Minute)
	defer cancel()
	line := "console=ttyS0 quiet panic=-1 loglevel=4 cgroup_no_v1=all"
	if *only != "" {
		line += " vm.only=" + *only
	}
	if *match != "" {
		line += " vm.run=" + *match
	}
	c := exec.CommandContext(ctx, "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", *memory, "-nographic", "-no-reboot", "-nic", "none",
		"-kernel", image, "-initrd", archive, "-append", line)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stderr = os.Stderr
	begun := time.Now()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var name string
	var skipped []string
	counts := map[string]int{}
	done := false
	var said []string
	for s := bufio.NewScanner(out); s.Scan(); {
		text := strings.TrimRight(s.Text(), "\r")
		fmt.Println(text)
		said = append(said, text)
		if word, rest, ok := strings.Cut(strings.TrimPrefix(text, "::: "), " "); strings.HasPrefix(text, "::: ") {
			switch {
			case word == "BEGIN":
				name, counts, said = rest, map[string]int{}, nil
			case word == "END" && ok:
				_, code, _ := strings.Cut(rest, " ")
				t.Logf("%-24s %4d passed, %d failed, %d skipped, exit code %s", name, counts["PASS"], counts["FAIL"], counts["SKIP"], code)
				if code != "0" {
					t.Errorf("%s has ended with %s", name, code)
				}
				name = ""
			case word == "LEFT":
				t.Errorf("%s has left %s", name, rest)
			case text == "::: DONE":
				done = true
			}
		}
		if m := result.FindStringSubmatch(text); m != nil {
			counts[m[1]]++
			if m[1] == "SKIP" {
				why := ""
				if i := slices.IndexFunc(said[max(len(said)-40, 0):], func(l string) bool { return strings.Contains(l, "SKIPPED, NOT TESTED") }); i >= 0 {
					why = strings.TrimSpace(said[max(len(said)-40, 0)+i])
				}
				skipped = append(skipped, name+" "+m[2]+" "+why)
			}
		}
	}
	err = c.Wait()
	t.Logf("the machine ran for %v", time.Since(begun).Round(time.Second))
	for _, s := range skipped {
		t.Log("skipped in the guest: ", s)
	}
	if !done || err != nil {
		t.Errorf("the machine did not get to its end: %v, %v", err, ctx.Err())
	}
}
