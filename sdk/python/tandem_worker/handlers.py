"""Finding the handler a step names, and what kind of function it is."""
import os
import sys

from .values import Refused, trace_of


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


def wants_view(f):
    """Whether f's argument is annotated as a memoryview: then bytes are lent, not copied."""
    import inspect

    try:
        first = next(iter(inspect.signature(f).parameters.values()))
    except (TypeError, ValueError, NameError, StopIteration):  # builtins, annotations that do not resolve, no parameter
        return False
    return first.annotation in (memoryview, "memoryview")
