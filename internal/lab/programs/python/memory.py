import asyncio
import multiprocessing
import os
import threading

from row import QUICK, memory, own, row


def threads(n):
    stop = threading.Event()
    all_ = []
    before = memory()
    for _ in range(n):
        t = threading.Thread(target=stop.wait)
        t.start()
        all_.append(t)
    each = (memory() - before) / n
    stop.set()
    for t in all_:
        t.join()
    return each


def wait(ready, stop):
    ready.release()
    stop.wait()


def processes(n, kind):
    context = multiprocessing.get_context(kind)
    ready, stop = context.Semaphore(0), context.Event()
    all_ = [context.Process(target=wait, args=(ready, stop)) for _ in range(n)]
    for p in all_:
        p.start()
    for _ in all_:
        ready.acquire()
    each = sum(own(p.pid) for p in all_) / n
    stop.set()
    for p in all_:
        p.join()
    return each


async def tasks(n):
    stop = asyncio.Event()
    before = memory()
    all_ = [asyncio.ensure_future(stop.wait()) for _ in range(n)]
    await asyncio.sleep(0)
    each = (memory() - before) / n
    stop.set()
    await asyncio.gather(*all_)
    return each


if __name__ == "__main__":
    n = 5000 if QUICK else 20000
    row("asyncio task", "memory", asyncio.run(tasks(n)), "KB", n)
    n = 100 if QUICK else 400
    row("python thread", "memory", threads(n), "KB", n)
    n = 4 if QUICK else 8
    row("python process", "memory", processes(n, "fork"), "KB", n, "forked; what it does not share with its parent")
    row("python process, spawned", "memory", processes(n, "spawn"), "KB", n, "a new interpreter; what it does not share")
    os._exit(0)  # trackers of resources need no farewell
