"""A process that has loaded the handler and forks a worker whenever Tandem asks for one.

Tandem talks to it on descriptor 3: the first packet says what to load, each further one brings the descriptors of a worker. Every worker gets a process above
it, as those that Tandem starts: the first of its PID namespace where the machine allows that, which ends the worker and all the worker has started when
Tandem orders it or is gone. So workers live on when this process dies, and one worker's death is no other's. One such process is kept ready: it is in its
namespaces and waits for its order, so that a worker is one fork away and not two.

Forked is only what can be forked: with threads, open files or child processes left by the import this process says so and goes, and Tandem starts its
workers one by one.
"""
import _signal
import ctypes
import errno
import gc
import json
import os
import select
import signal
import struct
import sys
from array import array
from fcntl import F_DUPFD_CLOEXEC, fcntl
from _socket import AF_UNIX, MSG_CMSG_CLOEXEC, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socketpair
from _socket import socket as Socket

from . import process, start  # what workers use is loaded before they are forked
from .values import Refused

HELLO, FAILED, RUNNING, EXIT, EMPTY = range(1, 6)  # what is said of a worker, see internal/proc
AT_FORK, AT_USER, AT_MOUNT, AT_PROC = 1, 2, 3, 4  # where a start may fail
packet = struct.Struct("8q")
NEWNS, NEWUSER, NEWPID = 0x20000, 0x10000000, 0x20000000
REC_SLAVE, PROC_FLAGS = 0x4000 | 0x80000, 2 | 4 | 8  # mount: nosuid, nodev, noexec
PDEATHSIG, SET_NAME, SUBREAPER = 1, 15, 36  # prctl
WALL, ROUNDS, PAUSE = 0x40000000, 5000, 2  # wait4; rounds of killing, and milliseconds between them
QUIET = 5  # milliseconds without an order, after which the next process above a worker is made
SIGNALS = [s for s in range(1, 65) if s not in (32, 33)]  # those two are the C library's
CLONE = {"x86_64": 56, "aarch64": 220, "riscv64": 220}


class Cannot(Exception):
    """Workers cannot be forked here, and why."""


def main():
    os.environ.pop("TANDEM_WORKER", None)
    os.set_inheritable(3, False)
    chan = Socket(fileno=3)
    data = chan.recv(1 << 20)
    if not data:
        os._exit(0)
    try:
        home = Home(chan, json.loads(data))
        answer = {"ready": True}
    except Refused as e:
        answer = {"cannot": e.body["message"]}
    except Cannot as e:
        answer = {"cannot": str(e)}
    sys.stdout.flush()
    sys.stderr.flush()
    chan.send(json.dumps(answer).encode())
    if "cannot" in answer:
        os._exit(0)
    home.serve()


