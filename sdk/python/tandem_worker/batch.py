"""Batches: the handler takes a list and gives one value for each element."""
from itertools import islice

from .frames import LIST
from .values import WrongCount, decode


def decode_batch(kind, data):
    """The argument of a batch handler. A value that is no list is a batch of one."""
    v = decode(kind, data)
    return v if kind == LIST else [v]


def plain(f, kwargs):
    """f as a handler that yields, for the modes process and thread."""

    def call(*args, **named):
        n = None if kwargs else len(args[0])
        return (x for x in matched(f(*args, **named), n))

    return call


def awaited(f, how, kwargs):
    """f as a coroutine that gives the list of its values, for the event loop."""

    async def call(*args, **named):
        n = None if kwargs else len(args[0])
        if how == "async":
            return matched(await f(*args, **named), n)
        found = []
        async for x in f(*args, **named):
            if len(found) == n:
                raise too_many(n)
            found.append(x)
        return matched(found, n)

    return call


def matched(v, n):
    """The values that v holds. With named arguments only Tandem knows how many there should be: n is None."""
    if v is None:
        return [None] * (1 if n is None else n)
    if hasattr(type(v), "__next__"):
        v = list(v if n is None else islice(v, n + 1))
        if n is not None and len(v) > n:
            raise too_many(n)
    elif not isinstance(v, (list, tuple)):
        raise WrongCount(f"the handler gave a value of type {type(v).__name__}" + ("" if n is None else f" for a batch of {n}"))
    if n is not None and len(v) != n:
        raise WrongCount(f"the handler gave {len(v)} values for a batch of {n}")
    return v


def too_many(n):
    return WrongCount(f"the handler gave more than {n} values for a batch of {n}")
