import asyncio, ctypes, mmap, os, signal, socket, struct, subprocess, sys, threading, time

LAST = int(os.environ.get("FAULT_LAST", "12"))
CULPRIT = 5


def gate(n):
    # Holds the first item until the harness is ready, and the last until it has looked.
    if n == 1:
        print("gate", file=sys.stderr)
        open("gated", "w").close()
        while not os.path.exists("begin"):
            time.sleep(0.005)
    if n == LAST:
        while not os.path.exists("release"):
            time.sleep(0.005)
    return n


def mark():
    # Says where the culprit runs; whole or not at all.
    with open("culprit.new", "w") as f:
        f.write(os.environ["TANDEM_PLACE"])
    os.replace("culprit.new", "culprit")


def first():
    # True for the first attempt at the culprit.
    try:
        os.close(os.open("attempt", os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False


def good(n):
    return n


def brief(n):
    time.sleep(0.01)
    return n


def sleeps(n):
    if n == CULPRIT:
        mark()
        nap()
    return n


def sleeps_once(n):
    if n == CULPRIT and first():
        mark()
        nap()
    return n


def nap():
    time.sleep(600)


def segv(n):
    if n == CULPRIT:
        ctypes.string_at(0)
    return n


def abort(n):
    if n == CULPRIT:
        os.abort()
    return n


def exit0(n):
    if n == CULPRIT:
        os._exit(0)
    return n


CODES = {2: 1, 4: 3, 6: 77, 8: 128, 10: 255}


def codes(n):
    if n in CODES:
        os._exit(CODES[n])
    return n


def raises(n):
    if n == CULPRIT:
        raise ValueError("five")
    return n


def spins(n):
    if n == CULPRIT:
        spin()
    return n


def spin():
    while True:
        pass


def locks(n):
    if n == CULPRIT:
        lock()
    return n


def lock():
    l = threading.Lock()
    l.acquire()
    l.acquire()


def gil(n):
    if n == CULPRIT:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            sum(range(10**7))  # one C call that holds the GIL
    return n


def gil_whole(n):
    if n == CULPRIT:
        ctypes.PyDLL(None).usleep(0)
        return sum(range(3 * 10**8))
    return n


def deaf(n):
    for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(s, signal.SIG_IGN)
    if n == CULPRIT:
        spin()
    return n


def hog(n):
    if n == CULPRIT:
        grow()
    return n


def grow():
    # Shared memory is no data of the process: only the control group, or a look, counts it.
    m = mmap.mmap(-1, 400 << 20)
    for i in range(0, len(m), 4096):
        m[i] = 1
    time.sleep(30)


def hog_machine(n):
    hold = []
    while n == CULPRIT:
        hold.append(mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x8000))  # MAP_POPULATE
    return n


def hog_child(n):
    if n == CULPRIT:
        if os.fork() == 0:
            grow()
            os._exit(0)
        os.wait()
    return n


def hog_pair(n):
    # Each has less than it may have, both together have more.
    if n == CULPRIT:
        for _ in range(2):
            if os.fork() == 0:
                b = bytearray(80 << 20)
                for i in range(0, len(b), 4096):
                    b[i] = 1
                time.sleep(20)
                os._exit(0)
        os.wait()
    return n


def hog_data(n):
    if n == CULPRIT:
        b = []
        while True:
            b.append(bytearray(8 << 20))
    return n


def daemon(n):
    if n == CULPRIT:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(600)
            os._exit(0)
        os.wait()
    return n


def bomb(n):
    if n == CULPRIT:
        mark()
        while True:
            try:
                if os.fork() == 0:
                    time.sleep(600)
            except OSError as e:
                with open("bomb", "w") as f:
                    f.write(e.strerror)
                time.sleep(600)
    return n


def zombies(n):
    if n == CULPRIT:
        for _ in range(1000):
            if os.fork() == 0:
                if os.fork() == 0:
                    os._exit(0)
                os._exit(0)
            os.wait()
    return n


def garbage(n):
    if n == CULPRIT:
        os.write(3, b"garbage!" * 100)
        time.sleep(60)
    return n


def oversized(n):
    if n == CULPRIT:
        os.write(3, struct.pack("<IIII", 1 << 30, 0, 0, 0))
        time.sleep(60)
    return n


def truncated(n):
    if n == CULPRIT:
        os.write(3, struct.pack("<I", 64) + b"\x03")
        os._exit(4)
    return n


def prints(n):
    print("garbage!" * 100)
    os.write(1, b"\x00\x01\x02 no frame")
    return n


def closes(n):
    if n == CULPRIT:
        with socket.socket(fileno=os.dup(3)) as s:
            s.shutdown(socket.SHUT_RDWR)  # a thread that reads would keep it open
        os.close(3)
        time.sleep(60)
    return n


def closes_beside(n):
    """A thread that reads the channel keeps it open: its end is not told to anybody."""
    if n == CULPRIT:
        os.close(3)
        time.sleep(60)
    return n


def closes_and_answers(n):
    if n == CULPRIT:
        os.close(3)
    return n


def reuses(n):
    if n == CULPRIT:
        os.close(3)
        os.open("/dev/null", os.O_RDWR)  # it is descriptor 3
        time.sleep(60)
    return n


async def closes_async(n):
    if n == CULPRIT:
        os.close(3)
        await asyncio.sleep(60)
    return n


def flood(n):
    if n == CULPRIT:
        b = b"x" * (1 << 20)
        for _ in range(int(os.environ.get("FAULT_FLOOD", "1024"))):
            os.write(2, b)
    return n


def holds(n):
    if n == CULPRIT:
        subprocess.Popen(["sleep", "600"])
        os._exit(7)
    return n


def late(n):
    if n == CULPRIT:
        time.sleep(1.2)
    return n


def slow(n):
    time.sleep(0.4)
    if n == CULPRIT:
        mark()
    return n


def idle_class(n):
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    t = time.thread_time()
    while time.thread_time() - t < 0.02:
        pass
    if n == 1:
        mark()
    return n


def poison(n):
    if n == CULPRIT:
        os.kill(os.getpid(), signal.SIGKILL)
    return n


def poison_beside(n):
    time.sleep(0.05)
    return poison(n)


async def poison_async(n):
    await asyncio.sleep(0.05)
    return poison(n)


def dies_once(v):
    if int(v) == CULPRIT and first():
        os.kill(os.getpid(), signal.SIGKILL)
    return v


def big(n):
    time.sleep(0.01)
    return "x" * 20000


def same(v):
    time.sleep(0.02)
    return v


def denied(n):
    # What a sandbox keeps from a handler, each by the name of its error.
    def attempt(f):
        try:
            f()
            return "done"
        except OSError as e:
            return os.strerror(e.errno)

    libc = ctypes.CDLL(None, use_errno=True)

    def call(number, *args):
        if libc.syscall(number, *args) < 0:
            raise OSError(ctypes.get_errno(), "")

    if n != CULPRIT:
        return n
    other = int(os.environ["FAULT_OTHER"])
    return {
        "write": attempt(lambda: open("/tmp/tandem-faults-escaped", "w")),
        "read": attempt(lambda: open(os.environ["FAULT_SECRET"]).read()),
        "connect": attempt(lambda: socket.create_connection(("127.0.0.1", 9), 1)),
        "kill": attempt(lambda: os.kill(other, 0)),
        "ptrace": attempt(lambda: call(101, 16, other, 0, 0)),
        "unshare": attempt(lambda: call(272, 0x10000000 | 0x20000)),
        "mount": attempt(lambda: call(165, b"none", b"/tmp", b"tmpfs", 0, None)),
    }
