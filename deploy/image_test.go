package deploy

import (
	"bytes"
	"context"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var image = flag.Bool("image", false, "TestImageRuns builds the program anew, as root")

// recipe is what a Dockerfile says of its last image.
type recipe struct {
	build, run    []string // commands of the first stage that build, and of the last
	copied        [2]string
	env           []string
	user, dir     string
	program, args []string
}

func readRecipe(t *testing.T) (r recipe) {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	words := func(s string) []string {
		return strings.Fields(strings.NewReplacer("[", "", "]", "", ",", " ", `"`, "").Replace(s))
	}
	stage := 0
	for line := range strings.Lines(string(text)) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case word == "FROM":
			stage++
		case word == "RUN" && stage == 1 && strings.Contains(rest, "go build"):
			r.build = append(r.build, rest)
		case stage < 2:
		case word == "RUN":
			r.run = append(r.run, rest)
		case word == "COPY":
			w := strings.Fields(rest)
			r.copied = [2]string{w[len(w)-2], w[len(w)-1]}
		case word == "ENV":
			r.env = append(r.env, strings.Fields(rest)...)
		case word == "USER":
			r.user = rest
		case word == "WORKDIR":
			r.dir = rest
		case word == "ENTRYPOINT":
			r.program = words(rest)
		case word == "CMD":
			r.args = words(rest)
		}
	}
	return r
}

// The steps of the image, done without a container engine: this machine's own root under an overlay stands in for the base image, the program is built as the first
// stage builds it, the commands of the last one run in the overlay, and then its entry point, as its user: a node that serves a submitted flow with a Python step.
func TestImageRuns(t *testing.T) {
	if !*image {
		t.Skip("NOT TESTED: only with -image (make image)")
	}
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: an overlay needs root")
	}
	r := readRecipe(t)
	top := t.TempDir()
	if err := os.Chmod(top, 0o755); err != nil {
		t.Fatal(err)
	}
	built := filepath.Join(top, "built")
	for _, line := range r.build {
		c := exec.Command("sh", "-c", strings.ReplaceAll(line, r.copied[0], built))
		c.Dir = ".."
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("RUN %s: %v\n%s", line, err, out)
		}
	}
	mount := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("mount", args...).CombinedOutput(); err != nil {
			t.Skipf("NOT TESTED: mount %v: %v: %s", args, err, out)
		}
		at := args[len(args)-1]
		t.Cleanup(func() { _ = syscall.Unmount(at, syscall.MNT_DETACH) })
	}
	layers := filepath.Join(top, "layers")
	root := filepath.Join(top, "root")
	for _, dir := range []string{layers, root} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount("-t", "tmpfs", "-o", "mode=755", "layers", layers)
	for _, dir := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(layers, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount("-t", "overlay", "-o", "lowerdir=/,upperdir="+layers+"/upper,workdir="+layers+"/work", "overlay", root)
	mount("-t", "proc", "proc", filepath.Join(root, "proc"))
	mount("--bind", "/dev", filepath.Join(root, "dev"))
	mount("-t", "tmpfs", "-o", "mode=1777", "tmp", filepath.Join(root, "tmp"))

	from, err := os.Open(built)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(root, r.copied[1]), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err == nil {
		_, err = io.Copy(to, from)
	}
	if err == nil {
		err = to.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	uid, _, _ := strings.Cut(r.user, ":")
	id, err := strconv.Atoi(uid)
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} // what images have
	for _, e := range r.env {
		if p, ok := strings.CutPrefix(e, "TANDEM_PYTHON="); ok { // the base image has its own there
			_ = os.Remove(filepath.Join(root, p))
			if err := os.Symlink("/usr/bin/python3", filepath.Join(root, p)); err != nil {
				t.Fatal(err)
			}
		}
		env = append(env, e)
	}
	inside := func(ctx context.Context, id int, out *bytes.Buffer, words ...string) *exec.Cmd {
		c := exec.CommandContext(ctx, words[0], words[1:]...)
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: uint32(id), Gid: uint32(id)}}
		c.Env, c.Dir, c.Stdout, c.Stderr = env, "/", out, out
		if id != 0 {
			c.Dir = r.dir
		}
		return c
	}
	for _, line := range r.run {
		var out bytes.Buffer
		if err := inside(t.Context(), 0, &out, "/bin/sh", "-c", line).Run(); err != nil {
			t.Fatalf("RUN %s: %v\n%s", line, err, &out)
		}
	}
	for name, text := range map[string]string{"flow.yaml": "tandem: v1\nname: image\nfrom: {range: 1..5}\nsteps: [{name: twice, python: \"h.py:twice\", mode: process, workers: 1}]\ninto: {jsonl: out.jsonl}\n",
		"h.py": "import sys\ndef twice(n): return [2 * n, sys.executable]\n"} {
		path := filepath.Join(root, r.dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var said, out bytes.Buffer
	node := inside(t.Context(), id, &said, append(r.program, r.args...)...)
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		out.Reset()
		err := inside(ctx, id, &out, append(r.program, "submit", "flow.yaml", "--progress", "none")...).Run()
		if err == nil {
			break
		}
		if !strings.Contains(out.String(), "none is running") || ctx.Err() != nil { // not yet
			t.Errorf("submit: %v\n%s", err, &out)
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	_ = node.Process.Signal(syscall.SIGTERM)
	if err := node.Wait(); err != nil {
		t.Errorf("the node ended with %v\n%s", err, &said)
	}
	lines, err := os.ReadFile(filepath.Join(root, r.dir, "out.jsonl"))
	if err != nil || strings.Count(string(lines), `"outcome":"ok"`) != 5 {
		t.Errorf("%v\n%s\n%s\n%s", err, lines, &out, &said)
	}
	t.Logf("%s\n%s", lines, &said)
}
