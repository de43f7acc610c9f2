package proc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"tandem"
)

// plan is one way to cage a program: the best that is not known to be refused here.
type plan struct {
	limits Limits
	ask    Isolation
	report tandem.Isolation
	group  *group
	cage   cage
	rules  []rule
	filter []unix.SockFilter
}

// lacks is what this machine has refused once, by mechanism. What may be different the next time is not kept.
var lacks struct {
	mu      sync.Mutex
	learned map[string]error
	pretend map[string]error // by tests
}

func lacking(mechanism string) error {
	lacks.mu.Lock()
	defer lacks.mu.Unlock()
	if err := lacks.pretend[mechanism]; err != nil {
		return err
	}
	return lacks.learned[mechanism]
}

func learn(mechanism string, err error) {
	lacks.mu.Lock()
	defer lacks.mu.Unlock()
	if lacks.learned == nil {
		lacks.learned = map[string]error{}
	}
	lacks.learned[mechanism] = err
}

// cageFault is a step of the cage that failed. Nothing was started.
type cageFault struct {
	stage, detail int64
	errno         syscall.Errno
}

func (f *cageFault) Error() string { return f.mechanism() + ": " + f.errno.Error() }
func (f *cageFault) Unwrap() error { return f.errno }

func (f *cageFault) mechanism() string {
	return map[int64]string{atIPC: "ipc", atNet: "netns", atJoin: "cgroup", atLimit: "rlimit", atIdentity: "user", atCaps: "caps", atNoNew: "nonew", atRules: "landlock", atFilter: "seccomp"}[f.stage]
}

// passing says of an error that it may not come again.
func passing(e syscall.Errno) bool {
	return e == unix.ENOMEM || e == unix.EAGAIN || e == unix.EINTR || e == unix.EMFILE || e == unix.ENFILE
}

// newPlan plans a cage. The error refuses the start: a word that means nothing, or a property that is required and cannot be had.
func newPlan(limits Limits, ask Isolation, c Contained) (*plan, error) {
	if err := ask.Check(); err != nil {
		return nil, err
	}
	p := &plan{limits: limits, ask: ask}
	if err := p.draw(c); err != nil {
		p.drop()
		return nil, err
	}
	if err := p.refused(); err != nil {
		p.drop()
		return nil, err
	}
	return p, nil
}

func (p *plan) drop() {
	if p.group != nil {
		p.group.remove()
		p.group = nil
	}
}

func (p *plan) held(what, how string) {
	p.report.Effective = append(p.report.Effective, tandem.Held{What: what, How: how})
}

func (p *plan) missing(what string, why error, effect string) {
	p.report.Missing = append(p.report.Missing, tandem.Missing{What: what, Why: errnoOf(why), Effect: effect})
}

func (p *plan) asked(what string) bool { return slices.Contains(p.report.Requested, what) }

// draw fills in the plan.
func (p *plan) draw(c Contained) error {
	p.report = tandem.Isolation{Level: p.ask.level(), Requested: p.ask.asks(p.limits.Memory), Memory: string(p.limits.method()), Containment: string(c.Level)}
	if c.Level == BestEffort { // no warden: nothing can be done between fork and execution
		for _, what := range p.report.Requested {
			p.missing(what, errors.New(strings.Join(reasons(c), ", ")), "there is no warden, which would hold it")
		}
		return nil
	}
	p.cage = cage{}
	if p.ask.Open {
		p.cage.bits |= cageOpen
	}
	if p.group == nil && (p.limits.Memory > 0 || p.ask.CPU > 0 || p.ask.PIDs > 0) {
		p.groups(c)
	}
	p.identity()
	f := p.network(c)
	if err := p.files(); err != nil {
		return err
	}
	p.rights(f)
	p.containment(c)
	return nil
}

func reasons(c Contained) (list []string) {
	for _, m := range c.Missing {
		list = append(list, m.String())
	}
	return list
}

