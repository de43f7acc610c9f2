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
    """(processor nanoseconds, voluntary, involuntary switches) of this process and of the children it has waited for."""
    own, kids = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return int((own.ru_utime + own.ru_stime + kids.ru_utime + kids.ru_stime) * 1e9), own.ru_nvcsw, own.ru_nivcsw


class Meter:
    """Adds up what the tasks took and puts it into the outbox. `add` appends a frame, `flush` sends; both may be called from any thread."""

    def __init__(self, add, flush):
        self.add, self.flush = add, flush
        self.door = allocate_lock()
        self.active = self.wall = self.queue = 0
        self.began = self.told = self.since = 0
        self.at = used()
        self.looks = self.held = self.late = 0
        self.main = -1
        self.before = 0
        start_new_thread(self.look, ())

    def begin(self, now):
        """One thread begins a span of tasks one after the other; it has to be this thread that calls end."""
        if self.main < 0:
            self.main = schedstat()
        with self.door:
            self.at, self.before = used(), queued(self.main)
            self.began = self.told = self.since = now
            self.active = 1

    def end(self, now, tasks, ident):
        with self.door:
            self.wall += now - self.since
            self.active = 0
            self.tell(now, tasks, ident)

    def enter(self, now):
        """One of several threads begins a task."""
        with self.door:
            self.wall += self.active * (now - self.since)
            self.since = now
            self.active += 1
            if not self.told:
                self.told = now

    def leave(self, now, queue):
        with self.door:
            self.wall += self.active * (now - self.since)
            self.since = now
            self.active -= 1
            self.queue += queue
            self.began += 1  # tasks since it was told
            if now - self.told >= EVERY_NS:
                self.told = now
                self.tell(now, self.began, 0)
                self.began = 0

    def tell(self, now, tasks, ident):
        """The door is held."""
        then, self.at = self.at, used()
        if self.main >= 0:
            queue = queued(self.main)
            self.queue += queue - self.before
            self.before = queue
        looks, self.looks, held, self.held, late, self.late = self.looks, 0, self.held, 0, self.late, 0
        wall, self.wall, queue, self.queue = self.wall, 0, self.queue, 0
        now = self.at
        self.add(
            head.pack(16 + figures.size, MEASURED, 0, 0, ident)
            + figures.pack(tasks, wall, max(0, now[0] - then[0]), max(0, queue), now[1] - then[1], now[2] - then[2], looks, held, late)
        )

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
            waited = now - begun - int(nap * 1e9)
            queue = queued(own)
            waited -= queue - before
            before = queue
            if not self.active:
                if turn > 50:
                    sleep(0.1)
                continue
            self.looks += 1
            if waited > 300e6 * sys.getswitchinterval():
                self.held += 1
            with self.door:
                if not self.active or now - max(self.told, 0) < INTERIM_NS:
                    continue
                self.told = now
                self.wall += self.active * max(0, now - self.since)
                self.since = now
                self.tell(now, 0, 0)
            self.flush()


class LoopMeter:
    """The same for an event loop: its one thread's time, and how long it did not turn. The wall clock is the loop's, not the sum of its tasks'."""

    def __init__(self):
        self.fd, self.counted, self.late = schedstat(), 0, 0
        self.begin(monotonic_ns())

    def begin(self, now):
        self.since = self.beaten = now
        self.at, self.before = used(), queued(self.fd)

    def turn(self, now, beat):
        self.late += max(0, now - self.beaten - int(beat * 1e9))
        self.beaten = now

    def tell(self, finished):
        then, before, since, late = self.at, self.before, self.since, self.late
        self.begin(monotonic_ns())
        tasks, self.counted, self.late = finished - self.counted, finished, 0
        return head.pack(16 + figures.size, MEASURED, 0, 0, 0) + figures.pack(
            tasks, self.since - since, max(0, self.at[0] - then[0]), max(0, self.before - before), self.at[1] - then[1], self.at[2] - then[2], 0, 0, late
        )