class Home:
    """What every worker begins with."""

    def __init__(self, chan, order):
        self.chan, self.shims = chan, set()
        self.parked, self.waits, self.wanted = None, 0, True  # the line to who waits for an order, its pid, and whether one is to be made
        self.libc = ctypes.PyDLL(None, use_errno=True)  # it keeps the interpreter's lock: the fork happens under it
        self.number = CLONE.get(os.uname().machine)
        if self.number is None:
            raise Cannot("nobody knows how to clone on " + os.uname().machine)
        before = descriptors()
        self.dump = start.prepare()
        self.found = start.start(order["hello"])
        preload(self.found[2])
        self.check(before)
        self.flags = self.spaces(order["level"])
        if not self.flags:
            self.libc.prctl(SUBREAPER, 1, 0, 0, 0)
        gc.collect()
        gc.freeze()  # or the collector would write to, and so copy, what the workers share
        self.mask = _signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self.deaths = self.signalfd()
        with open("/proc/self/comm", "rb") as f:  # what the processes above workers are not called
            self.name = f.read().strip()

    def check(self, before):
        """Whether what the import left can be forked."""
        threads = len(os.listdir("/proc/self/task"))
        if threads > 1:
            raise Cannot(f"the handler's module starts threads while it is imported ({threads - 1} of them), and threads are not forked")
        new = {fd: what for fd, what in descriptors().items() if fd not in before}
        if new:
            raise Cannot("the handler's module leaves files or connections open when it is imported, and workers must not share them: " + ", ".join(sorted(new.values())[:3]))
        with open("/proc/thread-self/children") as f:
            if f.read().split():
                raise Cannot("the handler's module starts processes while it is imported")

    def spaces(self, level):
        """The namespaces of each worker, found by making them: not less than the workers that are not forked get."""
        if level != "kernel":
            return 0
        for flags in (NEWPID | NEWNS, NEWPID | NEWNS | NEWUSER):
            pid = self.clone(flags)
            if pid == 0:
                os._exit(0 if self.enter(flags) is None else 1)
            if pid > 0 and os.waitpid(pid, WALL)[1] == 0:
                return flags
        raise Cannot("a namespace inside a namespace is not allowed here")

    def clone(self, flags):
        """A copy of this process, which must not return to the program: its C library knows nothing of it."""
        return self.libc.syscall(ctypes.c_long(self.number), ctypes.c_long(flags | signal.SIGCHLD), 0, 0, 0, 0)

    def signalfd(self):
        mask = ctypes.c_uint64(1 << (signal.SIGCHLD - 1))
        return self.libc.signalfd(-1, ctypes.byref((ctypes.c_uint64 * 16)(mask.value)), 0o2000000 | 0o4000)  # CLOEXEC, NONBLOCK

    def enter(self, flags):
        """Settles in the namespaces; the stage and the errno when that fails."""
        if flags & NEWUSER:
            try:
                for file, text in (("setgroups", "deny"), ("uid_map", "{0} {0} 1\n".format(UID)), ("gid_map", "{0} {0} 1\n".format(GID))):
                    with open("/proc/self/" + file, "w") as f:
                        f.write(text)
            except OSError as e:
                return AT_USER, e.errno
        if flags & NEWPID:
            if self.libc.mount(b"none", b"/", None, ctypes.c_ulong(REC_SLAVE), None):
                return AT_MOUNT, ctypes.get_errno()
            if self.libc.mount(b"proc", b"/proc", b"proc", ctypes.c_ulong(PROC_FLAGS), None):
                return AT_PROC, ctypes.get_errno()
        elif self.libc.prctl(SUBREAPER, 1, 0, 0, 0):
            return AT_FORK, ctypes.get_errno()
        return None

    def serve(self):
        """Forks a worker for each packet, until Tandem is gone."""
        poll = select.poll()
        poll.register(self.chan, select.POLLIN)
        poll.register(self.deaths, select.POLLIN)
        while True:
            ready = poll.poll(QUIET if self.wanted else None)
            if not ready:
                self.wanted = False
                self.park()
            for fd, _ in ready:
                if fd == self.deaths:
                    os.read(fd, 4096)
                    self.reap()
                    continue
                data, fds = receive(self.chan)
                if not data:
                    os._exit(0)
                if not (self.give(data, fds) or self.park(fds) and self.give(data, fds)):
                    Shim.say(Socket(fileno=os.dup(fds[0])), FAILED, AT_FORK, ctypes.get_errno() or errno.EAGAIN)
                self.wanted = True
                for fd in fds:
                    os.close(fd)

    def park(self, fds=()):
        """Makes the process above the next worker, which waits for its order; false when that is not possible. fds: what an order has brought here, and is to bring there."""
        try:
            ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
        except OSError:
            return False
        pid = self.clone(self.flags)
        if pid == 0:
            try:
                ours.close()
                for fd in fds:  # or the worker's channel would be open twice, and its end not seen
                    os.close(fd)
                Shim(self, theirs)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            os._exit(1)
        if pid > 0:
            self.shims.add(pid)
            self.parked, self.waits = ours, pid
        theirs.close()
        return pid > 0

    def give(self, data, fds):
        """Gives an order to the process that waits for one; false when there is none."""
        line, self.parked, self.waits = self.parked, None, 0
        if line is None:
            return False
        try:
            line.sendmsg([data], [(SOL_SOCKET, SCM_RIGHTS, array("i", fds))])
        except OSError:  # it was killed
            return False
        finally:
            line.close()
        return True

    def reap(self):
        """Buries what ended. Without a namespace around it, what a killed one leaves behind comes here, and is ended."""
        orphans = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | WALL)
            except ChildProcessError:
                return
            if not pid:
                break
            self.shims.discard(pid)
            if pid == self.waits:
                self.parked, self.waits, self.wanted = None, 0, True
            orphans = orphans or os.WIFSIGNALED(status)
        if orphans and not self.flags:
            for pid in children():
                if pid not in self.shims:
                    os.kill(pid, signal.SIGKILL)


