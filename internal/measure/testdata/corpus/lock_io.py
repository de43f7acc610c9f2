"""Six threads; the lock is held across the request."""
import sys, threading, urllib.request
lock = threading.Lock()

def work():
    for i in range(10 + int(sys.argv[1]) % 3):
        with lock:
            urllib.request.urlopen(sys.argv[2]).read()

ts = [threading.Thread(target=work) for _ in range(6)]
for t in ts: t.start()
for t in ts: t.join()
