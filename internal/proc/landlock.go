package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Rights over files, by the version (ABI) of Landlock that knows them. Nothing is asked of a kernel that it does not know, and what it does not know is told.
const (
	fileRead = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE
	dirRead  = fileRead | unix.LANDLOCK_ACCESS_FS_READ_DIR
	rights1  = 1<<13 - 1 // EXECUTE to MAKE_SYM
	ofFiles  = fileRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// abi is the version of Landlock, or why there is none.
var abi = sync.OnceValues(func() (int, error) {
	v, _, err := syscall.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if err != 0 {
		return 0, err
	}
	return int(v), nil
})

// allRights are all rights over files that a version knows.
func allRights(version int) uint64 {
	r := uint64(rights1)
	for _, later := range []struct {
		since int
		right uint64
	}{{2, unix.LANDLOCK_ACCESS_FS_REFER}, {3, unix.LANDLOCK_ACCESS_FS_TRUNCATE}, {5, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV}} {
		if version >= later.since {
			r |= later.right
		}
	}
	return r
}

// gaps are what a version does not hold, with its effect.
func gaps(version int) (list [][2]string) {
	for _, g := range []struct {
		since        int
		what, effect string
	}{
		{2, "files: moving between directories", "files cannot be moved or linked from one directory to another, also where both may be written"},
		{3, "files: truncating", "files that may only be read can be emptied by truncate(2), where their mode allows it"},
		{5, "files: ioctl", "devices that can be opened can be given commands"},
		{6, "rights: signals", "where there is no PID namespace it can signal processes of the same user, and reach abstract UNIX sockets"},
	} {
		if version < g.since {
			list = append(list, [2]string{g.what, g.effect})
		}
	}
	return list
}

// rule is one line of a ruleset.
type rule struct {
	path   string
	rights uint64
}

// systemRead is what programs need to run at all. /etc is named file by file: some of it is nobody's business, and root could read it.
var systemRead = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/proc", "/sys/devices/system", "/sys/fs/cgroup", "/sys/kernel/mm",
	"/dev/random", "/dev/urandom", "/dev/zero", "/dev/null", "/dev/full", "/var/cache/fontconfig", "/usr/share/zoneinfo"}

var systemEtc = []string{"ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ld.so.preload", "passwd", "group", "nsswitch.conf", "hosts", "host.conf", "resolv.conf", "gai.conf",
	"localtime", "timezone", "ssl/certs", "ssl/cert.pem", "ssl/openssl.cnf", "ca-certificates", "ca-certificates.conf", "pki/tls/certs", "pki/ca-trust", "alternatives", "fonts", "mime.types",
	"protocols", "services", "networks", "locale.alias", "locale.conf", "os-release", "debian_version", "java*", "python*", "ImageMagick*", "magic", "terminfo", "shells", "inputrc", "profile", "bash.bashrc"}

var systemWrite = []string{"/dev/null", "/dev/zero", "/dev/full"}

// systemFiles are the names of systemRead and systemEtc that are there.
var systemFiles = sync.OnceValue(func() (list []string) {
	for _, p := range systemRead {
		if _, err := os.Stat(p); err == nil {
			list = append(list, p)
		}
	}
	for _, p := range systemEtc {
		found, _ := filepath.Glob("/etc/" + p)
		list = append(list, found...)
	}
	// What the system's names lead to may lie elsewhere: /etc/resolv.conf in /run, /usr/bin/java below /opt.
	for _, p := range slices.Clone(list) {
		if to := resolved(p); to != p && !slices.Contains(list, to) {
			list = append(list, to)
		}
	}
	return list
})

// rules are those of a sandbox.
func (i Isolation) rules(version int) (list []rule, err error) {
	all := allRights(version)
	add := func(path string, dir, file uint64) error {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			dir = file & ofFiles
		}
		list = append(list, rule{path, dir & all})
		return nil
	}
	for _, p := range systemFiles() {
		_ = add(p, dirRead, fileRead)
	}
	for _, p := range systemWrite {
		_ = add(p, 0, fileRead|unix.LANDLOCK_ACCESS_FS_WRITE_FILE|unix.LANDLOCK_ACCESS_FS_TRUNCATE)
	}
	for _, p := range i.Read {
		if err := add(p, dirRead, fileRead); err != nil {
			return nil, err
		}
	}
	for _, p := range i.Write {
		if err := add(p, all, all); err != nil {
			return nil, err
		}
	}
	if len(list) > maxRules {
		return nil, fmt.Errorf("%d files and directories, and a sandbox takes at most %d", len(list), maxRules)
	}
	return list, nil
}
