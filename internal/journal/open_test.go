package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"tandem"
)

func TestWhatCannotBeOpened(t *testing.T) {
	whole, _ := small(t, false)
	newer := append([]byte(nil), whole...)
	binary.LittleEndian.PutUint32(newer[len(magic):], version+1)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	for name, b := range map[string][]byte{"empty": nil, "newer": newer, "lines": []byte("{\"id\":1}\n{\"id\":2}\n"), "short": []byte("abc"), "zeros": make([]byte, 500)} {
		if err := os.WriteFile(in(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(in("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path           string
		resume, create string // what the error must say; empty for none
		hint           string
	}{
		{in("none"), "there is no such file", "", "without --resume"},
		{in("empty"), "the file is empty", "", "without --resume"},
		{in("newer"), "version 2, this tandem reads version 1", "", "version of tandem that began the run"},
		{in("lines"), `no journal: it begins with "{\"id\":1}"`, "no journal", "path of a journal"},
		{in("short"), "no journal", "no journal", "path of a journal"},
		{in("zeros"), "no journal", "no journal", "path of a journal"},
		{in("pipe"), "not a regular file", "not a regular file", "path of a file"},
		{"/dev/full", "not a regular file", "not a regular file", "path of a file"},
		{dir, "it is a directory", "it is a directory", "path of a file"},
		{in("no/such/dir"), "there is no such file", "no such file or directory", "without --resume"},
		{in("lines/x"), "not a directory", "not a directory", ""},
		{in(strings.Repeat("x", 300)), "file name too long", "file name too long", ""},
	} {
		_, _, err := Resume(c.path, Config{})
		tells(t, c.path, err, c.resume, c.hint)
		before, _ := os.ReadFile(onlyFile(c.path))
		j, err := Create(c.path, Header{}, Config{})
		tells(t, c.path, err, c.create, "")
		if err == nil {
			closed(t, j)
		} else if after, _ := os.ReadFile(onlyFile(c.path)); string(after) != string(before) {
			t.Errorf("%s was changed", c.path)
		}
	}
}

func onlyFile(path string) string {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return os.DevNull
	}
	return path
}

func tells(t *testing.T, path string, err error, message, hint string) {
	t.Helper()
	if message == "" {
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		return
	}
	e, ok := errors.AsType[*tandem.Error](err)
	if !ok || e.On != path || e.Kind != kindJournal || !strings.Contains(e.Message, message) || !strings.Contains(e.Hint, hint) {
		t.Errorf("%s: %v; want %q, and the hint %q", path, err, message, hint)
	}
}

func TestPrivate(t *testing.T) {
	_, path := started(t, Config{})
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: values may be private", info.Mode(), err)
	}
}

// unprivileged runs f on a thread that accesses files as nobody, so that root meets permissions too.
func unprivileged(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setfsuid(65534); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setfsuid(0) }()
	f()
}

func TestPermissions(t *testing.T) {
	whole, _ := small(t, false)
	dir, err := os.MkdirTemp("/tmp", "journal")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "journal")
	if err := os.WriteFile(path, whole, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	unprivileged(t, func() {
		_, _, err := Resume(path, Config{})
		tells(t, path, err, "permission denied", "readable and writable")
		_, err = Create(path, Header{}, Config{})
		tells(t, path, err, "permission denied", "readable and writable")
		_, err = Create(path+"2", Header{}, Config{})
		tells(t, path+"2", err, "permission denied", "readable and writable")
	})
}

// smallDisk mounts a file system of 256 KiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("NOT TESTED on a real full disk: mounting a small one needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

func TestFullDisk(t *testing.T) {
	dir := smallDisk(t)
	path := filepath.Join(dir, "journal")
	j, err := Create(path, Header{}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	acked := 0
	for {
		j.Steps([]Finished{gives(acked, 0), gives(acked, 1)})
		if err = j.Ended(tasks(tandem.Outcomes[acked%2], item(acked)), nil, int64(acked+1)*10); err != nil {
			break
		}
		acked++
	}
	tells(t, path, err, "no space left on device", "free some room")
	j.Steps([]Finished{gives(acked, 0)})
	if again := j.Ended(tasks(tandem.OK, "x"), nil, 1e9); !errors.Is(again, err) {
		t.Errorf("the next transaction says %v", again)
	}
	if j.Skipped() == 0 {
		t.Error("steps that could not be noted are not counted")
	}
	if again := j.Close(); !errors.Is(again, err) {
		t.Errorf("Close says %v", again)
	}
	if _, err := Create(path+"2", Header{Params: strings.Repeat("p", 300_000)}, Config{}); err == nil {
		t.Error("a header larger than the disk was written")
	}
	if err := os.Remove(path + "2"); err != nil {
		t.Fatal(err)
	}
	full(t, path, acked)
}

// An error of steps that nobody waits for is told by the next transaction.
func TestErrorOfTheOwnerIsTold(t *testing.T) {
	path := filepath.Join(smallDisk(t), "journal")
	j, err := Create(path, Header{}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	for range 300 {
		j.Steps([]Finished{step("a", 0, strings.Repeat("x", 4000))})
	}
	j.flush()
	tells(t, path, j.Ended(tasks(tandem.OK, "a"), nil, 1), "no space left on device", "free some room")
	tells(t, path, j.Close(), "no space left on device", "free some room")
}

func TestReadOnlyFileSystem(t *testing.T) {
	dir := smallDisk(t)
	whole, _ := small(t, false)
	path := filepath.Join(dir, "journal")
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("NOT TESTED on a read-only file system: %v", err)
	}
	_, _, err := Resume(path, Config{})
	tells(t, path, err, "read-only file system", "copy it")
	_, err = Create(path+"2", Header{}, Config{})
	tells(t, path+"2", err, "read-only file system", "")
	if err := fmt.Sprint(err); strings.Contains(err, "--resume") {
		t.Errorf("%s", err)
	}
}
