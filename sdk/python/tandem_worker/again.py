"""What a handler may say of another attempt, by raising one of these: from tandem import Retry, Permanent."""


class Retry(Exception):
    """Another attempt may help. after: not before so many seconds; None leaves it to the step. reason: one word to group such failures by."""

    def __init__(self, message="", after=None, *, reason=""):
        if after is not None and not 0 <= after < 1e9:  # also what is no number
            raise ValueError(f"after is {after!r}, want seconds, 0 or more")
        super().__init__(message)
        self.after, self.reason = after, reason

    def said(self, text):
        """Its part of the ERROR frame."""
        return {"again": "yes", "after_ms": round((self.after or 0) * 1000), **words(self, text, "the handler asks for another attempt")}


class Permanent(Exception):
    """No other attempt can help."""

    def __init__(self, message="", *, reason=""):
        super().__init__(message)
        self.reason = reason

    def said(self, text):
        """Its part of the ERROR frame."""
        return {"again": "never", **words(self, text, "the handler says that no other attempt can help")}


def words(e, text, otherwise):
    """Message and reason: `raise Retry("busy") from e` is grouped by the type of e."""
    reason = e.reason or type(e.__cause__ if type(e) in (Retry, Permanent) and e.__cause__ else e).__name__
    return {"reason": str(reason), "message": text or otherwise}


Retry.__module__ = Permanent.__module__ = "tandem"  # as tracebacks name them
