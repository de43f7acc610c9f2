"""Handlers of the corpus. Their constants come from SEED; each is named in handlers.txt with what it is bound by and what fits it."""
import asyncio
import fcntl
import hashlib
import os
import random
import socket
import sqlite3
import threading
import time
import zlib

rng = random.Random(int(os.environ.get("SEED", "1")))
SCALE = rng.uniform(0.8, 1.25)
WAIT = rng.uniform(0.8, 1.25)
NOISE = rng.randbytes(1 << 20)
BIG = NOISE * 8
HOST, _, PORT = os.environ.get("SERVER", ":0").partition(":")


def burn(ms):
    """Python's own instructions for about so many milliseconds of processor time."""
    end = time.thread_time() + ms * SCALE / 1000
    x = 1
    while True:
        for _ in range(200):
            x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        if time.thread_time() >= end:
            return x


def ask(path):
    with socket.create_connection((HOST, int(PORT))) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        data = b""
        while part := s.recv(65536):
            data += part
    return len(data)


def cpu(n):
    return burn(5)


def cpu_short(n):
    x = n
    for _ in range(int(1500 * SCALE)):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
    return x


def cpu_long(n):
    return burn(500)


def deflate(n):
    return len(zlib.compress(NOISE, 1))


def digest(n):
    return hashlib.sha256(BIG).hexdigest()


def database(n):
    db = getattr(database, "db", None) or sqlite3.connect(":memory:", check_same_thread=False)
    database.db = None  # each call has a connection of its own: another thread may run beside it
    (got,) = db.execute("WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x < ?) SELECT count(DISTINCT x % 997) FROM c", (int(30000 * SCALE),)).fetchone()
    database.db = db
    return got


def net(n):
    return ask(f"/wait?ms={50 * WAIT:.1f}")


def net_narrow(n):
    return ask(f"/narrow?ms={20 * WAIT:.1f}")


def sleep(n):
    time.sleep(0.02 * WAIT)


def sleep_short(n):
    time.sleep(0.0005 * WAIT)


def sleep_long(n):
    time.sleep(0.7 * WAIT)


def sync(n):
    path = f"{os.environ['DIR']}/{os.getpid()}-{threading.get_ident()}"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(fd, NOISE[:4096])
    os.fsync(fd)
    os.close(fd)


def lock(n):
    with open(os.environ["DIR"] + "/lock", "w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        time.sleep(0.004 * WAIT)


def mixed(n):
    burn(4)
    time.sleep(0.004 * WAIT)


def mixed_mostly_wait(n):
    burn(2)
    time.sleep(0.018 * WAIT)


def mixed_free(n):
    zlib.crc32(hashlib.sha256(BIG).digest())
    time.sleep(0.008 * WAIT)


def fanout(n):
    threads = [threading.Thread(target=lambda: hashlib.sha256(BIG[: 4 << 20])) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


async def async_wait(n):
    await asyncio.sleep(0.05 * WAIT)


async def async_mixed(n):
    burn(3)
    await asyncio.sleep(0.01 * WAIT)


async def async_blocked(n):
    time.sleep(0.02 * WAIT)
