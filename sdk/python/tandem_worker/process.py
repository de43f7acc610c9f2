"""Mode process: one task at a time on the main thread."""
from _thread import allocate_lock, start_new_thread
from time import monotonic_ns, sleep

from .channel import AT_ONCE, FINISHED, HALT, SLOTS, STARTED, Outbox
from .frames import BLOB, BYE, CANCEL, DRAIN, GREASE, INLINE, KIND, MAX_FRAME, RESULT, TASK, BadFrame, check, head, leave, leave_over, pack_error, result
from .values import TooLarge, end_view, error_body

FLUSH_BYTES, FLUSH_NS = 64 << 10, 100_000
NAP, QUIET = 0.005, 20  # seconds between two looks; looks without anything sent after which the nudge sleeps


def serve(ch, call, decode, encode, kwargs, raw, measure=False):
    """Runs tasks until DRAIN, or until Tandem wants several at a time: then it returns what was read and not run, and the outbox.

    raw: the kind that needs no decoding. Everything it needs per task is a local name: this loop decides what a task costs."""
    control = ch.control
    recv_into = ch.sock.recv_into
    unpack, pack = head.unpack_from, result.pack
    now = monotonic_ns
    box = Outbox(ch.sock)
    add, flush = box.frames.append, box.flush
    nudge = Nudge(box)
    buf = ch.buf
    view = memoryview(buf)
    have = pending = 0
    started = finished = 0
    generator = type(x for x in ())
    views, lent = ch.views, None
    meter, span, last, counted = None, False, 0, 0
    if measure:
        from .meter import EVERY_NS, Meter

        meter = Meter(add, flush, lambda: control[SLOTS + 1])

    while True:
        n = recv_into(view[have:])
        if not n:
            leave(0)
        have += n
        off = 0
        first = 0  # when the first unsent result was begun
        clock = now()
        if meter is not None and clock - last >= EVERY_NS:
            span, last, counted = True, clock, finished
            meter.begin(clock)
        while have - off >= 16:
            length, typ, flags, method, ident = unpack(buf, off)
            end = off + length
            if typ != TASK or flags >= 0x40 or method or not 16 <= length <= MAX_FRAME:
                try:
                    check(length, typ, flags, method)
                except BadFrame as e:
                    leave_over(e)
            if end > have:
                break
            if typ != TASK:
                if typ == DRAIN:
                    bye(box)
                if typ != CANCEL and typ < GREASE:
                    leave_over(f"type {typ}")
                off = end
                continue
            if flags & BLOB:
                data = ch.read_blob(buf[off + 16 : end], flags & KIND)
            else:
                data = bytes(view[off + 16 : end])
            off = end
            started += 1
            control[STARTED] = started
            control[SLOTS] = ident
            control[65] = clock
            kind = flags & KIND
            try:
                arg = data if kind == raw else decode(kind, data)
                if views and kind == 1:
                    lent = arg = memoryview(data)
                v = call(**arg) if kwargs else call(arg)
                if type(v) is generator:
                    kind, data = -1, [encode(x) for x in v]
                elif type(v) is bytes:
                    kind, data = 1, v
                else:
                    kind, data = encode(v)
                del arg, v
                if lent is not None:
                    lent = end_view(lent)
            except BaseException as e:
                kind, data = -2, error_body(e)
                lent = None
            t = now()
            control[65] = 0
            finished += 1
            control[FINISHED] = finished
            took = t - clock
            if span and took >= EVERY_NS and finished - counted == 1:
                span = False
                meter.end(t, 1, ident)  # in front of its answer
            if kind >= 0 and len(data) <= INLINE:
                n = 24 + len(data)
                add(pack(n, RESULT, kind, 0, ident, took) + data)
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
                if span:
                    span = False
                    meter.end(t, finished - counted, 0)
                flush()
                if control[HALT]:
                    bye(box)
                if control[AT_ONCE] > 1:
                    return bytes(view[off:have]), box, meter, finished
                pending = first = 0
                clock = now()
                if meter is not None and clock - last >= EVERY_NS and have > off:
                    span, last, counted = True, clock, finished
                    meter.begin(clock)
            elif not nudge.armed and have - off >= 16:
                nudge.arm()
        if span:
            span = False
            meter.end(now(), finished - counted, 0)
        flush()
        if control[HALT]:
            bye(box)
        if control[AT_ONCE] > 1:
            return bytes(view[off:have]), box, meter, finished
        pending = 0
        if off:
            rest = have - off
            if rest:
                view[:rest] = bytes(view[off:have])
            have = rest


def bye(box):
    box.frames.append(head.pack(16, BYE, 0, 0, 0))
    box.flush()
    leave(0)


class Nudge:
    """Sends what is finished while the main thread is inside a slow task. Its thread begins with the first batch and sleeps when nothing moves."""

    def __init__(self, box):
        self.box, self.armed, self.gate = box, False, None

    def arm(self):
        self.armed = True
        if self.gate is None:
            self.gate = allocate_lock()
            self.gate.acquire()
            start_new_thread(self.run, ())
        else:
            try:
                self.gate.release()
            except RuntimeError:  # it had not fallen asleep yet
                pass

    def run(self):
        box, seen, quiet = self.box, -1, 0
        while True:
            sleep(NAP)
            if box.sent != seen:
                seen, quiet = box.sent, 0
            elif box.frames:
                box.flush()
            elif quiet < QUIET:
                quiet += 1
            else:
                self.armed, quiet = False, 0
                if not box.frames:  # else the main thread added one and believed us awake
                    self.gate.acquire()
                self.armed = True


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
