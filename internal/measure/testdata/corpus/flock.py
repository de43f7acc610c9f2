"""Four processes take turns with a locked file."""
import fcntl, sys, tempfile, time
from multiprocessing import Process

def work(name, s):
    with open(name) as f:
        for i in range(30):
            fcntl.flock(f, fcntl.LOCK_EX)
            time.sleep(s)
            fcntl.flock(f, fcntl.LOCK_UN)

if __name__ == "__main__":
    with tempfile.NamedTemporaryFile() as f:
        ps = [Process(target=work, args=(f.name, .02 + int(sys.argv[1]) % 5 / 1000)) for _ in range(4)]
        for p in ps: p.start()
        for p in ps: p.join()
