"""Frames: the constants of protocol/SPEC.md, packing and splitting. Nothing here touches a socket."""
import errno
import os
import sys
from struct import Struct

HELLO, READY, TASK, RESULT, ERROR, CANCEL, DRAIN, BYE, MEASURED, GREASE = 1, 2, 3, 4, 5, 6, 7, 8, 9, 240
NULL, BYTES, TEXT, JSON, PICKLE, LIST = range(6)
KIND, BLOB, MORE, NONE = 7, 8, 16, 32
HEADER, MAX_FRAME, INLINE = 16, 256 << 10, 8 << 10

head = Struct("<IBBHQ")  # length, type, flags, method, id
result = Struct("<IBBHQQ")  # the same and service_ns
span_in = Struct("<QQ")  # offset, length
span_out = Struct("<QQQ")  # offset, length, end


class BadFrame(Exception):
    """Tandem sent what the protocol does not allow."""


def split(buf, have):
    """The whole frames in the first `have` bytes of buf: ([(type, flags, id, payload)], bytes taken). Grease is left out."""
    off, found = 0, []
    view = memoryview(buf)
    while have - off >= HEADER:
        length, typ, flags, method, ident = head.unpack_from(buf, off)
        check(length, typ, flags, method)
        if off + length > have:
            break
        if typ < GREASE:
            found.append((typ, flags, ident, bytes(view[off + HEADER : off + length])))
        off += length
    return found, off


def check(length, typ, flags, method):
    """Raises BadFrame for a header that no frame may have."""
    if not HEADER <= length <= MAX_FRAME:
        raise BadFrame(f"length {length}, want {HEADER} to {MAX_FRAME}")
    if typ >= GREASE:
        return
    if not HELLO <= typ <= MEASURED:
        raise BadFrame(f"type {typ}")
    kind = flags & KIND
    if flags & 0xC0 or kind > LIST or kind == LIST and typ != TASK:
        raise BadFrame(f"flags {flags:#x}")
    if method:
        raise BadFrame(f"method {method}")


def grease():
    """A frame that means nothing, to keep readers honest."""
    noise = os.urandom(10)
    n = noise[0] % 9
    return head.pack(HEADER + n, GREASE + noise[1] % 16, noise[2], 0, 0) + noise[:n]


def pack_error(ident, service, body):
    """The ERROR frame of section 6. What would not fit a frame is cut in the middle."""
    import json

    body = {k: cut(v, 24 << 10) for k, v in body.items() if v}
    data = json.dumps(body).encode()  # ASCII: lone surrogates are escaped
    if len(data) > MAX_FRAME - 64:
        data = json.dumps({k: cut(v, 2 << 10) for k, v in body.items()}).encode()
    return result.pack(24 + len(data), ERROR, 0, 0, ident, service) + data


def cut(s, most):
    return s if type(s) is int or len(s) <= most else s[: most // 2] + "\n... cut ...\n" + s[-most // 2 :]


def leave(code):
    """Ends the process without running what the handler's libraries registered for a normal exit to do with our descriptors."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
    os._exit(code)


def leave_over(bad):
    """Ends the process because of a frame that breaks the protocol."""
    print("tandem worker: bad frame from tandem:", bad, file=sys.stderr)
    leave(70)


def leave_without(e):
    """Ends the process because nothing can be sent or received any more: Tandem is gone, or the handler has closed our descriptor."""
    if e.errno not in (errno.EBADF, errno.ENOTSOCK):
        leave(0)
    print("tandem worker: something in this process has closed descriptor 3, the channel to Tandem:", e, file=sys.stderr)
    leave(70)
