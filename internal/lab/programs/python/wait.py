import asyncio
import multiprocessing
import threading
import time

from row import QUICK, now, row

WAIT = 0.1 if QUICK else 1.0
NOTE = f"waits of {WAIT:g} s"


def four(make):
    all_ = [make(target=time.sleep, args=(WAIT,)) for _ in range(4)]
    begun = now()
    for t in all_:
        t.start()
    for t in all_:
        t.join()
    return now() - begun


async def tasks():
    begun = now()
    await asyncio.gather(*[asyncio.sleep(WAIT) for _ in range(4)])
    return now() - begun


if __name__ == "__main__":
    begun = now()
    for _ in range(4):
        time.sleep(WAIT)
    row("python loop", "four waits", now() - begun, "s", 4, NOTE)
    row("python thread", "four waits", four(threading.Thread), "s", 4, NOTE)
    row("python process", "four waits", four(multiprocessing.get_context("fork").Process), "s", 4, NOTE)
    row("asyncio task", "four waits", asyncio.run(tasks()), "s", 4, NOTE)
