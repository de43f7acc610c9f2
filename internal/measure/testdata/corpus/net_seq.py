import sys, urllib.request
for i in range(55 + int(sys.argv[1]) % 7):
    urllib.request.urlopen(sys.argv[2]).read()
