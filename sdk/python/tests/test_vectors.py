"""protocol/vectors against the Python decoder and worker."""
import json
import os
import unittest

from tandem_worker import meter as measured
from tandem_worker.frames import BadFrame, split

from .process import ARENA, BLOB, CONTROL, HANDLERS, MORE, NAMES, NONE, ROOT, Process, span_out

VECTORS = os.path.join(ROOT, "..", "..", "protocol", "vectors")


def lines(name):
    with open(os.path.join(VECTORS, name), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


class Frames(unittest.TestCase):
    def test_every_vector(self):
        for v in lines("frames.jsonl"):
            with self.subTest(v["name"]):
                data = bytes.fromhex(v["bytes"])
                if "fault" in v:
                    with self.assertRaisesRegex(BadFrame, v["fault"]):
                        split(data, len(data))
                    continue
                found, taken = split(data, len(data))
                self.assertEqual([dict(type=t, flags=f, id=i, payload=p.hex()) for t, f, i, p in found], v["frames"])
                self.assertEqual(len(data) - taken, v["rest"])


class Transcripts(unittest.TestCase):
    def test_every_vector(self):
        for v in lines("transcripts.jsonl"):
            with self.subTest(v["name"]):
                w = Process(v["handler"], **v.get("hello", {}))
                try:
                    for step in v["steps"]:
                        self.do(w, **step)
                finally:
                    w.close()

    def do(self, w, **step):
        (what, arg), = step.items()
        getattr(self, "do_" + what)(w, arg)

    def do_send(self, w, data):
        w.sock.sendall(bytes.fromhex(data))

    def do_expect(self, w, want):
        if "any_order" in want:
            left = {e["id"]: e for e in want["any_order"]}
            while left:
                f = w.next()
                self.check(w, f, type=want["type"], **left.pop(f[2]))
        else:
            self.check(w, w.next(), **want)

    def check(self, w, frame, type, id=0, kind=None, value=None, repeat=None, blob=None, more=False, none=False, error=None, figures=None):
        self.assertIsNotNone(frame, "no answer")
        typ, flags, ident, payload = frame
        self.assertEqual((NAMES.get(typ), ident), (type, id), payload)
        if type == "ERROR":
            body = json.loads(payload[8:])
            for k, text in error.items():
                (self.assertIn if k == "message" else self.assertEqual)(text, body[k])
        for name, (least, most) in (figures or {}).items():
            got = dict(zip(("tasks", "wall", "cpu", "queue", "voluntary", "involuntary", "looks", "held", "late"), measured.figures.unpack(payload)))[name]
            self.assertTrue(least <= got <= most, f"{name} is {got}, want {least} to {most}")
        if type != "RESULT":
            return
        self.assertEqual((bool(flags & MORE), bool(flags & NONE), bool(flags & BLOB)), (more, none, blob is not None))
        if kind is not None:
            self.assertEqual(flags & 7, kind)
        data = payload[8:]
        if blob:
            offset, length, end = span_out.unpack(data)
            self.assertEqual(dict(offset=offset, length=length, end=end), blob)
            data = w.page[CONTROL + offset : CONTROL + offset + length]
        if value is not None:
            self.assertEqual(data, bytes.fromhex(value))
        if repeat:
            self.assertEqual(data, bytes.fromhex(repeat["byte"]) * repeat["times"])

    def do_fill(self, w, arg):
        w.inside[arg["offset"] : arg["offset"] + arg["times"]] = bytes.fromhex(arg["byte"]) * arg["times"]

    def do_release(self, w, end):
        w.release(end)

    def do_at_once(self, w, n):
        w.words[10] = n

    def do_halt(self, w, _):
        w.words[9] = 1

    def do_control(self, w, words):
        for word, want in words.items():
            self.assertEqual(w.words[int(word)], want, "word " + word)

    def do_silence(self, w, seconds):
        self.assertIsNone(w.next(seconds))

    def do_close(self, w, _):
        w.sock.close()

    def do_exit(self, w, want):
        code, _, err = w.exit()
        self.assertTrue(want in ("any", code) or want == "not 0" and code != 0, f"exit code {code}, want {want}: {err}")


assert os.path.isfile(HANDLERS) and ARENA