// groups plans what control groups hold.
func (p *plan) groups(c Contained) {
	g, lacks := newGroup(p.limits.Memory, p.ask.CPU, p.ask.PIDs)
	p.group = g
	version := func(what string) string {
		for _, part := range g.parts {
			if slices.Contains(part.what, what) {
				return "control group, version " + itoa(part.h.version)
			}
		}
		return ""
	}
	if p.asked("memory") {
		if err := lacks["memory"]; err != nil {
			p.missing("memory", err, "the kernel does not count it for the whole tree: it is looked at ten times a second, and what rises faster gets further")
		} else {
			p.held("memory", version("memory")+", "+strconv.FormatInt(p.limits.Memory, 10)+" bytes")
			p.report.Memory = string(tandem.MemoryKernel)
		}
	}
	if p.asked("cpu") {
		if err := lacks["cpu"]; err != nil {
			p.missing("cpu", err, "nothing holds it back; runtimes are told by TANDEM_CPUS and their own variables")
		} else {
			p.held("cpu", version("cpu")+", "+strconv.FormatFloat(p.ask.CPU, 'g', -1, 64)+" processors")
		}
	}
	if p.asked("pids") {
		err := lacks["pids"]
		switch {
		case err == nil:
			p.held("pids", version("pids")+", "+itoa(p.ask.PIDs))
		case c.UserNS && !p.ask.Open && os.Geteuid() != 0 && kernelAtLeast(5, 14) && lacking("rlimit") == nil:
			n := uint64(p.ask.PIDs + 1) // the shim counts
			p.limit(unix.RLIMIT_NPROC, n, n)
			p.held("pids", "RLIMIT_NPROC in its user namespace, "+itoa(p.ask.PIDs))
		default:
			p.missing("pids", err, "it can start as many processes as its user may")
		}
	}
}

func (p *plan) limit(what, soft, hard uint64) {
	if n := p.cage.rlimits; n < maxRlimit {
		p.cage.rlimit[n].what, p.cage.rlimit[n].soft, p.cage.rlimit[n].hard = what, soft, hard
		p.cage.rlimits++
	}
}

func (p *plan) identity() {
	if !p.asked("user") {
		return
	}
	uid, gid, err := lookUser(p.ask.User)
	if err == nil && uid == os.Geteuid() && gid == os.Getegid() {
		p.held("user", "it is ours")
		return
	}
	if err == nil {
		err = lacking("user")
	}
	if err != nil {
		p.missing("user", err, "it runs as the user of Tandem")
		return
	}
	p.cage.bits |= cageUser | cageNoNew
	p.cage.uid, p.cage.gid = uintptr(uid), uintptr(gid)
	p.held("user", fmt.Sprintf("uid %d, gid %d, without capabilities", uid, gid))
}

// network plans the network; f is what the filter has to do for it.
func (p *plan) network(c Contained) (f filtering) {
	word := p.ask.network()
	if p.ask.Sandbox && word == "host" {
		f.sockets = []int{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}
	}
	if !p.asked("network") {
		return f
	}
	err := lacking("netns")
	if err == nil {
		p.cage.bits |= cageNet
		how := "an empty network namespace"
		if word == "loopback" {
			p.cage.bits |= cageLoopback
			how = "a network namespace with a loopback of its own"
		}
		// Sockets with a path are of the file system, not of the network: services of the machine listen there.
		if ferr := filterable(); ferr == nil {
			f.sockets = []int{unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}
			how += ", no UNIX sockets by path"
		} else {
			p.missing("network: UNIX sockets", ferr, "it can speak to services of this machine that listen on a path and let its user in")
		}
		p.held("network", how)
		return f
	}
	if word == "loopback" {
		p.missing("network", err, "it reaches every network; network: none could be held")
		if p.ask.Sandbox {
			f.sockets = []int{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}
		}
		return f
	}
	if ferr := filterable(); ferr != nil {
		p.missing("network", err, "it reaches every network")
		return f
	}
	f.sockets = []int{}
	p.held("network", "it can make no sockets (seccomp)")
	return f
}

func filterable() error {
	if auditArch == 0 {
		return unix.ENOSYS
	}
	return lacking("seccomp")
}

