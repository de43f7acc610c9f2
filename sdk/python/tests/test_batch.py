"""Batches, and what a handler may say of another attempt."""
import os
import tempfile
import unittest

from tandem_worker import Permanent, Retry
from tandem_worker.batch import decode_batch, matched
from tandem_worker.values import BadList, WrongCount, decode, error_body

from .process import Process

BYTES, TEXT, JSON, PICKLE, LIST = 1, 2, 3, 4, 5


def listed(*values):
    return b"".join(bytes([kind]) + len(data).to_bytes(4, "little") + data for kind, data in values)


ABC = listed((TEXT, b"a"), (TEXT, b"b"), (TEXT, b"c"))

CODE = """
import asyncio
def same(xs): return xs
def upper(xs): return (x.upper() for x in xs)
def mapped(xs): return map(str.upper, xs)
def paired(xs): return tuple(xs)
def kinds(xs): return [type(x).__name__ for x in xs]
def nothing(xs): pass
def one(xs): return xs[:1]
def many(xs):
    while True: yield 1
def text(xs): return "abc"
def table(xs): return {x: 1 for x in xs}
def fails(xs):
    yield 1
    raise ValueError("at the second")
def odd(xs): return [1, {2}, 3]
def named(xs, add): return [x + add for x in xs]
async def aupper(xs):
    await asyncio.sleep(0)
    return [x.upper() for x in xs]
async def ayields(xs):
    for x in xs:
        await asyncio.sleep(0)
        yield x.upper()
async def amany(xs):
    while True:
        await asyncio.sleep(0)
        yield 1
async def anothing(xs): pass
def view(xs: memoryview): return [type(xs).__name__ for _ in xs]
"""


