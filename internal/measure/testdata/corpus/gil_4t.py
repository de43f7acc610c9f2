import sys, threading

def work(x):
    for i in range(24_000_000 // 4):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF

ts = [threading.Thread(target=work, args=(int(sys.argv[1]) + k,)) for k in range(4)]
for t in ts: t.start()
for t in ts: t.join()