func (p *plan) files() error {
	if !p.asked("files") {
		return nil
	}
	version, err := abi()
	if e := lacking("landlock"); e != nil {
		err = e
	}
	if err != nil {
		effect := "it can read and write what its user can"
		if errors.Is(err, unix.EOPNOTSUPP) {
			effect += "; Landlock is not in this kernel's list (lsm=landlock,… on its command line)"
		}
		p.missing("files", err, effect)
		return nil
	}
	if p.rules, err = p.ask.rules(version); err != nil {
		return invalid("files", err.Error(), "name a directory above them")
	}
	p.cage.bits |= cageRules | cageNoNew
	p.cage.ruleset[0] = allRights(version)
	p.cage.rulesetSize = 8
	if version >= 4 {
		p.cage.rulesetSize = 16
		if p.report.Has("network") != "" && p.cage.bits&cageNet == 0 {
			p.cage.ruleset[1] = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		}
	}
	if version >= 6 && p.ask.Sandbox {
		p.cage.rulesetSize = 24
		p.cage.ruleset[2] = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	p.held("files", fmt.Sprintf("Landlock, ABI %d", version))
	for _, g := range gaps(version) {
		if strings.HasPrefix(g[0], "files") {
			p.missing(g[0], unix.EOPNOTSUPP, g[1])
		}
	}
	return nil
}

// rights plans capabilities and the filter.
func (p *plan) rights(f filtering) {
	ferr := filterable()
	if p.ask.NoFork {
		if f.noFork = ferr == nil; f.noFork {
			p.held("fork", "seccomp")
		} else {
			p.missing("fork", ferr, "it can start processes")
		}
	}
	if p.ask.Sandbox {
		var how []string
		if err := lacking("caps"); err != nil {
			p.missing("rights: capabilities", err, "it keeps the capabilities of Tandem")
		} else {
			p.cage.bits |= cageCaps
			how = append(how, "no capabilities")
		}
		if err := lacking("nonew"); err != nil {
			p.missing("rights: new privileges", err, "programs with the setuid bit give it those of their owner")
		} else {
			p.cage.bits |= cageNoNew
			how = append(how, "none to be had")
		}
		if err := lacking("ipc"); err == nil {
			p.cage.bits |= cageIPC
			how = append(how, "System V memory of its own")
		} else {
			p.missing("rights: System V memory", err, "it can use that of its user's other programs")
		}
		if f.rights = ferr == nil; f.rights {
			how = append(how, "seccomp")
		} else {
			p.missing("rights: system calls", ferr, "it can trace its user's processes, mount, and use what else the kernel offers")
		}
		if len(how) > 0 {
			p.held("rights", strings.Join(how, ", "))
		}
	}
	if f.any() && ferr == nil {
		p.cage.bits |= cageFilter | cageNoNew
		p.filter = f.compile()
		p.cage.filterLen = uintptr(len(p.filter))
	}
}

func (p *plan) containment(c Contained) {
	level, how := c.Level, c.How
	if p.ask.Open {
		level, how = SingleFault, "a reaper for each program, and one above them"
		p.report.Containment = string(level)
	}
	if level != Kernel && p.ask.NoFork && p.report.Has("fork") != "" {
		level, how = Kernel, "it cannot start processes (seccomp), and ends with its shim"
		p.report.Containment = string(level)
	}
	if level != Kernel && (p.group == nil || !slices.ContainsFunc(p.group.parts, func(q part) bool { return q.h.version == 2 })) {
		if g := killable(p.group); g != nil { // nobody asked: so nobody is told when there is none
			p.group = g
		}
	}
	if level != Kernel && p.group != nil {
		how += ", and a control group"
	}
	if p.asked("containment") {
		p.held("containment", how)
	}
	if level == Kernel || p.ask.Open {
		return
	}
	effect := ""
	for _, m := range c.Missing {
		effect = m.Effect
	}
	p.missing("containment", errors.New(strings.Join(reasons(c), ", ")), effect)
	if version, err := abi(); p.ask.Sandbox && (err != nil || version < 6 || p.cage.bits&cageRules == 0) {
		p.missing("rights: signals", unix.EOPNOTSUPP, "it can signal other processes of its user")
	}
}

// killable adds to g, which may be nil, a group of version 2 by which the kernel kills a whole tree at once. It needs no controllers.
func killable(g *group) *group {
	h, err := treeOf("")
	if err != nil || lacking("cgroup:kill") != nil {
		return g
	}
	with := g
	if with == nil {
		with = &group{}
	}
	if _, err := with.in(h); err != nil {
		return g
	}
	return with
}

// refused is the error for a property that is required and missing.
func (p *plan) refused() error {
	for _, m := range p.report.Missing {
		what, _, _ := strings.Cut(m.What, ":")
		if !p.asked(what) || !p.ask.requires(what) {
			continue
		}
		return &tandem.Error{Op: "isolate", On: what, Kind: tandem.KindStart, Message: "required, and cannot be had here: " + m.String() + ": " + m.Effect, Hint: advice[what]}
	}
	return nil
}

var advice = map[string]string{
	"memory":      groupAdvice,
	"cpu":         groupAdvice,
	"pids":        groupAdvice,
	"files":       "it takes Linux 6.2 or newer with Landlock, and a container engine that allows it; or leave files out of require",
	"network":     "allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone), or run as root; or leave network out of require",
	"user":        "run as root outside of a user namespace, or leave user out of require",
	"rights":      "ask who runs the container or the kernel for seccomp and namespaces, or leave rights out of require",
	"fork":        "it takes seccomp on amd64 or arm64; or leave fork out of require",
	"containment": "allow user namespaces, or say fork: false for a handler that starts no processes; or leave containment out of require",
}

const groupAdvice = "run as root, or in a control group of your own: systemd-run --user --scope -p Delegate=yes tandem …; or leave it out of require. `tandem doctor` shows what there is"

// weaken takes away what failed, and draws the plan anew. It is an error when that cannot be done.
func (p *plan) weaken(f *cageFault, c Contained) error {
	if passing(f.errno) {
		return f
	}
	name := f.mechanism()
	if f.stage == atJoin && p.group != nil {
		if int(f.detail) >= len(p.group.parts) {
			return f
		}
		for _, what := range p.group.parts[f.detail].what {
			learn("cgroup:"+what, f.errno)
		}
		if len(p.group.parts[f.detail].what) == 0 {
			learn("cgroup:kill", f.errno)
		}
		p.drop()
	} else {
		if name == "" || lacking(name) != nil {
			return f
		}
		learn(name, f.errno)
		p.drop()
	}
	p.rules, p.filter = nil, nil
	if err := p.draw(c); err != nil {
		return err
	}
	return p.refused()
}

// rlimits are what each process is bounded by, also inside a control group: there a program sees a failed allocation, which it may survive, before the kernel
// ends the tree.
func (p *plan) rlimits() rlimits { return p.limits.rlimits() }

// empty says that there is nothing for the warden to do.
func (p *plan) empty() bool {
	return p.cage.bits == 0 && p.cage.rlimits == 0 && p.group == nil
}

// encode is the plan as the warden reads it.
func (p *plan) encode() []byte {
	if p.empty() {
		return nil
	}
	var dirs []string
	if p.group != nil {
		dirs = p.group.runs()
		p.cage.joins = uintptr(len(p.group.parts))
	}
	var b []byte
	word := func(list ...uint64) {
		for _, n := range list {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
	}
	k := &p.cage
	k.rules = uintptr(len(p.rules))
	word(uint64(k.bits), uint64(k.uid), uint64(k.gid), uint64(k.joins), uint64(k.rlimits))
	for _, r := range k.rlimit[:k.rlimits] {
		word(r.what, r.soft, r.hard)
	}
	word(k.ruleset[0], k.ruleset[1], k.ruleset[2], uint64(k.rulesetSize), uint64(len(p.rules)), uint64(len(p.filter)), uint64(len(dirs)))
	for _, r := range p.rules {
		word(r.rights)
	}
	b = append(b, filterBytes(p.filter)...)
	for _, r := range p.rules {
		b = append(append(b, r.path...), 0)
	}
	for _, d := range dirs {
		b = append(append(b, d...), 0)
	}
	return b
}

// joins are the descriptors that go with it.
func (p *plan) joins() (fds []int) {
	if p.group != nil {
		for _, part := range p.group.parts {
			fds = append(fds, int(part.procs.Fd()))
		}
	}
	return fds
}

// kernelAtLeast compares with the kernel's version.
func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a > major || a == major && b >= minor
}
