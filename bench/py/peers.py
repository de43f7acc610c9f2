"""What Python's own process pools give, in the same round as everything else.

    peers.py ROW SECONDS [MB]     one short measurement, printed as one JSON line

Standard library only, default start method, two workers, each worker warmed before the clock starts.
A row that cannot run here prints {"left_out": "why"}.
"""

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import resource_tracker, shared_memory

WORKERS, IN_FLIGHT, PAGE = 2, 256, 4096
MESSAGE = bytes(64)


# In the workers.

def leave_with_parent():
    """A worker must not outlive a killed benchmark (Linux: PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def same(message):
    return message


def touch(data):
    """Reads one byte of every page, in C, and says how much there was."""
    memoryview(data)[::PAGE].tobytes()
    return len(data)


def touch_fresh(name):
    block = shared_memory.SharedMemory(name)
    try:
        return touch(block.buf)
    finally:
        block.close()


mapped = {}


def touch_reused(name):
    if name not in mapped:
        mapped[name] = shared_memory.SharedMemory(name)
    return touch(mapped[name].buf)


# In the parent. Every row is a function of (seconds, megabytes) that returns its figures.

def new_pool():
    return multiprocessing.Pool(WORKERS, leave_with_parent)


def new_executor():
    return ProcessPoolExecutor(WORKERS, initializer=leave_with_parent)


def windowed(submit, result, seconds):
    """Keeps 256 in flight, taking back half of them at a time: that costs the peers fewest wake-ups."""
    flying = deque(submit() for _ in range(IN_FLIGHT))
    for _ in range(IN_FLIGHT):  # one window warms up
        result(flying.popleft())
    done, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        while len(flying) < IN_FLIGHT:
            flying.append(submit())
        for _ in range(IN_FLIGHT // 2):
            result(flying.popleft())
            done += 1
    while flying:
        result(flying.popleft())
    return {"rate": done / spent / 1e3}


def one_by_one(call, seconds):
    took = []
    for _ in range(50):
        call()
    start = time.perf_counter()
    while (now := time.perf_counter()) - start < seconds or len(took) < 100:
        call()
        took.append(time.perf_counter() - now)
    took.sort()
    return {"p50": took[len(took) // 2] * 1e6, "p99": took[int(len(took) * 0.99)] * 1e6}


def executor_submit(seconds, _):
    with new_executor() as executor:
        return windowed(lambda: executor.submit(same, MESSAGE), lambda future: future.result(), seconds)


def executor_sync(seconds, _):
    with new_executor() as executor:
        return one_by_one(lambda: executor.submit(same, MESSAGE).result(), seconds)


def pool_async(seconds, _):
    with new_pool() as pool:
        return windowed(lambda: pool.apply_async(same, (MESSAGE,)), lambda promise: promise.get(), seconds)


def pool_sync(seconds, _):
    with new_pool() as pool:
        return one_by_one(lambda: pool.apply(same, (MESSAGE,)), seconds)


def handed_over(call, size, seconds):
    """call() hands the payload to a worker and returns the length that the worker saw."""
    took, start = [], time.perf_counter()
    while (now := time.perf_counter()) - start < seconds or not took:
        if call() != size:
            sys.exit("peers.py: the worker saw another length than was sent")
        took.append(time.perf_counter() - now)
    took.sort()
    median = took[len(took) // 2]
    return {"call": median * 1e3, "rate": size / median / 1e9}


def pool_bytes(seconds, megabytes):
    data = os.urandom(1 << 20) * megabytes
    with new_pool() as pool:
        pool.apply(touch, (MESSAGE,))
        return handed_over(lambda: pool.apply(touch, (data,)), len(data), seconds)


def room_for(size):
    free = os.statvfs("/dev/shm")
    if free.f_bavail * free.f_frsize < size + (8 << 20):  # beyond it a write is a SIGBUS, not an exception
        print(json.dumps({"left_out": "/dev/shm has less than %d MB free" % (size >> 20)}))
        sys.exit()


def shm_fresh(seconds, megabytes):
    """A new block for every call: create, copy in, call, unlink. What a program does that just wants to pass data."""
    data = os.urandom(1 << 20) * megabytes
    room_for(len(data))
    resource_tracker.ensure_running()  # before the fork, so that parent and workers share one
    with new_pool() as pool:
        pool.apply(touch, (MESSAGE,))

        def call():
            block = shared_memory.SharedMemory(create=True, size=len(data))
            try:
                block.buf[: len(data)] = data
                return pool.apply(touch_fresh, (block.name,))
            finally:
                block.close()
                block.unlink()

        return handed_over(call, len(data), seconds)


def shm_reused(seconds, megabytes):
    """One block for all calls, mapped once by each worker: copy in, call. The best that plain Python can do."""
    data = os.urandom(1 << 20) * megabytes
    room_for(len(data))
    resource_tracker.ensure_running()
    block = shared_memory.SharedMemory(create=True, size=len(data))
    try:
        with new_pool() as pool:
            call = partial(pool.apply, touch_reused, (block.name,))

            def copy_and_call():
                block.buf[: len(data)] = data
                return call()

            for _ in range(4):  # both workers map it and fault its pages in
                copy_and_call()
            return handed_over(copy_and_call, len(data), seconds)
    finally:
        block.close()
        block.unlink()


def killer(item):
    if item == 17:
        os.kill(os.getpid(), 9)
    time.sleep(0.01)
    return item


def killer_executor(_seconds, _size):
    """One item in a hundred kills its process: what it takes with it."""
    good = 0
    with ProcessPoolExecutor(2) as pool:
        for f in [pool.submit(killer, i) for i in range(1, 101)]:
            try:
                f.result()
                good += 1
            except Exception:
                pass
    return {"lost": 100 - good}


def killer_pool(_seconds, _size):
    """The same; a result that has not come after five seconds never comes."""
    pool = multiprocessing.Pool(2)
    results = [pool.apply_async(killer, (i,)) for i in range(1, 101)]
    end = time.monotonic() + 5
    good = 0
    for r in results:
        r.wait(max(0, end - time.monotonic()))
        good += r.ready() and r.successful()
    pool.terminate()
    return {"lost": 100 - good}


ROWS = {f.__name__: f for f in (killer_executor, killer_pool, executor_submit, executor_sync, pool_async, pool_sync, pool_bytes, shm_fresh, shm_reused)}

if __name__ == "__main__":
    name, seconds = sys.argv[1], float(sys.argv[2])
    size = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    print(json.dumps({"figures": ROWS[name](seconds, size)}))
