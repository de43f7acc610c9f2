"""Half its time it computes, half it waits for a server."""
import sys, time, urllib.request
x = int(sys.argv[1])
for k in range(30):
    begun = time.time()
    urllib.request.urlopen(sys.argv[2]).read()
    end = time.thread_time() + time.time() - begun
    while time.thread_time() < end:
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
