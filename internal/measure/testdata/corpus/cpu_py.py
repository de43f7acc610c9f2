import sys
x = int(sys.argv[1]) + 1
for i in range(22_000_000):
    x = (x * 1103515245 + 12345) & 0x7FFFFFFF
