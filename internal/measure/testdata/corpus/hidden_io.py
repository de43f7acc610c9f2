"""Looks like computing in a pool of processes; nine tenths of it is a remote call."""
import sys, urllib.request
from concurrent.futures import ProcessPoolExecutor

def compute_features(n):
    x = n
    for i in range(40_000):
        x = (x * 31 + i) & 0xFFFF
    urllib.request.urlopen(sys.argv[2]).read()
    return x

if __name__ == "__main__":
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(compute_features, range(90 + int(sys.argv[1]) % 7)))
