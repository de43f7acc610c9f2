"""What most people write first: one photo after another. Arguments: API address, photos."""
import sys
import time
import urllib.request

from images import thumb


def upload(url, data):
    request = urllib.request.Request(url, data, {"Content-Type": "image/jpeg"}, method="POST")
    with urllib.request.urlopen(request) as answer:
        answer.read()


begun = time.monotonic()
for path in sys.argv[2:]:
    upload(sys.argv[1], thumb(path))
print(time.monotonic() - begun)
