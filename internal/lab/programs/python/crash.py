import multiprocessing
import os
import signal
import subprocess
import sys
import time

from row import now, row

# Four threads, one of which reads what is not there, as a faulty C extension does; the others would have said that they go on.
FAULT = """
import ctypes, os, resource, threading, time
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
def neighbour():
    time.sleep(.2)
    os.write(1, b"x")
all_ = [threading.Thread(target=neighbour) for _ in range(3)]
for t in all_: t.start()
threading.Thread(target=lambda: ctypes.string_at(8)).start()
for t in all_: t.join()
"""


def neighbour(ready):
    ready.release()
    time.sleep(60)


def processes():
    fork = multiprocessing.get_context("fork")
    ready = fork.Semaphore(0)

    def start():
        p = fork.Process(target=neighbour, args=(ready,))
        p.start()
        return p

    all_ = [start() for _ in range(4)]
    for _ in all_:
        ready.acquire()
    begun = now()
    os.kill(all_[0].pid, signal.SIGSEGV)
    all_[0].join()
    fresh = start()
    ready.acquire()
    took = now() - begun
    lost = sum(not p.is_alive() for p in all_[1:])
    for p in all_[1:] + [fresh]:
        p.kill()
        p.join()
    return lost, took


if __name__ == "__main__":
    p = subprocess.run([sys.executable, "-S", "-c", FAULT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    row("python thread", "neighbours lost", 3 - len(p.stdout), "of 3", 1, "one of four threads read memory that is not there")
    lost, took = processes()
    row("python process", "neighbours lost", lost, "of 3", 1, "one of four was killed by the same signal")
    row("python process", "replaced", took * 1e3, "ms", 1, "seen dead, and another one ready")
