package proc

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Where the kernel does not hold a program's tree, something may be left of it when this process and its helpers are killed together. So programs carry the
// path of a file that this process has locked, and who starts programs next kills those whose file nobody locks any more. At level Kernel there is nothing to
// find, and nothing is written.

const tokenEnv = "TANDEM_RUN_TOKEN"

// janitor is what this process leaves for those who come later, and what it found.
type janitor struct {
	lock   *os.File // open, and locked, to the end of the process
	token  string
	killed []string
	dying  map[int]bool
}

// Notice makes f hear, at the first Start, in which way programs are held when that is less than Kernel, and of what a dead run had left behind and was killed,
// in a line each. Call it before the first Start; f may be called by any goroutine that starts a program.
func Notice(f func(line string)) {
	guard.mu.Lock()
	defer guard.mu.Unlock()
	guard.notice = f
}

// settle prepares a Start: the warden, and the janitor where there is work for it. It returns the variable for a program's environment, or "".
func settle(open bool) string {
	guard.mu.Lock()
	err := raise()
	dir := filepath.Join(os.TempDir(), "tandem-owners-"+strconv.Itoa(os.Geteuid()))
	if open && err == nil && guard.contained.Level == Kernel && guard.janitor.token == "" {
		_ = guard.janitor.begin(dir) // for this program alone: at level Kernel there is nothing to look for
	}
	if err != nil || guard.settled {
		defer guard.mu.Unlock()
		return guard.janitor.token
	}
	guard.settled = true
	c, notice := guard.contained, guard.notice
	var lines []string
	if c.Level != Kernel {
		lines = append(lines, "containment is "+c.String()+"; see `tandem doctor`")
		if err := guard.janitor.begin(dir); err != nil {
			lines = append(lines, "what an earlier run has left behind is not looked for: "+err.Error())
		}
		for _, k := range guard.janitor.killed {
			lines = append(lines, "killed what a dead run had left behind: "+k)
		}
	}
	token := guard.janitor.token
	guard.mu.Unlock()
	if notice != nil {
		for _, l := range lines {
			notice(l)
		}
	}
	return token
}

// begin claims a token in dir, kills what belongs to tokens of the dead, and forgets those.
func (j *janitor) begin(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s is not ours alone", dir)
	}
	// It gets its name only when it is locked, so nobody finds it unlocked while we live.
	path := filepath.Join(dir, rand.Text())
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if _, err = Lock(f); err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		f.Close()
		os.Remove(path + ".new")
		return err
	}
	j.lock, j.token = f, tokenEnv+"="+path
	j.sweep(dir)
	return nil
}

func (j *janitor) sweep(dir string) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	dead := map[string]bool{}
	for _, e := range list {
		path := filepath.Join(dir, e.Name())
		if f, err := os.Open(path); err == nil {
			// One that is being made is not locked for a moment; it has the ending .new and is old when its maker died.
			if _, held, err := Locked(f); err == nil && !held && (!strings.HasSuffix(path, ".new") || old(f)) {
				dead[path] = true
			}
			f.Close()
		}
	}
	if len(dead) == 0 {
		return
	}
	j.dying = map[int]bool{}
	// What is killed may have started another just before: look until there is nothing.
	for range 10 {
		found := false
		procs, _ := filepath.Glob("/proc/[0-9]*")
		for _, p := range procs {
			if pid, err := strconv.Atoi(filepath.Base(p)); err == nil && pid != os.Getpid() && j.end(pid, dead) {
				found = true
			}
		}
		if !found {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	for path := range dead {
		os.Remove(path)
	}
}

func old(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && time.Since(info.ModTime()) > time.Minute
}

// end kills a process whose owner is dead. The descriptor is opened first, so that it is the process whose environment was read.
func (j *janitor) end(pid int, dead map[string]bool) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		return false
	}
	for v := range strings.SplitSeq(string(env), "\x00") {
		path, ok := strings.CutPrefix(v, tokenEnv+"=")
		if !ok || !dead[path] {
			continue
		}
		cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) != nil {
			return false
		}
		if j.dying[pid] { // it takes a moment
			return true
		}
		j.dying[pid] = true
		j.killed = append(j.killed, fmt.Sprintf("%d, %.80q", pid, strings.TrimRight(strings.ReplaceAll(string(cmd), "\x00", " "), " ")))
		return true
	}
	return false
}
