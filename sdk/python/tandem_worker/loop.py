"""Mode async: one event loop runs many tasks; a send never blocks it, except when a large result waits for room in the out-arena."""
from time import monotonic_ns

from .channel import AT_ONCE, FINISHED, HALT, MOST, SLOTS, STARTED
from .frames import BYE, BYTES, CANCEL, DRAIN, TASK, BadFrame, head, leave, leave_over, leave_without, pack_error
from .values import TooLarge, end_view, error_body

BEAT = 0.05  # seconds between two looks whether the loop still turns
LATE_NS = 250_000_000  # without one, it is told that it does not


def serve(ch, f, how, decode, encode, kwargs, concurrency, measure=False):
    """Runs `concurrency` calls of f at a time until DRAIN, or as many as the control page says."""
    import asyncio

    asyncio.run(Loop(ch, f, how, decode, encode, kwargs, min(concurrency, MOST), measure).run())


class Loop:
    """All of it belongs to the event loop's one thread."""

    def __init__(self, ch, f, how, decode, encode, kwargs, concurrency, measure=False):
        from collections import deque

        self.ch, self.f, self.how, self.decode, self.encode, self.kwargs = ch, f, how, decode, encode, kwargs
        self.out, self.rest, self.scheduled = [], b"", False
        self.waiting, self.running = deque(), {}
        self.free, self.most = list(range(MOST - 1, -1, -1)), concurrency
        self.measure, self.meter, self.beating = measure, None, False
        self.started = self.finished = 0
        self.draining = self.done = False

    async def run(self):
        import asyncio

        self.loop = asyncio.get_running_loop()
        self.canceled = asyncio.CancelledError
        self.ch.sock.setblocking(False)
        if self.measure:
            from .meter import LoopMeter

            self.meter = LoopMeter()
        self.loop.add_reader(3, self.read)
        await self.loop.create_future()  # the process ends in leave

    def read(self):
        try:
            found = self.ch.receive()
        except BlockingIOError:
            return
        except BadFrame as e:
            leave_over(e)
        for typ, kind, ident, data in found:
            if typ == TASK:
                self.waiting.append((kind, ident, data))
            elif typ == CANCEL and ident in self.running:
                self.running[ident].cancel()
            elif typ == DRAIN:
                self.draining = True
        self.begin()

    def begin(self):
        """Starts what there is room for; after DRAIN, says BYE when nothing is left."""
        control = self.ch.control
        if control[HALT]:
            self.waiting.clear()
            self.draining = True
        most = control[AT_ONCE] or self.most
        while self.waiting and self.free and len(self.running) < most:
            kind, ident, data = self.waiting.popleft()
            slot = self.free.pop()
            begun = monotonic_ns()
            self.started += 1
            control[STARTED] = self.started
            control[SLOTS + 2 * slot] = ident
            control[SLOTS + 2 * slot + 1] = begun
            self.running[ident] = self.loop.create_task(self.one(slot, kind, ident, data, begun))
        if self.meter and self.running and not self.beating:
            self.beating = True
            self.meter.begin(monotonic_ns())
            self.loop.call_later(BEAT, self.beat)
        if self.draining and not self.running and not self.done:
            self.done = True
            self.add(head.pack(16, BYE, 0, 0, 0))

    def beat(self):
        """The loop turns; how late it is says how long a task kept it from turning."""
        self.meter.turn(monotonic_ns(), BEAT)
        if self.running:
            self.loop.call_later(BEAT, self.beat)
        else:
            self.beating = False
        self.add(self.meter.tell(self.finished))

    async def one(self, slot, kind, ident, data, begun):
        f, control = self.f, self.ch.control
        try:
            arg = lent = memoryview(data) if self.ch.views and kind == BYTES else None
            if lent is None:
                arg = self.decode(kind, data)
            data = None
            if self.how == "asyncgen":
                got = [self.encode(x) async for x in (f(**arg) if self.kwargs else f(arg))]
            elif self.how == "batch":
                got = [self.encode(x) for x in await (f(**arg) if self.kwargs else f(arg))]
            else:
                got = self.encode(await (f(**arg) if self.kwargs else f(arg)))
            if lent is not None:
                arg = None
                end_view(lent)
        except self.canceled:
            got = {"kind": "canceled", "message": "canceled"}
        except BaseException as e:
            got = error_body(e)
        took = monotonic_ns() - begun
        control[SLOTS + 2 * slot + 1] = 0
        self.finished += 1
        control[FINISHED] = self.finished
        if self.meter and begun + took - self.meter.beaten >= LATE_NS:  # nothing gives the loop a turn
            self.meter.turn(begun + took, BEAT)
            self.add(self.meter.tell(self.finished))
        self.add(self.frame_of(ident, took, got))
        del self.running[ident]
        self.free.append(slot)
        self.begin()

    def frame_of(self, ident, took, got):
        try:
            if type(got) is dict:
                return pack_error(ident, took, got)
            if type(got) is list:
                return self.ch.pack_outputs(ident, took, got, self.flush)
            return self.ch.pack(ident, 0, took, got[0], got[1], self.flush)
        except TooLarge as e:
            return pack_error(ident, took, error_body(e))

    def add(self, frame):
        self.out.append(frame)
        if not self.scheduled:  # one send for all that end in this turn of the loop
            self.scheduled = True
            self.loop.call_soon(self.send)

    def gather(self):
        data = self.rest + b"".join(self.out)
        self.out.clear()
        self.rest = b""
        return data

    def send(self):
        self.scheduled = False
        data = self.gather()
        while data:
            try:
                data = data[self.ch.sock.send(data) :]
            except BlockingIOError:
                self.rest = data
                self.loop.add_writer(3, self.send)
                return
            except OSError as e:
                leave_without(e)
        self.loop.remove_writer(3)
        if self.done:
            leave(0)

    def flush(self):
        """Sends all now: the out-arena is full and only Tandem can make room."""
        self.ch.sock.setblocking(True)
        try:
            self.ch.sock.sendall(self.gather())
        except OSError as e:
            leave_without(e)
        finally:
            self.ch.sock.setblocking(False)
