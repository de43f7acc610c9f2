"""The compute half of the hybrid job: a synthetic image that costs a fixed amount of processor time.

    work.py calibrate MS   how many turns of the loop make MS milliseconds of processor time, alone on a core
    work.py cpu N          processor seconds that N images take

As a module, thumb(item) is one image. The turns are read from spin.txt beside this file, so that every candidate does
exactly the same work.
"""

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path

TURNS_FILE = Path(__file__).with_name("spin.txt")
turns = int(TURNS_FILE.read_text()) if TURNS_FILE.exists() else 0


def spin(n, x):
    for _ in range(n):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
    return x


def thumb(item):
    return {"item": item, "sum": spin(turns, 1)}


def killer(item):
    """One of a hundred ends its process."""
    if item == 17:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return item


def same(item):
    """The handler of the no-op flows."""
    return item


def turn(n):
    """n turns of processor time."""
    return {"sum": spin(n, 1)}


async def wait(item):
    """Five milliseconds without a processor."""
    await asyncio.sleep(0.005)
    return {"item": item}


async def answer(item):
    """A tenth of a second, as an API may take."""
    await asyncio.sleep(0.1)
    return item


def touch(data):
    """The handler of the payload rows: reads one byte of every page and says how much there was."""
    memoryview(data)[::4096].tobytes()
    return len(data)


def touch_view(data: memoryview):
    """The same with the argument lent by Tandem instead of copied into bytes."""
    return touch(data)


def calibrate(milliseconds):
    n, best = 200_000, float("inf")
    for _ in range(5):
        start = time.process_time()
        spin(n, 1)
        best = min(best, time.process_time() - start)
    return max(1, int(n * milliseconds / 1e3 / best))


if __name__ == "__main__":
    if sys.argv[1] == "calibrate":
        print(json.dumps({"figures": {"turns": calibrate(float(sys.argv[2]))}}))
    else:
        start = time.process_time()
        for i in range(int(sys.argv[2])):
            thumb(i)
        print(json.dumps({"figures": {"cpu": time.process_time() - start}}))
