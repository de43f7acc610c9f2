"""One worker process under test, with Tandem's side of the channel in our hands."""
import json
import mmap
import os
import select
import socket
import subprocess
import sys
import time

from tandem_worker.frames import BLOB, ERROR, GREASE, HELLO, MORE, NONE, READY, RESULT, head, span_out, split

CONTROL, ARENA = 65536, 1 << 20
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HANDLERS = os.path.join(ROOT, "tests", "handlers.py")
NAMES = {READY: "READY", RESULT: "RESULT", ERROR: "ERROR", 8: "BYE", 9: "MEASURED"}


class Process:
    def __init__(self, handler, interpreter=sys.executable, **more):
        self.sock, theirs = socket.socketpair()
        fds = [os.memfd_create("in"), os.memfd_create("out")]
        os.ftruncate(fds[0], ARENA)
        os.ftruncate(fds[1], CONTROL + ARENA)
        self.inside, self.page = mmap.mmap(fds[0], ARENA), mmap.mmap(fds[1], CONTROL + ARENA)
        self.words = memoryview(self.page)[:CONTROL].cast("Q")
        self.words[0] = 1
        given = [theirs.fileno(), *fds]

        def settle():  # between fork and exec: descriptors 3, 4 and 5
            high = [os.dup(fd) for fd in given]
            high = [fd if fd > 5 else os.dup2(fd, fd + 100) for fd in high]
            for want, fd in zip((3, 4, 5), high):
                os.dup2(fd, want, inheritable=True)

        self.child = subprocess.Popen(
            [interpreter, "-m", "tandem_worker"], cwd=ROOT, env={**os.environ, "TANDEM_WORKER": "1", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=settle, close_fds=False, start_new_session=True)
        theirs.close()
        for fd in fds:
            os.close(fd)
        self.have = b""
        self.queue = []
        hello = {"protocol": 1, "step": "test", "handler": handler if ":" in handler else HANDLERS + ":" + handler, "dir": ".", "mode": "auto", "threads": 1, "concurrency": 0,
                 "output": "json", "kwargs": False, "control": CONTROL, "in_arena": ARENA, "out_arena": ARENA, **more}
        body = json.dumps(hello).encode()
        self.sock.sendall(head.pack(16 + len(body), HELLO, 0, 0, 0) + body)

    def next(self, wait=20.0):
        """The next frame that is not grease: (type, flags, id, payload); None when nothing comes in time. EOFError at the end."""
        end = time.monotonic() + wait
        while not self.queue:
            if not select.select([self.sock], [], [], max(0, end - time.monotonic()))[0]:
                return None
            part = self.sock.recv(1 << 18)
            if not part:
                raise EOFError("the worker closed the channel; it said: " + self.last_words())
            self.have += part
            found, taken = split(self.have, len(self.have))
            self.have = self.have[taken:]
            self.queue += [f for f in found if f[0] < GREASE]
        return self.queue.pop(0)

    def task(self, ident, kind, data):
        self.sock.sendall(head.pack(16 + len(data), 3, kind, 0, ident) + data)

    def answer(self, wait=20.0):
        """The next answer: (id, flags, bytes) or (id, "error", dict)."""
        typ, flags, ident, payload = self.next(wait)
        if typ == ERROR:
            return ident, "error", json.loads(payload[8:])
        assert typ == RESULT, typ
        value = payload[8:]
        if flags & BLOB:
            offset, length, _ = span_out.unpack(value)
            value = bytes(self.page[CONTROL + offset : CONTROL + offset + length])
        return ident, flags, value

    def release(self, end):
        self.words[8] = end

    def last_words(self):
        self.child.kill()
        return self.child.communicate()[1].decode(errors="replace")

    def exit(self):
        """The exit code and what it printed."""
        out, err = self.child.communicate(timeout=20)
        return self.child.returncode, out.decode(errors="replace"), err.decode(errors="replace")

    def close(self):
        self.sock.close()
        self.child.kill()
        self.child.communicate()
        self.words.release()
        self.inside.close()


__all__ = ["Process", "NAMES", "MORE", "NONE", "BLOB", "ARENA", "CONTROL"]
