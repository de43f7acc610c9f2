import asyncio
import os
import threading
import time

from row import QUICK, memory, now, own, row

N = 2000 if QUICK else 10000
WAIT = 1.0


async def tasks():
    before, begun = memory(), now()
    all_ = [asyncio.ensure_future(asyncio.sleep(WAIT)) for _ in range(N)]
    await asyncio.sleep(0)
    each = (memory() - before) / N
    await asyncio.gather(*all_)
    return now() - begun, each


def threads():
    before, begun, all_, why = memory(), now(), [], ""
    stop = threading.Event()
    for _ in range(N):
        t = threading.Thread(target=stop.wait)
        try:
            t.start()
        except RuntimeError as e:  # the system allows no more
            why = str(e)
            break
        all_.append(t)
    each = (memory() - before) / max(1, len(all_))
    time.sleep(WAIT)
    stop.set()
    for t in all_:
        t.join()
    return now() - begun, each, len(all_), why


def processes(n):
    begun, all_ = now(), []
    for _ in range(n):
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            time.sleep(WAIT)
            os._exit(0)
        all_.append(pid)
    each = sum(own(p) for p in all_[:20]) / min(20, len(all_))
    for p in all_:
        os.waitpid(p, 0)
    return now() - begun, each, len(all_)


if __name__ == "__main__":
    took, each = asyncio.run(tasks())
    row("asyncio task", "all waits", took, "s", N)
    row("asyncio task", "memory of each", each, "KB", N)
    took, each, n, why = threads()
    note = "" if n == N else f"only {n} of {N}: {why}"
    row("python thread", "all waits", took, "s", n, note)
    row("python thread", "memory of each", each, "KB", n, note)
    n = 50 if QUICK else 200
    took, each, n = processes(n)
    note = f"{n}, not {N}: {N} would take {each * N / 1048576:.1f} GB and {took / n * N:.0f} s to start"
    row("python process", "all waits", took, "s", n, note)
    row("python process", "memory of each", each, "KB", n, note)
