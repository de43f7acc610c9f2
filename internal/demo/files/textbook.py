"""The textbook answer: all photos through multiprocessing.Pool, then all uploads through threads. Arguments: API address, processes, threads, photos."""
import multiprocessing
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from images import thumb


def upload(url, data):
    request = urllib.request.Request(url, data, {"Content-Type": "image/jpeg"}, method="POST")
    with urllib.request.urlopen(request) as answer:
        answer.read()


if __name__ == "__main__":
    url, processes, threads, photos = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    begun = time.monotonic()
    with multiprocessing.Pool(processes) as pool:
        small = pool.map(thumb, photos)
    with ThreadPoolExecutor(threads) as threads:
        list(threads.map(partial(upload, url), small))
    print(time.monotonic() - begun)
