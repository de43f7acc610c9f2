import sys, time
for i in range(60):
    time.sleep(0.04 + int(sys.argv[1]) % 10 / 1000)
