"""The Tandem worker for Python: runs one handler over the tasks that Tandem sends.

Standard library only, Python 3.9 or newer. protocol/SPEC.md is the contract. Promises: standard output and error belong to the handler;
results leave at the latest when the read buffer is empty or 100 µs of work have passed; tasks start in the order in which they came.

Modules that cost start-up time (json, asyncio, threading, traceback) are imported when they are needed.
"""
import mmap
import os
import sys
from _socket import MSG_DONTWAIT, MSG_PEEK
from _socket import socket as Socket
from struct import Struct
from time import monotonic_ns

HELLO, READY, TASK, RESULT, ERROR, CANCEL, DRAIN, BYE, GREASE = 1, 2, 3, 4, 5, 6, 7, 8, 240
NULL, BYTES, TEXT, JSON, PICKLE = range(5)
KIND, BLOB, MORE, NONE = 7, 8, 16, 32
HEADER, MAX_FRAME, INLINE = 16, 256 << 10, 8 << 10
FLUSH_BYTES, FLUSH_NS = 64 << 10, 100_000
RELEASED, STARTED, FINISHED, SLOTS = 8, 16, 17, 64

head = Struct("<IBBHQ")  # length, type, flags, method, id
result = Struct("<IBBHQQ")  # the same and service_ns
span_in = Struct("<QQ")
span_out = Struct("<QQQ")
long = Struct("<I")


class Refused(Exception):
    """The worker cannot start: kind, message, hint, trace."""

    def __init__(self, kind, message, hint="", trace=""):
        super().__init__(message)
        self.body = {"kind": kind, "message": message, "hint": hint, "trace": trace}


class Unserialisable(Exception):
    pass


class TooLarge(Exception):
    pass


def json_module():
    import json

    return json


# ---- values ---------------------------------------------------------------------------------------------------------------------------------


def decode(kind, data):
    """The Python value of bytes on the wire."""
    if kind == BYTES:
        return data
    if kind == TEXT:
        return data.decode("utf-8", "surrogateescape")
    if kind == NULL:
        return None
    if kind == JSON:
        if len(data) < 19:
            try:
                return int(data)
            except ValueError:
                pass
        return json_module().loads(data)
    import pickle

    return pickle.loads(data)


