"""Handlers of the tests and of protocol/vectors."""
import asyncio
import os
import pickle
import sys
import threading
import time


def same(x):
    return x


def three(x):
    for i in range(3):
        yield x + str(i)


def none(x):
    return
    yield


def fail(x):
    raise ValueError("bad header")


def big(n):
    return b"z" * n


def nap(x):
    time.sleep(float(x))
    return x


def again(x):
    from tandem import Permanent, Retry

    if x == "retry":
        raise Retry("busy", after=5)
    if x == "soon":
        raise Retry("busy")
    raise Permanent("bad")


def short(xs):
    return xs[:-1]


def nothing(xs):
    pass


def slow_second(x):
    if x == "slow":
        time.sleep(1)
    return x


async def anap(x):
    await asyncio.sleep(float(x))
    return x


async def athree(x):
    for i in range(3):
        await asyncio.sleep(0)
        yield x + str(i)


async def abig(n):
    await asyncio.sleep(0)
    return b"z" * n


def named(a, b=2):
    return [a, b]


def thread_name(x):
    return threading.current_thread().name


def noisy(x):
    print("to stdout")
    print("to stderr", file=sys.stderr)
    os.write(1, b"raw\n")
    return x


def stdin(x):
    return sys.stdin.read()


def odd(x):
    return {1, 2}


def leaves(x):
    sys.exit(3)


def interrupts(x):
    raise KeyboardInterrupt


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no")


def unprintable(x):
    raise Unprintable


class Box:
    def __init__(self, x):
        self.x = x


def boxed(x):
    return Box(x)


def env(x):
    return os.environ.get("TANDEM_WORKER", "gone")


def forks(x):
    """A child that outlives us must not hold the channel open."""
    import subprocess

    child = subprocess.Popen(["sleep", "2"], close_fds=False)
    return child.pid


value = 5

kept = []


def view_size(data: memoryview):
    return [type(data).__name__, len(data), data.readonly]


def view_back(data: memoryview):
    return data[:10]


def view_kept(data: memoryview):

    kept.append(memoryview(data))
    kept.append(pickle.PickleBuffer(data))
    return len(data)


def view_parts(data: "memoryview"):
    yield bytes(data[:2])
    yield len(data)


async def view_async(data: memoryview):
    await asyncio.sleep(0)
    return len(data)
