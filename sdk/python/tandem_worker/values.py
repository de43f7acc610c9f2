"""Values on the wire and in Python, and what an exception looks like on the wire (sections 4 and 6)."""
import os

from .again import Permanent, Retry
from .frames import BYTES, JSON, LIST, NULL, PICKLE, TEXT, leave_over

HERE = os.path.dirname(__file__)


class Refused(Exception):
    """The worker cannot start."""

    def __init__(self, kind, message, hint="", trace=""):
        super().__init__(message)
        self.body = {"kind": kind, "message": message, "hint": hint, "trace": trace}


class Unserialisable(Exception):
    """The handler returned what cannot be sent on."""


class WrongCount(Exception):
    """A batch handler gave something else than one value for each element."""


class TooLarge(Exception):
    """A value larger than the arena."""


class Kept(Exception):
    """The handler still holds the view it was given."""


class BadList(Exception):
    """The bytes of a list do not add up."""


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
        import json

        return json.loads(data)
    if kind == LIST:
        return [decode(k, part) for k, part in parts(data)]
    if kind != PICKLE:
        leave_over(f"kind {kind}")
    import pickle

    return pickle.loads(data)


def parts(data):
    """The values of a list: for each a byte of kind, four of length, and the bytes."""
    view, at, size, found = memoryview(data), 0, len(data), []
    while at < size:
        kind, end = view[at], at + 5 + int.from_bytes(view[at + 1 : at + 5], "little")
        if kind >= LIST or at + 5 > size or end > size:
            raise BadList("the bytes of a list end inside a value")
        found.append((kind, bytes(view[at + 5 : end])))
        at = end
    return found


def end_view(view):
    """Ends a handler's view of its argument: Tandem uses the memory again."""
    try:
        view.release()
    except BufferError:
        import gc

        gc.collect()
        try:
            view.release()
        except BufferError:
            raise Kept("the handler still holds its argument after it has returned") from None


def encoder(output):
    """encode(value) -> (kind, bytes). output is HELLO's: "json" or "pickle"."""
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
        import json

        try:
            return JSON, json.dumps(v, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
        except UnicodeEncodeError as e:
            raise Unserialisable(f"returned text that is not Unicode: {e}") from None
        except ValueError as e:
            raise Unserialisable(f"returned what JSON cannot hold: {e}") from None
        except (TypeError, RecursionError) as e:
            raise Unserialisable(f"returned a value of type {t.__name__}, which is not JSON: {e}") from None

    return encode


def error_body(e):
    """The JSON of section 6 for an exception of the handler."""
    if isinstance(e, Unserialisable):
        return {"kind": "unserialisable", "message": str(e), "hint": "return bytes, text, numbers, lists, dicts or None"}
    if isinstance(e, Kept):
        return {"kind": "exception", "message": str(e), "hint": "the memory is used again for the next item: copy what you keep, or take bytes"}
    if isinstance(e, TooLarge):
        return {"kind": "too_large", "message": str(e), "hint": "write it to a file and return the path"}
    if isinstance(e, WrongCount):
        return {"kind": "exception", "reason": "batch", "message": str(e), "hint": "with batch:, a handler takes a list and returns a list with one value for each element, in the same order"}
    try:
        text = str(e)
    except BaseException:  # an exception whose __str__ fails is still an exception
        text = "(no text)"
    first = text.split("\n", 1)[0]
    name = type(e).__name__
    body = {"kind": "exception", "reason": name, "message": name + (": " + first if first else ""), "trace": trace_of(e)}
    if isinstance(e, (Retry, Permanent)):
        body.update(e.said(first))
    return body


def trace_of(e):
    """The traceback, from the handler's first line on."""
    import traceback

    tb = e.__traceback__
    while tb is not None and os.path.dirname(tb.tb_frame.f_code.co_filename) == HERE:
        tb = tb.tb_next
    try:
        return "".join(traceback.format_exception(type(e), e, tb))
    except BaseException:
        return ""
