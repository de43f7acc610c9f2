import concurrent.futures
import multiprocessing
import queue
import threading

from row import QUICK, now, row

MESSAGE = b"x" * 64


def stream(put, get, n, other):
    """Microseconds for a message that another takes while we give."""
    o = other(target=take, args=(get, n))
    o.start()
    begun = now()
    for _ in range(n):
        put(MESSAGE)
    o.join()
    return (now() - begun) / n * 1e6


def take(get, n):
    for _ in range(n):
        get()


def same(x):
    return x


def pool(kind, n):
    with kind(1) as p:
        p.submit(same, MESSAGE).result()
        begun = now()
        for f in [p.submit(same, MESSAGE) for _ in range(n)]:
            f.result()
        return (now() - begun) / n * 1e6


if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    n = 3000 if QUICK else 20000
    q = queue.SimpleQueue()
    row("python thread", "message", stream(q.put, q.get, n, threading.Thread), "µs", n, "queue.SimpleQueue")
    m = fork.SimpleQueue()
    row("python process", "message", stream(m.put, m.get, n, fork.Process), "µs", n, "multiprocessing.SimpleQueue")
    n = n // 4
    row("python thread", "task", pool(concurrent.futures.ThreadPoolExecutor, n), "µs", n, "ThreadPoolExecutor.submit and its result")
    row("python process", "task", pool(concurrent.futures.ProcessPoolExecutor, n), "µs", n, "ProcessPoolExecutor.submit and its result")
