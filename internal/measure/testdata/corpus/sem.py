"""Six threads share a semaphore of one; whoever has it sleeps. Each waits on a word of its own."""
import sys, threading, time
s = threading.Semaphore(1)

def work():
    for i in range(12):
        with s:
            time.sleep(0.035 + int(sys.argv[1]) % 5 / 1000)

ts = [threading.Thread(target=work) for _ in range(6)]
for t in ts: t.start()
for t in ts: t.join()