class Batch(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        with open(os.path.join(cls.dir.name, "steps.py"), "w") as f:
            f.write(CODE)

    @classmethod
    def tearDownClass(cls):
        cls.dir.cleanup()

    def ask(self, handler, data=ABC, kind=LIST, **more):
        """The values that came, or the error."""
        w = Process("steps.py:" + handler, dir=self.dir.name, batch=True, **more)
        self.addCleanup(w.close)
        self.assertEqual(w.next()[0], 2)
        w.task(1, kind, data)
        values = []
        while True:
            ident, flags, value = w.answer()
            self.assertEqual(ident, 1)
            if flags == "error":
                return value
            if flags & 32:
                self.assertNotEqual(len(values), 1, "one value is one frame")
                return values
            values.append(value)
            if not flags & 16:
                return values

    def test_one_value_for_each_element(self):
        upper = [b"A", b"B", b"C"]
        for handler, more, want in (
            ("same", {}, [b"a", b"b", b"c"]), ("upper", {}, upper), ("mapped", {}, upper), ("paired", {}, [b"a", b"b", b"c"]), ("nothing", {}, [b"", b"", b""]),
            ("upper", dict(mode="thread", threads=2), upper), ("aupper", {}, upper), ("ayields", {}, upper), ("anothing", {}, [b"", b"", b""]),
            ("aupper", dict(mode="process"), upper), ("ayields", dict(mode="thread", threads=2), upper), ("view", {}, [b"list"] * 3),
        ):
            with self.subTest(handler, **more):
                self.assertEqual(self.ask(handler, **more), want)

    def test_elements_keep_their_kinds(self):
        data = listed((0, b""), (BYTES, b"\xff"), (TEXT, b"\xff"), (JSON, b"[1]"), (JSON, b"1"))
        self.assertEqual(self.ask("kinds", data), [b"NoneType", b"bytes", b"str", b"list", b"int"])

    def test_a_value_that_is_no_list_is_a_batch_of_one(self):
        self.assertEqual(self.ask("kinds", b"xy", BYTES), [b"bytes"])
        self.assertEqual(self.ask("kinds", b"[1,2]", JSON), [b"list"])
        self.assertEqual(self.ask("same", listed((TEXT, b"x"))), [b"x"])
        self.assertEqual(self.ask("same", b""), [])

    def test_a_wrong_count_says_both(self):
        for handler, more, says in (
            ("one", {}, "1 values for a batch of 3"), ("many", {}, "more than 3 values for a batch of 3"), ("amany", {}, "more than 3"),
            ("text", {}, "type str for a batch of 3"), ("table", {}, "type dict for a batch of 3"),
        ):
            with self.subTest(handler, **more):
                body = self.ask(handler, **more)
                self.assertEqual((body["kind"], body["reason"]), ("exception", "batch"))
                self.assertIn(says, body["message"])
                self.assertIn("one value for each element", body["hint"])

    def test_what_else_goes_wrong(self):
        body = self.ask("fails")
        self.assertEqual((body["reason"], body["message"]), ("ValueError", "ValueError: at the second"))
        self.assertIn("steps.py", body["trace"])
        self.assertNotIn("tandem_worker", body["trace"])
        self.assertEqual(self.ask("odd")["kind"], "unserialisable")

    def test_named_arguments(self):
        """The arguments are an object, as without batch; how many values there should be only Tandem knows."""
        self.assertEqual(self.ask("named", b'{"xs":[1,2],"add":10}', JSON, kwargs=True), [b"11", b"12"])

    def test_large_batches(self):
        n = 30_000
        w = Process("steps.py:upper", dir=self.dir.name, batch=True)
        self.addCleanup(w.close)
        w.next()
        data = listed(*[(TEXT, b"%d" % i) for i in range(n)])
        w.inside[64 : 64 + len(data)] = data
        from tandem_worker.frames import head, span_in

        w.sock.sendall(head.pack(32, 3, LIST | 8, 0, 7) + span_in.pack(64, len(data)))
        self.assertEqual([w.answer()[2] for _ in range(n + 1)], [b"%d" % i for i in range(n)] + [b""])


class Lists(unittest.TestCase):
    def test_lists(self):
        self.assertEqual(decode(LIST, ABC), ["a", "b", "c"])
        self.assertEqual(decode(LIST, b""), [])
        self.assertEqual(decode(LIST, memoryview(listed((JSON, b"1"), (0, b"")))), [1, None])
        self.assertEqual((decode_batch(LIST, ABC), decode_batch(JSON, b"[1]")), (["a", "b", "c"], [[1]]))
        for bad in (b"\x02", b"\x02\x01\0\0", b"\x02\x02\0\0\0a", b"\x02\xff\xff\xff\xffa", b"\x05\0\0\0\0", ABC + b"\0"):
            with self.assertRaises(BadList):
                decode(LIST, bad)

    def test_matched(self):
        self.assertEqual((matched(None, 2), matched([1], None), matched(None, None), matched([], 0)), ([None, None], [1], [None], []))
        for v, n in (([1], 2), (b"ab", 2), ("ab", 2), ({1, 2}, 2), (7, 1), (7, None)):
            with self.assertRaises(WrongCount):
                matched(v, n)


class Again(unittest.TestCase):
    def body(self, raiser):
        try:
            raiser()
        except BaseException as e:
            return error_body(e)

    def test_words(self):
        def raised(e, cause=None):
            def f():
                raise e from cause
            return self.body(f)

        class Busy(Retry):
            pass

        for e, cause, want in (
            (Retry("busy", after=5), None, ("yes", 5000, "busy", "Retry")), (Retry(after=0.25), None, ("yes", 250, "the handler asks for another attempt", "Retry")),
            (Retry("busy\nvery"), KeyError("x"), ("yes", 0, "busy", "KeyError")), (Retry, None, ("yes", 0, "the handler asks for another attempt", "Retry")),
            (Retry("x", 1, reason="quota"), KeyError("x"), ("yes", 1000, "x", "quota")), (Busy("x"), KeyError("x"), ("yes", 0, "x", "Busy")),
            (Permanent("bad"), None, ("never", None, "bad", "Permanent")), (Permanent(reason="gone"), None, ("never", None, "the handler says that no other attempt can help", "gone")),
            (ValueError("no"), None, (None, None, "ValueError: no", "ValueError")),
        ):
            got = raised(e, cause)
            self.assertEqual((got.get("again"), got.get("after_ms"), got["message"], got["reason"]), want)
            self.assertEqual(got["kind"], "exception")
            self.assertIn("Traceback", got["trace"])
            self.assertNotIn("tandem_worker", got["trace"].splitlines()[-1])

    def test_a_time_that_is_none(self):
        for after in (-1, float("nan"), float("inf"), "5"):
            with self.assertRaises((ValueError, TypeError)):
                Retry("x", after=after)

    def test_the_module_of_that_name_shadows_nothing(self):
        ours = "from tandem import Retry\ndef f(x): raise Retry('busy')\n"
        theirs = "import tandem{0}\nfrom tandem_worker import Retry\ndef f(x):\n    if x == 'mine': return tandem{0}.mine\n    raise Retry('busy')\n"
        for name, code, files in (
            ("ours", ours, {}), ("a module", theirs.format(""), {"tandem.py": "mine = 'module'\n"}),
            ("a package", theirs.format(""), {"tandem/__init__.py": "mine = 'package'\n"}), ("a directory", theirs.format(".steps"), {"tandem/steps.py": "mine = 'directory'\n"}),
        ):
            with self.subTest(name), tempfile.TemporaryDirectory() as d:
                for file, text in {"steps.py": code, **files}.items():
                    os.makedirs(os.path.dirname(os.path.join(d, file)), exist_ok=True)
                    with open(os.path.join(d, file), "w") as f:
                        f.write(text)
                w = Process("steps.py:f", dir=d)
                self.addCleanup(w.close)
                w.next()
                w.task(1, TEXT, b"x")
                self.assertEqual(w.answer()[2]["again"], "yes")
                if files:
                    w.task(2, TEXT, b"mine")
                    self.assertEqual(w.answer()[2].decode(), name.split()[-1])


if __name__ == "__main__":
    unittest.main()
