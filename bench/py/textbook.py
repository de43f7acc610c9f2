"""The hybrid job as a Python textbook does it: all the images in a process pool, then all the uploads in threads.

    textbook.py IMAGES WORKERS URL IN_FLIGHT

The threads are as many as Tandem may have requests in flight; the default of ThreadPoolExecutor (cores + 4) would be far slower.
"""

import ctypes
import json
import multiprocessing
import signal
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from work import thumb


def leave_with_parent():
    """A worker must not outlive a killed benchmark (Linux: PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def upload(url, image):
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(image).encode(), method="POST")) as answer:
        answer.read()
        return answer.status


def main(images, workers, url, in_flight):
    with multiprocessing.Pool(workers, leave_with_parent) as pool:
        done = pool.map(thumb, range(1, images + 1))
    with ThreadPoolExecutor(in_flight) as threads:
        statuses = list(threads.map(lambda image: upload(url, image), done))
    print(json.dumps({"figures": {"uploaded": sum(status == 200 for status in statuses)}}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
