"""Socket, arenas and control page of this worker, and what is waiting to be sent."""
import mmap
import os
from _socket import MSG_DONTWAIT, MSG_PEEK
from _thread import allocate_lock
from sys import modules
from time import sleep

from .frames import BLOB, BYTES, CANCEL, DRAIN, INLINE, KIND, LIST, MAX_FRAME, MORE, NONE, RESULT, TASK, BadFrame, leave, leave_without, result, span_in, span_out, split
from .values import TooLarge

RELEASED, HALT, AT_ONCE, STARTED, FINISHED, SLOTS = 8, 9, 10, 16, 17, 64  # words of the control page
MOST = 4064  # slots of the control page


class Channel:
    """Socket, arenas and control page of this worker. views: large bytes are given as views of the in-arena, without a copy."""

    def __init__(self, sock, hello, views=False):
        self.sock, self.views = sock, views
        self.inside = mmap.mmap(4, hello["in_arena"], mmap.MAP_SHARED, mmap.PROT_READ)
        page = mmap.mmap(5, hello["control"] + hello["out_arena"], mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        if "ctypes" in modules:  # to load it takes as long as a third of Python's own start
            from .notice import arm

            arm(page)
        view = memoryview(page)
        self.control = view[: hello["control"]].cast("Q")
        self.outside = view[hello["control"] :]
        self.size = hello["out_arena"]
        self.head = self.floor = 0
        self.buf = mmap.mmap(-1, 2 * MAX_FRAME, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)  # a bytearray would be written all over before the first frame
        self.have = 0

    def receive(self):
        """Reads once and gives what became whole: [(type, kind, id, bytes)]. For the modes that run several tasks at a time."""
        try:
            n = self.sock.recv_into(memoryview(self.buf)[self.have :])
        except BlockingIOError:
            raise
        except OSError as e:
            leave_without(e)
        if not n:
            leave(0)
        self.have += n
        return self.take()

    def put_back(self, data):
        """Bytes that were read and not run: take gives them first."""
        self.buf[: len(data)] = data
        self.have = len(data)

    def take(self):
        """What is whole of what was read."""
        view = memoryview(self.buf)
        found, taken = split(self.buf, self.have)
        if taken:
            rest = self.have - taken
            view[:rest] = bytes(view[taken : self.have])
            self.have = rest
        for i, (typ, flags, ident, payload) in enumerate(found):
            if typ not in (TASK, CANCEL, DRAIN):
                raise BadFrame(f"type {typ}")
            if flags & BLOB:
                payload = self.read_blob(payload, flags & KIND)
            found[i] = typ, flags & KIND, ident, payload
        return found

    def read_blob(self, payload, kind):
        if len(payload) != span_in.size:
            raise BadFrame(f"descriptor of {len(payload)} bytes")
        offset, length = span_in.unpack(payload)
        if offset + length > len(self.inside):
            raise BadFrame(f"bytes {offset}+{length} are outside the arena")
        if self.views and kind == BYTES or kind == LIST:  # the parts of a list are copied one by one
            return memoryview(self.inside)[offset : offset + length]
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
            sleep(pause)
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
        """The frames of a handler that gave any number of values."""
        if len(outputs) == 1:
            return self.pack(ident, 0, service, outputs[0][0], outputs[0][1], flush)
        frames = [self.pack(ident, MORE, service, kind, data, flush) for kind, data in outputs]
        frames.append(result.pack(24, RESULT, NONE, 0, ident, service))
        return b"".join(frames)


class Outbox:
    """Frames on their way out. Whoever appends whole frames to `frames` needs no lock: a flush takes what was there when it began, in order."""

    def __init__(self, sock):
        self.frames = []
        self.sent = 0  # flushes so far
        self.sendall = sock.sendall
        self.door = allocate_lock()

    def flush(self):
        frames = self.frames
        with self.door:
            n = len(frames)
            if n:
                data = b"".join(frames[:n])
                del frames[:n]
                self.sent += 1
                try:
                    self.sendall(data)
                except OSError as e:
                    leave_without(e)
