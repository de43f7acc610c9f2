"""The beginning of a worker: HELLO, the handler, READY, and then the loop of the mode."""
import json
import os
import sys
from _socket import socket as Socket

from .channel import MOST, Channel
from .frames import BYTES, HEADER, HELLO, MAX_FRAME, READY, BadFrame, check, grease, head, leave, leave_over, pack_error
from .handlers import flavour, load, wants_view
from .values import HERE, Refused, decode, encoder


DUMP = 60  # the signal by which Tandem asks where every thread is: one that nobody else uses


def read_hello(sock):
    def read(n):
        data = b""
        while len(data) < n:
            part = sock.recv(n - len(data))
            if not part:
                leave(0)
            data += part
        return data

    length, typ, flags, method, _ = head.unpack(read(HEADER))
    check(length, typ, flags, method)
    if typ != HELLO:
        raise BadFrame(f"type {typ}, want HELLO first")
    return json.loads(read(length - HEADER))


def start(hello):
    """Loads the handler and settles the mode: (function, flavour, mode, whether it wants views of large bytes)."""
    if sys.version_info < (3, 9):
        raise Refused("unsupported", "Python %d.%d is too old" % sys.version_info[:2], "Tandem's worker needs Python 3.9 or newer; set TANDEM_PYTHON or venv:")
    if hello.get("protocol") != 1:
        raise Refused("unsupported", f"protocol {hello.get('protocol')}, this worker speaks 1")
    f = load(hello["handler"], hello.get("dir") or ".")
    how, mode = flavour(f), hello.get("mode", "auto")
    if mode == "auto":
        mode = "process" if how == "plain" else "async"
        if mode == "process" and hello.get("threads", 1) > 1:
            mode = "thread"
    if mode == "async" and how == "plain":
        raise Refused("unsupported", f"mode is async, but {hello['handler']} is a plain function", "write `async def`, or use mode: thread")
    if mode == "process" and hello.get("threads", 1) > 1:
        mode = "thread"
    if mode not in ("process", "thread", "async"):
        raise Refused("unsupported", f"a Python worker has no mode {mode!r}", "want process, thread or async")
    return f, how, mode, wants_view(f)


def main():
    for fd in (3, 4, 5):
        os.set_inheritable(fd, False)
    os.environ.pop("TANDEM_WORKER", None)  # what a handler starts is no worker
    guarded(Socket(fileno=3))


def guarded(sock, begun=None):
    """Serves until Tandem has enough of it. begun: what prepare and start gave, in a process where they are done."""
    try:
        run(sock, begun)
    except BadFrame as e:
        leave_over(e)
    except (BrokenPipeError, ConnectionResetError):  # Tandem is gone
        leave(0)


def prepare():
    """What comes before any code of the user; gives the signal that asks for the stacks, or 0."""
    dump = 0
    try:
        import faulthandler

        faulthandler.enable()
        faulthandler.register(DUMP, all_threads=True, chain=False)
        dump = DUMP
        sys.stdout.reconfigure(line_buffering=True)
    except BaseException:  # the user's own stdout object may have neither
        pass
    sys.meta_path.append(Names)
    return dump


def run(sock, begun):
    hello = read_hello(sock)
    dump, found = begun or (prepare(), None)
    try:
        f, how, mode, views = found or start(hello)
        measure = bool(hello.get("measure"))
        kwargs, batch = bool(hello.get("kwargs")), bool(hello.get("batch"))
        ch = Channel(sock, hello, views and not kwargs and not batch)
    except Refused as e:
        sock.sendall(pack_error(0, 0, e.body))
        leave(1)
    ready = json.dumps({"protocol": 1, "pid": os.getpid(), "mode": mode, "language": "python %d.%d.%d" % sys.version_info[:3], "halt": True, "dump": dump, "measure": measure, "at_once": MOST}).encode()
    sock.sendall(head.pack(HEADER + len(ready), READY, 0, 0, 0) + ready + grease())
    encode, unpack, raw = encoder(hello.get("output", "json")), decode, BYTES
    if mode == "async":
        from .loop import serve

        if batch:
            f, how, unpack = in_batches(f, how, kwargs, True)
        serve(ch, f, how, unpack, encode, kwargs, hello.get("concurrency") or 64, measure)
        return
    from . import process

    call = f if how == "plain" else process.on_a_loop(f, how)
    if batch:
        call, _, unpack = in_batches(call, how, kwargs, False)
        raw = -1
    if mode == "thread":
        from .threads import serve

        serve(ch, call, unpack, encode, kwargs, max(1, hello.get("threads", 1)), measure)
    else:
        rest, box, meter, done = process.serve(ch, call, unpack, encode, kwargs, raw, measure)
        from .threads import serve

        ch.put_back(rest)
        serve(ch, call, unpack, encode, kwargs, 1, measure, box, meter, done)


class Names:
    """The last finder: `import tandem` gives what names/tandem.py holds when nothing else is called tandem."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "tandem":
            from importlib.util import spec_from_file_location

            return spec_from_file_location(name, os.path.join(HERE, "names", "tandem.py"))


def in_batches(f, how, kwargs, on_loop):
    """The handler of a batch, its flavour, and how its argument is decoded: named arguments are as without batch."""
    from . import batch

    f = batch.awaited(f, how, kwargs) if on_loop else batch.plain(f, kwargs)
    return f, "batch", decode if kwargs else batch.decode_batch
