"""Mode thread: the main thread reads, the others run tasks in order and send what is done. How many there are may change at any time."""
from time import monotonic_ns

from .channel import AT_ONCE, FINISHED, HALT, MOST, SLOTS, STARTED, Outbox
from .frames import BYE, BYTES, DRAIN, TASK, head, leave, pack_error
from .values import TooLarge, end_view, error_body


def serve(ch, call, decode, encode, kwargs, threads, measure=False, box=None, meter=None, done=0):
    """Runs `threads` tasks at a time until DRAIN, or as many as the control page says. box, meter, done: of the mode before, when this one takes over."""
    import threading
    from queue import SimpleQueue

    control, box = ch.control, box or Outbox(ch.sock)
    if measure or meter:
        from .meter import EVERY_NS, Meter

        meter = meter or Meter(box.frames.append, box.flush, None)
        meter.busy = lambda: meter.active
        meter.several()
    tasks = SimpleQueue()
    order = threading.Lock()  # taking a task and counting it as started are one step
    door = threading.Lock()  # the order of the out-arena's ring is the order of the frames: placing and adding are one step
    started = finished = done
    alive, begun = {}, 0  # threads by slot; and all that ever began
    generator = type(x for x in ())
    ended = threading.Semaphore(0)

    def work(slot):
        nonlocal started, finished
        last, fd = 0, meter.join() if meter else -1
        while True:
            with order:
                if slot >= (control[AT_ONCE] or threads):
                    del alive[slot]
                    if meter:
                        meter.part(fd)
                    ended.release()
                    return
                task = tasks.get()
                if task is None or control[HALT]:
                    ended.release()
                    return
                kind, ident, data = task
                begun = monotonic_ns()
                if meter:
                    meter.enter(begun)
                started += 1
                control[STARTED] = started
                control[SLOTS + 2 * slot] = ident
                control[SLOTS + 2 * slot + 1] = begun
            try:
                arg = lent = memoryview(data) if ch.views and kind == BYTES else None
                if lent is None:
                    arg = decode(kind, data)
                v = call(**arg) if kwargs else call(arg)
                got = [encode(x) for x in v] if type(v) is generator else encode(v)
                if lent is not None:
                    del arg, v
                    end_view(lent)
            except BaseException as e:
                got = error_body(e)
            took = monotonic_ns() - begun
            control[SLOTS + 2 * slot + 1] = 0
            if meter:
                counts = begun + took - last >= EVERY_NS
                if counts:
                    last = begun + took
                meter.leave(begun + took, fd, counts)
            with door:
                finished += 1
                control[FINISHED] = finished
                box.frames.append(frame_of(ident, took, got))
            box.flush()
            arg = v = lent = got = task = data = None

    def frame_of(ident, took, got):
        try:
            if type(got) is dict:
                return pack_error(ident, took, got)
            if type(got) is list:
                return ch.pack_outputs(ident, took, got, box.flush)
            return ch.pack(ident, 0, took, got[0], got[1], box.flush)
        except TooLarge as e:
            return pack_error(ident, took, error_body(e))

    def fit():
        """Starts the threads that are wanted and not there. Those that are too many end by themselves."""
        nonlocal begun
        for slot in range(min(control[AT_ONCE] or threads, MOST)):
            if slot not in alive:
                alive[slot] = threading.Thread(target=work, args=(slot,), daemon=True)
                alive[slot].start()
                begun += 1

    draining, found = False, ch.take()
    while not draining:
        if len(alive) < (control[AT_ONCE] or threads):
            fit()
        for typ, kind, ident, data in found:
            if typ == TASK:
                tasks.put((kind, ident, data))
            elif typ == DRAIN:
                draining = True
        if not draining:
            found = ch.receive()
    for _ in range(begun):
        tasks.put(None)
    for _ in range(begun):
        ended.acquire()
    box.frames.append(head.pack(16, BYE, 0, 0, 0))
    box.flush()
    leave(0)
