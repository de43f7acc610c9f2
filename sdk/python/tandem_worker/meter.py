"""Where the time of this worker's tasks went: processor, run queue, switches, the interpreter lock (section 9 of protocol/SPEC.md).

Promises: a task of 2 ms or more is measured by itself and exactly, shorter ones as a sample, a whole batch at a time, at most every 2 ms. A reading costs about
2 µs, so measuring costs at most about 0.3 % of the work; where Tandem has not asked for it, nothing.
"""
import os
import resource
import sys
from _thread import allocate_lock, start_new_thread
from struct import Struct
from time import monotonic_ns, sleep

from .frames import MEASURED, head

EVERY_NS = 2_000_000  # a span is measured when the last one began so long ago
INTERIM_NS = 250_000_000  # of a longer one it is told meanwhile
figures = Struct("<9Q")  # tasks, wall, cpu, queue, voluntary, involuntary, looks, held, late


def schedstat():
    """The calling thread's counters as a descriptor; -1 on a kernel without them."""
    try:
        return os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


def queued(fd):
    """Nanoseconds that the thread of this descriptor was ready to run without a processor."""
    return int(os.pread(fd, 64, 0).split()[1]) if fd >= 0 else 0


def used():
    """Processor nanoseconds of this process and of the children it has waited for."""
    own, kids = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((own.ru_utime + own.ru_stime + kids.ru_utime + kids.ru_stime) * 1e9)


def switches(who=resource.RUSAGE_THREAD):
    """(voluntary, involuntary) switches of the calling thread."""
    r = resource.getrusage(who)
    return r.ru_nvcsw, r.ru_nivcsw


class Meter:
    """Adds up what the tasks took and puts it into the outbox. `add` appends a frame, `flush` sends; both may be called from any thread.

    One thread that runs a span of tasks calls begin and end; several, of which each runs a task, call enter and leave. busy says whether a task runs now."""

    def __init__(self, add, flush, busy):
        self.add, self.flush, self.busy = add, flush, busy
        self.door = allocate_lock()
        self.active = self.wall = self.queue = self.tasks = 0
        self.told = self.since = 0
        self.at, self.turns = used(), (0, 0)
        self.looks = self.held = 0
        self.before = {}  # what each thread's counters said last, by descriptor
        self.main = -1
        start_new_thread(self.look, ())

    def begin(self, now):
        if self.main < 0:
            self.main = schedstat()
        with self.door:
            self.before[self.main] = queued(self.main)
            self.at, self.turns = used(), switches()
            self.told = self.since = now
            self.active = 1

    def end(self, now, tasks, ident):
        then, self.turns = self.turns, switches()
        with self.door:
            self.wall += now - self.since
            self.active = 0
            self.count(self.main)
            self.tell(tasks, ident, self.turns[0] - then[0], self.turns[1] - then[1])

    def several(self):
        """From here on enter and leave are called."""
        with self.door:
            self.before.clear()
            self.active = 0
            self.turns = switches(resource.RUSAGE_SELF)

    def join(self):
        """A thread that will run tasks begins; its descriptor is for leave and part."""
        fd = schedstat()
        with self.door:
            self.before[fd] = queued(fd)
        return fd

    def part(self, fd):
        with self.door:
            self.count(fd)
            self.before.pop(fd, None)
        if fd >= 0:
            os.close(fd)

    def enter(self, now):
        with self.door:
            self.wall += self.active * (now - self.since)
            self.since = now
            self.active += 1
            self.told = self.told or now

    def leave(self, now, fd, counts):
        """counts: the thread's own counters are read, which it need not do after every short task."""
        with self.door:
            self.wall += self.active * (now - self.since)
            self.since = now
            self.active -= 1
            self.tasks += 1
            if counts:
                self.count(fd)
            if now - self.told >= EVERY_NS:
                self.told = now
                self.tell_all()

    def count(self, fd):
        """The door is held."""
        queue = queued(fd)
        self.queue += queue - self.before.get(fd, queue)
        self.before[fd] = queue

    def tell_all(self):
        then, self.turns = self.turns, switches(resource.RUSAGE_SELF)
        tasks, self.tasks = self.tasks, 0
        self.tell(tasks, 0, self.turns[0] - then[0], self.turns[1] - then[1])

    def tell(self, tasks, ident, voluntary, involuntary):
        """The door is held."""
        then, self.at = self.at, used()
        wall, self.wall, queue, self.queue, looks, self.looks, held, self.held = self.wall, 0, self.queue, 0, self.looks, 0, self.held, 0
        self.add(frame(tasks, ident, wall, self.at - then, queue, voluntary, involuntary, looks, held, 0))

    def look(self):
        """Looks now and then whether the interpreter lock is held: whoever wakes up while it is has to wait for it. It also tells of tasks that take long."""
        own = schedstat()
        before, turn = queued(own), 0
        while True:
            nap = 0.01 if turn < 50 else 0.1
            turn += 1
            begun = monotonic_ns()
            sleep(nap)
            now = monotonic_ns()
            queue = queued(own)
            waited = now - begun - int(nap * 1e9) - (queue - before)
            before = queue
            if not self.busy():
                if turn > 50:
                    sleep(0.1)
                continue
            self.looks += 1
            if waited > 300e6 * sys.getswitchinterval():
                self.held += 1
            with self.door:
                if not self.active or now - self.told < INTERIM_NS:
                    continue
                self.told = now
                self.wall += self.active * max(0, now - self.since)
                self.since = max(now, self.since)
                for fd in self.before:
                    self.count(fd)
                if self.main in self.before:
                    self.tell(0, 0, 0, 0)
                else:
                    self.tell_all()
            self.flush()


def frame(tasks, ident, wall, cpu, queue, voluntary, involuntary, looks, held, late):
    return head.pack(16 + figures.size, MEASURED, 0, 0, ident) + figures.pack(
        tasks, max(0, wall), max(0, cpu), max(0, queue), max(0, voluntary), max(0, involuntary), looks, held, max(0, late)
    )


class LoopMeter:
    """The same for an event loop: its one thread's time, and how long it did not turn. The wall clock is the loop's, not the sum of its tasks'."""

    def __init__(self):
        self.fd, self.counted, self.late = schedstat(), 0, 0
        self.begin(monotonic_ns())

    def begin(self, now):
        self.since = self.beaten = now
        self.at, self.before, self.turns = used(), queued(self.fd), switches()

    def turn(self, now, beat):
        self.late += max(0, now - self.beaten - int(beat * 1e9))
        self.beaten = now

    def tell(self, finished):
        at, before, turns, since, late, counted = self.at, self.before, self.turns, self.since, self.late, self.counted
        self.begin(monotonic_ns())
        self.counted, self.late = finished, 0
        return frame(finished - counted, 0, self.since - since, self.at - at, self.before - before, self.turns[0] - turns[0], self.turns[1] - turns[1], 0, 0, late)
