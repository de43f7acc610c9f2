import sys
from multiprocessing import Process

def work(x):
    for i in range(5_000_000):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF

if __name__ == "__main__":
    ps = [Process(target=work, args=(int(sys.argv[1]) + k,)) for k in range(8)]
    for p in ps: p.start()
    for p in ps: p.join()
