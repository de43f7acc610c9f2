import sys, time
from multiprocessing import Pool

def work(x):
    time.sleep(0.08 + int(sys.argv[1]) % 5 / 100)

if __name__ == "__main__":
    with Pool(4) as p:
        p.map(work, range(80))
