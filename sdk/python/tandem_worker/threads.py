"""Mode thread: the main thread reads, the others run tasks in order and send what is done."""
from time import monotonic_ns

from .channel import FINISHED, HALT, SLOTS, STARTED, Outbox
from .frames import BYE, BYTES, DRAIN, TASK, head, leave, pack_error
from .values import TooLarge, end_view, error_body


def serve(ch, call, decode, encode, kwargs, threads):
    """Runs `threads` tasks at a time until DRAIN."""
    import threading
    from queue import SimpleQueue

    control, box = ch.control, Outbox(ch.sock)
    tasks = SimpleQueue()
    order = threading.Lock()  # taking a task and counting it as started are one step
    door = threading.Lock()  # the order of the out-arena's ring is the order of the frames: placing and adding are one step
    started = finished = 0
    generator = type(x for x in ())
    ended = threading.Semaphore(0)

    def work(slot):
        nonlocal started, finished
        while True:
            with order:
                task = tasks.get()
                if task is None or control[HALT]:
                    ended.release()
                    return
                kind, ident, data = task
                begun = monotonic_ns()
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

    for slot in range(threads):
        threading.Thread(target=work, args=(slot,), daemon=True).start()
    draining = False
    while not draining:
        for typ, kind, ident, data in ch.receive():
            if typ == TASK:
                tasks.put((kind, ident, data))
            elif typ == DRAIN:
                draining = True
    for _ in range(threads):
        tasks.put(None)
    for _ in range(threads):
        ended.acquire()
    box.frames.append(head.pack(16, BYE, 0, 0, 0))
    box.flush()
    leave(0)
