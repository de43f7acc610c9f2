"""What `tandem profile` is measured on. It says in one JSON line how long it took, by its own clocks.

    watched.py compute N       N turns of a loop
    watched.py threads SECONDS eight threads that go in and out of waits of two milliseconds
"""

import json
import sys
import threading
import time


def spin(n, x):
    for _ in range(n):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
    return x


def in_and_out(end):
    while time.monotonic() < end:
        time.sleep(0.002)


def threads(seconds):
    end = time.monotonic() + seconds
    eight = [threading.Thread(target=in_and_out, args=(end,)) for _ in range(8)]
    for t in eight:
        t.start()
    for t in eight:
        t.join()


if __name__ == "__main__":
    wall, cpu = time.monotonic(), time.process_time()
    if sys.argv[1] == "compute":
        spin(int(sys.argv[2]), 1)
    else:
        threads(float(sys.argv[2]))
    print(json.dumps({"figures": {"took": time.monotonic() - wall, "cpu": time.process_time() - cpu}}))