class Shim:
    """The process above a worker. Making one never returns: it ends here, or as the worker when that has served."""

    def __init__(self, home, line):
        self.home, self.flags = home, home.flags
        me = os.getpid()
        home.libc.prctl(SET_NAME, b"tandem-shim", 0, 0, 0)
        os.setpgid(0, 0)
        bad = home.enter(self.flags)
        data, fds = receive(line)
        if not data:  # nobody is left who could give one
            os._exit(0)
        line.close()
        order = json.loads(data)
        self.ctl = Socket(fileno=fds[0])
        if bad:
            self.fail(*bad)
        try:
            self.worker = os.fork()
        except OSError as e:
            self.fail(AT_FORK, e.errno)
        if self.worker == 0:
            self.become(me, fds, order)
        try:
            self.watch(fds)
        finally:
            os._exit(1)

    def fail(self, stage, errno):
        self.say(self.ctl, FAILED, stage, errno)
        os._exit(127)

    @staticmethod
    def say(ctl, *words):
        try:
            ctl.send(packet.pack(*words, *(0,) * (8 - len(words))))
        except OSError:  # nobody is left who wants to know
            pass

    def become(self, parent, fds, order):
        """The worker."""
        home = self.home
        os.setpgid(0, 0)
        home.libc.prctl(SET_NAME, home.name, 0, 0, 0)
        home.libc.prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(127)  # its parent died before it could be seen
        self.say(self.ctl, HELLO)
        self.ctl.detach()
        os.close(fds[0])
        home.chan.detach()
        os.close(3)
        os.close(home.deaths)
        # They must not lie where others are to be put.
        high = [fcntl(fd, F_DUPFD_CLOEXEC, 2 * len(fds)) for fd in fds[1:]]
        for fd in fds[1:]:
            os.close(fd)
        for i, fd in enumerate(high):
            os.dup2(fd, i, i < 3)
            os.close(fd)
        os.environ.update(order["env"])
        numbers = sys.modules.get("numpy.random")
        if numbers is not None:
            numbers.seed()  # as Python's own generator does by itself, or all workers would draw the same
        _signal.pthread_sigmask(signal.SIG_SETMASK, home.mask)  # the one in signal makes names of all numbers first
        start.guarded(Socket(fileno=3), (home.dump, home.found))
        os._exit(0)

    def watch(self, fds):
        """Waits for the end of the worker, an order, or the end of Tandem, and leaves nothing behind."""
        gc.disable()
        for s in SIGNALS:  # the first process of a namespace is deaf to all signals that it has no handler for
            if s not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(s, signal.SIG_DFL)
        ctl, self.deaths = self.ctl.detach(), self.home.signalfd()
        high = [os.dup(ctl), os.dup(self.deaths)]
        low = [os.dup2(fd, i, False) for i, fd in enumerate(high)]
        os.closerange(2, max(high + fds + [self.home.deaths, 64]) + 1)  # what the worker reads and writes must end with it
        self.ctl, self.deaths, self.ended = Socket(fileno=low[0]), low[1], False
        self.say(self.ctl, RUNNING)
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(1, select.POLLIN)
        while True:
            self.reap()
            if self.ended:
                break
            if any(fd == 0 for fd, _ in poll.poll()):  # an order to kill and the end of Tandem mean the same
                break
            self.drain()
        if self.purge():
            self.say(self.ctl, EMPTY)
        os._exit(0)

    def drain(self):
        try:
            os.read(1, 4096)
        except BlockingIOError:
            pass

    def reap(self):
        """Buries every child that has ended; whether there may be more to come."""
        while True:
            try:
                pid, status, use = os.wait4(-1, os.WNOHANG | WALL)
            except ChildProcessError:
                return False
            if not pid:
                return True
            if pid == self.worker and not self.ended:
                self.ended = True
                self.say(self.ctl, EXIT, status, int(use.ru_utime * 1e6), int(use.ru_stime * 1e6), use.ru_maxrss)

    def purge(self):
        """Kills the tree until nothing of it is left; False when something cannot be killed."""
        poll = select.poll()
        poll.register(1, select.POLLIN)
        for _ in range(ROUNDS):
            if not self.reap():
                return True
            if self.flags & NEWPID:
                os.kill(-1, signal.SIGKILL)  # all of the namespace but ourselves
            else:
                for pid in children():
                    os.kill(pid, signal.SIGKILL)
            if self.reap():
                poll.poll(PAUSE)
                self.drain()
        return False


UID, GID = os.geteuid(), os.getegid()
SIZE = array("i").itemsize


def receive(line):
    """A packet and the descriptors that came with it."""
    data, anc, _, _ = line.recvmsg(1 << 20, 64 * SIZE, MSG_CMSG_CLOEXEC)
    fds = array("i")
    for level, kind, body in anc:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds.frombytes(body[: len(body) // SIZE * SIZE])
    return data, list(fds)


def preload(mode):
    """Loads what workers of this mode import when they begin."""
    import random  # noqa: F401  its seed is drawn anew in each worker
    import traceback  # noqa: F401

    from . import batch, meter, notice  # noqa: F401

    if mode == "async":
        from . import loop  # noqa: F401
    elif mode == "thread":
        from . import threads  # noqa: F401
        import queue, threading  # noqa: F401, E401


def descriptors():
    """What is open, by number."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            what = os.readlink("/proc/self/fd/" + name)
        except OSError:  # the one that lists them
            continue
        if what not in ("/dev/urandom", "/dev/random", "/dev/null"):
            found[int(name)] = what
    return found


def children():
    try:
        with open("/proc/thread-self/children") as f:
            return [int(pid) for pid in f.read().split()]
    except OSError:
        return []
