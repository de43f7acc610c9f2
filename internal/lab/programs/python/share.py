import array
import mmap
import multiprocessing
import os

from row import QUICK, now, row

MB = 32 if QUICK else 256
NOTE = f"{MB} MB, every page of it read by the other"


def touch(b):
    return sum(memoryview(b).cast("B")[::4096])


def answer(c, get):
    c.send(True)
    c.send(touch(get(c)))


def hand_over(send, get):
    """The time until another process, which runs already, has read all of it."""
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    p = fork.Process(target=answer, args=(there, get))
    p.start()
    here.recv()
    begun = now()
    send(here)
    got = here.recv()
    took = now() - begun
    p.join()
    return took * 1e3, got


if __name__ == "__main__":
    data = array.array("d", bytes(MB << 20))
    memoryview(data).cast("B")[::4096] = b"\1" * (MB << 8)
    want = touch(data)
    fd = os.memfd_create("lab")
    os.ftruncate(fd, MB << 20)
    shared = mmap.mmap(fd, MB << 20)
    shared[:] = memoryview(data).cast("B")
    begun = now()
    touch(data)
    row("thread of the same process", "hand over", (now() - begun) * 1e3, "ms", 1, NOTE)
    for how, send, get in (
        ("pickle", lambda c: c.send(data), lambda c: c.recv()),
        ("copy through a pipe", lambda c: c.send_bytes(memoryview(data).cast("B")), lambda c: c.recv_bytes()),
        ("shared memory", lambda c: c.send(fd), lambda c: mmap.mmap(c.recv(), MB << 20)),
    ):
        took, got = hand_over(send, get)
        if got != want:
            raise SystemExit(f"{how}: the other read {got}, not {want}")
        row(how, "hand over", took, "ms", 1, NOTE)
