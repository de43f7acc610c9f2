"""Told by tandem profile --runtime: notes where this program's own Python code is, twenty times a second, and steps aside."""
import os
import sys


def _watch(directory):
    import atexit
    import json
    import sysconfig
    import threading
    import time

    library = tuple(p for p in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), os.path.dirname(os.__file__)} if p)
    counts, used = {}, {}

    def own(frame):
        """The innermost frame of the program's own code, else the innermost of all."""
        f = frame
        while f is not None:
            name = f.f_code.co_filename
            if not name.startswith(library) and "site-packages" not in name and not name.startswith("<"):
                return f
            f = f.f_back
        return frame

    def running(thread):
        """Whether a thread had a processor for half the time since it was last asked."""
        try:
            with open("/proc/self/task/%d/schedstat" % thread) as f:
                on = int(f.read().split()[0])
        except (OSError, ValueError, IndexError, TypeError):
            return False
        now = time.monotonic_ns()
        before_on, before = used.get(thread, (on, now))
        used[thread] = (on, now)
        return on - before_on > (now - before) / 2

    def look(me):
        names = {t.ident: getattr(t, "native_id", None) for t in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            if ident == me:
                continue
            f = own(frame)
            code = f.f_code
            name = getattr(code, "co_qualname", code.co_name)
            if frame is not f:
                inner = frame.f_code
                name += ", in " + os.path.splitext(os.path.basename(inner.co_filename))[0] + "." + inner.co_name
            key = (name, os.path.basename(code.co_filename) + ":" + str(f.f_lineno), "runs" if running(names.get(ident)) else "waits")
            counts[key] = counts.get(key, 0) + 1

    def write():
        path = os.path.join(directory, "python-%d.json" % os.getpid())
        try:
            with open(path + ".new", "w") as f:
                json.dump([[*k, n] for k, n in list(counts.items())], f)
            os.replace(path + ".new", path)
        except OSError:
            pass  # the directory is gone: nobody waits for it any more

    def loop():
        me, n = threading.get_ident(), 0
        while True:
            time.sleep(0.05)
            look(me)
            n += 1
            if n % 10 == 0:
                write()

    def start():
        counts.clear()
        used.clear()
        threading.Thread(target=loop, name="tandem", daemon=True).start()

    start()
    atexit.register(write)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=start)


_here = os.path.dirname(os.path.abspath(__file__))
_directory = os.environ.get("TANDEM_INSIDE")
if _directory:
    _watch(_directory)
# The sitecustomize that would have been loaded without us.
sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != _here]
_ours = sys.modules.pop("sitecustomize", None)
try:
    import sitecustomize  # noqa: F401
except ImportError:
    if _ours is not None:
        sys.modules["sitecustomize"] = _ours  # whoever imports us looks there
