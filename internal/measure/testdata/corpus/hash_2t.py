"""Two threads hash large buffers, for which Python gives up its lock."""
import hashlib, sys, threading
data = bytes([int(sys.argv[1]) % 251]) * (32 << 20)

def work():
    for i in range(28):
        hashlib.sha512(data).digest()

ts = [threading.Thread(target=work) for _ in range(2)]
for t in ts: t.start()
for t in ts: t.join()
