"""Makes pictures, with nothing but the standard library: python3 make.py 40"""
import os
import sys

W, H = 160, 120
os.makedirs("photos", exist_ok=True)
for n in range(int(sys.argv[1])):
    with open(os.path.join("photos", "%04d.ppm" % n), "wb") as f:
        f.write(b"P6\n%d %d\n255\n" % (W, H))
        f.write(bytes(v for y in range(H) for x in range(W) for v in ((x + 7 * n) % 256, (2 * y + n) % 256, (x * y + n) % 256)))
