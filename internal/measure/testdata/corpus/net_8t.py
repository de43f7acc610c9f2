import sys, threading, urllib.request

def work():
    for i in range(40 + int(sys.argv[1]) % 7):
        urllib.request.urlopen(sys.argv[2]).read()

ts = [threading.Thread(target=work) for _ in range(8)]
for t in ts: t.start()
for t in ts: t.join()
