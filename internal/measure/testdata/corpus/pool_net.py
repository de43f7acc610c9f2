import sys, urllib.request
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(10) as p:
    list(p.map(lambda i: urllib.request.urlopen(sys.argv[2]).read(), range(400 + int(sys.argv[1]) % 9)))
