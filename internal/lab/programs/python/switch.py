import asyncio
import os
import queue
import threading

from row import QUICK, now, row


def threads(n):
    there, back = queue.SimpleQueue(), queue.SimpleQueue()

    def echo():
        for _ in range(n):
            back.put(there.get())

    t = threading.Thread(target=echo)
    t.start()
    begun = now()
    for _ in range(n):
        there.put(1)
        back.get()
    took = now() - begun
    t.join()
    return took / n / 2 * 1e6


def processes(n):
    there, back = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        for _ in range(n):
            os.write(back[1], os.read(there[0], 1))
        os._exit(0)
    begun = now()
    for _ in range(n):
        os.write(there[1], b"x")
        os.read(back[0], 1)
    took = now() - begun
    os.waitpid(pid, 0)
    return took / n / 2 * 1e6


async def tasks(n):
    there, back = asyncio.Queue(1), asyncio.Queue(1)

    async def echo():
        for _ in range(n):
            await back.put(await there.get())

    t = asyncio.ensure_future(echo())
    begun = now()
    for _ in range(n):
        await there.put(1)
        await back.get()
    took = now() - begun
    await t
    return took / n / 2 * 1e6


if __name__ == "__main__":
    n = 2000 if QUICK else 10000
    row("python thread", "switch", threads(n), "µs", n)
    row("python process", "switch", processes(n), "µs", n, "over a pipe")
    row("asyncio task", "switch", asyncio.run(tasks(n)), "µs", n)
