import asyncio
import multiprocessing
import subprocess
import sys
import threading

from row import QUICK, each, now, row


def nothing():
    pass


async def tasks(n):
    async def one():
        pass

    begun = now()
    await asyncio.gather(*[one() for _ in range(n)])
    return (now() - begun) / n * 1e6


def start(make):
    def f():
        t = make(target=nothing)
        t.start()
        t.join()

    return f


if __name__ == "__main__":
    n = 100 if QUICK else 400
    row("python thread", "create", each(start(threading.Thread), n), "µs", n)
    row("asyncio task", "create", asyncio.run(tasks(20 * n)), "µs", 20 * n)
    fork = multiprocessing.get_context("fork")
    n = 10 if QUICK else 30
    row("python process", "create", each(start(fork.Process), n), "µs", n, "forked")
    n = 2 if QUICK else 5
    spawn = multiprocessing.get_context("spawn")
    spawn.Process(target=nothing).start()  # starts the tracker of resources, once
    row("python process, spawned", "create", each(start(spawn.Process), n), "µs", n, "a new interpreter")
    row("python interpreter", "create", each(lambda: subprocess.run([sys.executable, "-S", "-c", ""]), n), "µs", n, "python3 -S -c ''")