def encoder(output):
    """encode(value) -> (kind, bytes)."""
    pickled = output == "pickle"

    def encode(v):
        t = type(v)
        if t is bytes:
            return BYTES, v
        if t is str:
            return TEXT, v.encode("utf-8", "surrogateescape")
        if v is None:
            return NULL, b""
        if t is int:
            return JSON, b"%d" % v
        if t is bool:
            return JSON, b"true" if v else b"false"
        if t is bytearray or t is memoryview:
            return BYTES, bytes(v)
        if pickled:
            import pickle

            try:
                return PICKLE, pickle.dumps(v, 5)
            except Exception as e:
                raise Unserialisable(f"returned a value of type {t.__name__} that cannot be pickled: {e}") from None
        try:
            return JSON, json_module().dumps(v, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        except UnicodeEncodeError as e:
            raise Unserialisable(f"returned text that is not Unicode: {e}") from None
        except ValueError as e:
            raise Unserialisable(f"returned what JSON cannot hold: {e}") from None
        except (TypeError, RecursionError) as e:
            raise Unserialisable(f"returned a value of type {t.__name__}, which is not JSON: {e}") from None

    return encode


def cut(s, most):
    return s if len(s) <= most else s[: most // 2] + "\n... cut ...\n" + s[-most // 2 :]


def error_body(e):
    """The JSON of section 6 for an exception of the handler."""
    if isinstance(e, Unserialisable):
        return {"kind": "unserialisable", "message": str(e), "hint": "return bytes, text, numbers, lists, dicts or None"}
    if isinstance(e, TooLarge):
        return {"kind": "too_large", "message": str(e), "hint": "write it to a file and return the path"}
    try:
        text = str(e)
    except BaseException:  # an exception whose __str__ fails is still an exception
        text = "(no text)"
    first = text.split("\n", 1)[0]
    return {"kind": "exception", "message": type(e).__name__ + (": " + first if first else ""), "trace": trace_of(e)}


def trace_of(e):
    """The traceback, from the handler's first line on."""
    import traceback

    tb = e.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename == __file__:
        tb = tb.tb_next
    try:
        return "".join(traceback.format_exception(type(e), e, tb))
    except BaseException:
        return ""


def pack_error(ident, service, body):
    body = {k: cut(v, 24 << 10) for k, v in body.items() if v}
    data = json_module().dumps(body).encode()  # ASCII: lone surrogates are escaped
    if len(data) > MAX_FRAME - 64:
        data = json_module().dumps({k: cut(v, 2 << 10) for k, v in body.items()}).encode()
    return result.pack(24 + len(data), ERROR, 0, 0, ident, service) + data


# ---- the handler ----------------------------------------------------------------------------------------------------------------------------


def load(spec, base):
    """The handler named "module:function" or "file.py:function"."""
    import importlib

    where, colon, name = spec.rpartition(":")
    if not colon or not where or not name:
        raise Refused("import", f"{spec!r} names no handler", "write module:function or file.py:function")
    base = os.path.abspath(base)
    is_file = where.endswith(".py")
    if is_file:
        path = os.path.join(base, where)
        if not os.path.isfile(path):
            raise Refused("import", f"no such file: {path}", "paths are relative to the flow file")
        base, where = os.path.dirname(path), os.path.basename(path)[:-3]
    sys.path.insert(0, base)
    if "" in sys.path:
        sys.path.remove("")
    try:
        if is_file and (not where.isidentifier() or where in sys.modules):
            import importlib.util

            found = importlib.util.spec_from_file_location(where, path)
            module = importlib.util.module_from_spec(found)
            sys.modules[where] = module
            found.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
    except ModuleNotFoundError as e:
        hint = "is it installed for " + sys.executable + "? `venv:` names a virtual environment"
        if e.name and where.split(".")[0] == e.name.split(".")[0]:
            hint = f"looked in {base} and in the packages of {sys.executable}"
        raise Refused("import", f"ModuleNotFoundError: {e}", hint, trace_of(e)) from None
    except BaseException as e:
        raise Refused("import", f"{where} fails while it is imported: {type(e).__name__}: {e}", "", trace_of(e)) from None
    f = module
    for part in name.split("."):
        try:
            f = getattr(f, part)
        except AttributeError:
            import difflib

            names = [n for n in dir(f) if not n.startswith("_")]
            near = difflib.get_close_matches(part, names, 3)
            raise Refused("not_callable", f"{where} has no function {name!r}", "did you mean " + ", ".join(near) + "?" if near else "it has: " + ", ".join(names[:20])) from None
    if not callable(f):
        raise Refused("not_callable", f"{spec} is no function but a value of type {type(f).__name__}")
    return f


def flavour(f):
    """What calling f gives: "plain", "async" or "asyncgen"."""
    import inspect

    for g in (f, getattr(f, "__wrapped__", None), getattr(type(f), "__call__", None) if not inspect.isroutine(f) else None):
        if g is None:
            continue
        if inspect.iscoroutinefunction(g):
            return "async"
        if inspect.isasyncgenfunction(g):
            return "asyncgen"
    return "plain"


# ---- the channel ----------------------------------------------------------------------------------------------------------------------------


class Channel:
    """Socket, arenas and control page of this worker."""

    def __init__(self, sock, hello):
        self.sock = sock
        self.inside = mmap.mmap(4, hello["in_arena"], mmap.MAP_SHARED, mmap.PROT_READ)
        page = mmap.mmap(5, hello["control"] + hello["out_arena"], mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        view = memoryview(page)
        self.control = view[: hello["control"]].cast("Q")
        self.outside = view[hello["control"] :]
        self.size = hello["out_arena"]
        self.head = self.floor = 0

    def read_blob(self, payload):
        offset, length = span_in.unpack(payload)
        return self.inside[offset : offset + length]

    def place(self, data, flush):
        """Puts data into the out-arena ring and gives its descriptor."""
        n = (len(data) + 63) & ~63
        size = self.size
        if n > size:
            raise TooLarge(f"result of {len(data)} bytes, the limit is {size}")
        pause = 0.00005
        while True:
            if self.control[RELEASED] > self.floor:
                self.floor = self.control[RELEASED]
            if self.floor == self.head:
                self.head += -self.head % size
                self.floor = self.head
            at = self.head
            if at % size + n > size:
                at += -at % size
            if at + n - self.floor <= size:
                break
            flush()
            import time

            time.sleep(pause)
            pause = min(pause * 2, 0.005)
            self.leave_if_alone()
        self.head = at + n
        offset = at % size
        self.outside[offset : offset + len(data)] = data
        return span_out.pack(offset, len(data), self.head)

    def leave_if_alone(self):
        try:
            if self.sock.recv(1, MSG_PEEK | MSG_DONTWAIT) == b"":
                os._exit(0)
        except BlockingIOError:
            pass

    def pack(self, ident, mark, service, kind, data, flush):
        """The frame of one value."""
        n = len(data)
        if n <= INLINE:
            return result.pack(24 + n, RESULT, kind | mark, 0, ident, service) + data
        return result.pack(48, RESULT, kind | mark | BLOB, 0, ident, service) + self.place(data, flush)

    def pack_outputs(self, ident, service, outputs, flush):
        """The frames of a handler that yielded."""
        frames = [self.pack(ident, MORE, service, kind, data, flush) for kind, data in outputs]
        frames.append(result.pack(24, RESULT, NONE, 0, ident, service))
        return b"".join(frames)


def leave(code):
    """Ends the process without running what the handler's libraries registered for a normal exit to do with our descriptors."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
    os._exit(code)


def bad_frame(why):
    print("tandem worker: bad frame from tandem:", why, file=sys.stderr)
    leave(70)


# ---- one task at a time ---------------------------------------------------------------------------------------------------------------------


def serve(ch, call, encode, kwargs):
    """The loop of mode process. Everything it needs per task is a local name: this loop decides what a task costs."""
    sock, control = ch.sock, ch.control
    recv_into, sendall = sock.recv_into, sock.sendall
    unpack, pack = head.unpack_from, result.pack
    now = monotonic_ns
    buf = bytearray(2 * MAX_FRAME)
    view = memoryview(buf)
    have = 0
    started = finished = 0
    out = []
    add = out.append
    pending = 0
    generator = type(x for x in ())

    def flush():
        if out:
            data = b"".join(out)
            out.clear()
            sendall(data)

    while True:
        n = recv_into(view[have:])
        if not n:
            leave(0)
        have += n
        off = 0
        first = 0  # when the first unsent result was begun
        clock = now()
        while have - off >= 16:
            length, typ, flags, method, ident = unpack(buf, off)
            end = off + length
            if end > have:
                if not 16 <= length <= MAX_FRAME:
                    bad_frame(f"length {length}")
                break
            if typ != TASK:
                if length < 16:
                    bad_frame(f"length {length}")
                if typ == DRAIN:
                    out.append(head.pack(16, BYE, 0, 0, 0))
                    flush()
                    leave(0)
                if typ != CANCEL and typ < GREASE:
                    bad_frame(f"type {typ}")
                off = end
                continue
            if flags & BLOB:
                data = ch.read_blob(buf[off + 16 : end])
            else:
                data = bytes(view[off + 16 : end])
            off = end
            started += 1
            control[STARTED] = started
            control[64] = ident
            control[65] = clock
            kind = flags & 7
            try:
                arg = data if kind == 1 else decode(kind, data)
                v = call(**arg) if kwargs else call(arg)
                if type(v) is generator:
                    kind, data = -1, [encode(x) for x in v]
                elif type(v) is bytes:
                    kind, data = 1, v
                else:
                    kind, data = encode(v)
                del arg, v
            except BaseException as e:
                kind, data = -2, error_body(e)
            t = now()
            control[65] = 0
            finished += 1
            control[FINISHED] = finished
            took = t - clock
            if kind >= 0 and len(data) <= INLINE:
                n = 24 + len(data)
                add(pack(n, RESULT, kind, 0, ident, took))
                add(data)
                pending += n
            else:
                try:
                    if kind == -1:
                        frame = ch.pack_outputs(ident, took, data, flush)
                    elif kind == -2:
                        frame = pack_error(ident, took, data)
                    else:
                        frame = ch.pack(ident, 0, took, kind, data, flush)
                except TooLarge as e:
                    frame = pack_error(ident, took, error_body(e))
                add(frame)
                pending += len(frame)
                t = now()
            data = None
            if not first:
                first = clock
            clock = t
            if pending > FLUSH_BYTES or t - first > FLUSH_NS:
                sendall(b"".join(out))
                out.clear()
                pending = first = 0
                clock = now()
        if out:
            sendall(b"".join(out))
            out.clear()
            pending = 0
        if off:
            rest = have - off
            if rest:
                view[:rest] = bytes(view[off:have])
            have = rest


def on_a_loop(f, how):
    """An async handler as a plain function: each call runs on this thread's own event loop."""
    import asyncio
    import threading

    local = threading.local()

    async def gather(args, kwargs):
        return [x async for x in f(*args, **kwargs)]

    def call(*args, **kwargs):
        loop = getattr(local, "loop", None)
        if loop is None:
            loop = local.loop = asyncio.new_event_loop()
        if how == "asyncgen":
            return (x for x in loop.run_until_complete(gather(args, kwargs)))
        return loop.run_until_complete(f(*args, **kwargs))

    return call


# ---- several at a time ----------------------------------------------------------------------------------------------------------------------


def frames(ch, buf, view, have):
    """Splits what was read; gives the frames and how much is left at the front of the buffer."""
    off, found = 0, []
    while have - off >= 16:
        length, typ, flags, method, ident = head.unpack_from(buf, off)
        if not 16 <= length <= MAX_FRAME:
            bad_frame(f"length {length}")
        if off + length > have:
            break
        payload = bytes(view[off + 16 : off + length])
        off += length
        if typ == TASK and flags & BLOB:
            payload = ch.read_blob(payload)
        elif typ not in (TASK, CANCEL, DRAIN) and typ < GREASE:
            bad_frame(f"type {typ}")
        found.append((typ, flags & KIND, ident, payload))
    rest = have - off
    if off and rest:
        view[:rest] = bytes(view[off:have])
    return found, rest


def serve_threads(ch, call, encode, kwargs, threads):
    """Mode thread: this thread reads, the others run tasks in order; one of them sends for all that are done."""
    import threading
    from queue import SimpleQueue

    tasks = SimpleQueue()
    order = threading.Lock()  # taking a task and counting it as started are one step
    door = threading.Lock()  # guards out and finished
    out, counts = [], [0, 0]
    sending = threading.Lock()
    generator = type(x for x in ())
    idle = threading.Semaphore(0)

    def flush():
        while out and sending.acquire(blocking=False):
            try:
                with door:
                    data = b"".join(out)
                    out.clear()
                if data:
                    ch.sock.sendall(data)
            finally:
                sending.release()

    def work(slot):
        control = ch.control
        while True:
            with order:
                task = tasks.get()
                if task is None:
                    idle.release()
                    return
                kind, ident, data = task
                begun = monotonic_ns()
                counts[0] += 1
                control[STARTED] = counts[0]
                control[SLOTS + 2 * slot] = ident
                control[SLOTS + 2 * slot + 1] = begun
            try:
                arg = decode(kind, data)
                v = call(**arg) if kwargs else call(arg)
                got = [encode(x) for x in v] if type(v) is generator else encode(v)
            except BaseException as e:
                got = error_body(e)
            took = monotonic_ns() - begun
            control[SLOTS + 2 * slot + 1] = 0
            with door:
                counts[1] += 1
                control[FINISHED] = counts[1]
            answer(ident, took, got)
            arg = v = got = task = data = None

    def answer(ident, took, got):
        # The ring's order is the order of the frames, so placing and adding are one step; the ring may be full: then it flushes on its own.
        def flush_inside():
            data = b"".join(out)
            out.clear()
            if data:
                with sending:
                    ch.sock.sendall(data)

        with door:
            try:
                if type(got) is dict:
                    frame = pack_error(ident, took, got)
                elif type(got) is list:
                    frame = ch.pack_outputs(ident, took, got, flush_inside)
                else:
                    frame = ch.pack(ident, 0, took, got[0], got[1], flush_inside)
            except TooLarge as e:
                frame = pack_error(ident, took, error_body(e))
            out.append(frame)
        flush()

    for slot in range(threads):
        threading.Thread(target=work, args=(slot,), daemon=True).start()
    buf = bytearray(2 * MAX_FRAME)
    view = memoryview(buf)
    have = 0
    while True:
        n = ch.sock.recv_into(view[have:])
        if not n:
            leave(0)
        found, have = frames(ch, buf, view, have + n)
        for typ, kind, ident, payload in found:
            if typ == TASK:
                tasks.put((kind, ident, payload))
            elif typ == DRAIN:
                for _ in range(threads):
                    tasks.put(None)
                for _ in range(threads):
                    idle.acquire()
                flush()
                ch.sock.sendall(head.pack(16, BYE, 0, 0, 0))
                leave(0)


def serve_async(ch, f, how, encode, kwargs, concurrency):
    """Mode async: one event loop; sends never block it."""
    import asyncio
    from collections import deque

    async def main():
        loop = asyncio.get_running_loop()
        ch.sock.setblocking(False)
        buf = bytearray(2 * MAX_FRAME)
        view = memoryview(buf)
        have = 0
        out, waiting, running = [], deque(), {}
        rest = b""
        free = list(range(concurrency - 1, -1, -1))
        counts = [0, 0]
        control = ch.control
        draining = done = False
        scheduled = False

        def send():
            nonlocal rest, scheduled
            scheduled = False
            data = rest + b"".join(out)
            out.clear()
            rest = b""
            while data:
                try:
                    data = data[ch.sock.send(data) :]
                except BlockingIOError:
                    rest = data
                    loop.add_writer(3, send)
                    return
                except OSError:
                    leave(0)
            loop.remove_writer(3)
            if done:
                leave(0)

        def flush_now():
            data = rest + b"".join(out)
            reset()
            out.clear()
            ch.sock.setblocking(True)
            try:
                ch.sock.sendall(data)
            finally:
                ch.sock.setblocking(False)

        def reset():
            nonlocal rest
            rest = b""

        def add(frame):
            nonlocal scheduled
            out.append(frame)
            if not scheduled:
                scheduled = True
                loop.call_soon(send)

        async def run(slot, kind, ident, data, begun):
            nonlocal done
            try:
                arg = decode(kind, data)
                data = None
                if how == "asyncgen":
                    got = [encode(x) async for x in (f(**arg) if kwargs else f(arg))]
                else:
                    got = encode(await (f(**arg) if kwargs else f(arg)))
            except asyncio.CancelledError:
                got = {"kind": "canceled", "message": "canceled"}
            except BaseException as e:
                got = error_body(e)
            took = monotonic_ns() - begun
            control[SLOTS + 2 * slot + 1] = 0
            counts[1] += 1
            control[FINISHED] = counts[1]
            try:
                if type(got) is dict:
                    add(pack_error(ident, took, got))
                elif type(got) is list:
                    add(ch.pack_outputs(ident, took, got, flush_now))
                else:
                    add(ch.pack(ident, 0, took, got[0], got[1], flush_now))
            except TooLarge as e:
                add(pack_error(ident, took, error_body(e)))
            del running[ident]
            free.append(slot)
            begin()
            if draining and not running:
                done = True
                add(head.pack(16, BYE, 0, 0, 0))

        def begin():
            while waiting and free:
                kind, ident, data = waiting.popleft()
                slot = free.pop()
                begun = monotonic_ns()
                counts[0] += 1
                control[STARTED] = counts[0]
                control[SLOTS + 2 * slot] = ident
                control[SLOTS + 2 * slot + 1] = begun
                running[ident] = loop.create_task(run(slot, kind, ident, data, begun))

        def read():
            nonlocal have, draining, done
            try:
                n = ch.sock.recv_into(view[have:])
            except BlockingIOError:
                return
            except OSError:
                n = 0
            if not n:
                leave(0)
            found, have = frames(ch, buf, view, have + n)
            for typ, kind, ident, payload in found:
                if typ == TASK:
                    waiting.append((kind, ident, payload))
                elif typ == CANCEL and ident in running:
                    running[ident].cancel()
                elif typ == DRAIN:
                    draining = True
            begin()
            if draining and not running and not waiting:
                done = True
                add(head.pack(16, BYE, 0, 0, 0))

        loop.add_reader(3, read)
        await loop.create_future()  # the process ends in leave

    asyncio.run(main())


# ---- start ----------------------------------------------------------------------------------------------------------------------------------


def read_hello(sock):
    data = b""
    while len(data) < 16 or len(data) < long.unpack_from(data)[0]:
        want = 16 if len(data) < 16 else long.unpack_from(data)[0]
        if want > MAX_FRAME:
            bad_frame(f"length {want}")
        part = sock.recv(want - len(data))
        if not part:
            leave(0)
        data += part
    if data[4] != HELLO:
        bad_frame(f"type {data[4]}, want HELLO")
    return json_module().loads(data[16:])


def start(hello):
    """Loads the handler and settles the mode: (function, flavour, mode)."""
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
    return f, how, mode


def main():
    for fd in (3, 4, 5):
        os.set_inheritable(fd, False)
    os.environ.pop("TANDEM_WORKER", None)
    sock = Socket(fileno=3)
    hello = read_hello(sock)
    try:
        import faulthandler

        faulthandler.enable()
        sys.stdout.reconfigure(line_buffering=True)
    except BaseException:
        pass
    try:
        f, how, mode = start(hello)
        ch = Channel(sock, hello)
    except Refused as e:
        sock.sendall(pack_error(0, 0, e.body))
        leave(1)
    version = "%d.%d.%d" % sys.version_info[:3]
    ready = json_module().dumps({"protocol": 1, "pid": os.getpid(), "mode": mode, "language": "python " + version}).encode()
    noise = os.urandom(10)
    grease = head.pack(16 + noise[0] % 9, GREASE + noise[1] % 16, noise[2], 0, 0) + noise[: noise[0] % 9]
    sock.sendall(head.pack(16 + len(ready), READY, 0, 0, 0) + ready + grease)
    encode, kwargs = encoder(hello.get("output", "json")), bool(hello.get("kwargs"))
    if mode == "async":
        serve_async(ch, f, how, encode, kwargs, hello.get("concurrency") or 64)
        return
    call = f if how == "plain" else on_a_loop(f, how)
    try:
        if mode == "thread":
            serve_threads(ch, call, encode, kwargs, max(1, hello.get("threads", 1)))
        else:
            serve(ch, call, encode, kwargs)
    except (BrokenPipeError, ConnectionResetError):
        leave(0)


if __name__ == "__main__":
    main()
