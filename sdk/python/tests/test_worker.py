"""The worker program as a process: modes, values, refusals, and what user code may do to it."""
import os
import pickle
import tempfile
import time
import unittest

from tandem_worker.values import decode, encoder

from .process import Process
from .handlers import Box

BYTES, TEXT, JSON, PICKLE = 1, 2, 3, 4


class Worker(unittest.TestCase):
    def start(self, handler, **more):
        w = Process(handler, **more)
        self.addCleanup(w.close)
        typ, _, _, payload = w.next()
        self.assertEqual(typ, 2, payload)
        return w

    def refused(self, handler, **more):
        w = Process(handler, **more)
        self.addCleanup(w.close)
        ident, what, body = w.answer()
        self.assertEqual((ident, what), (0, "error"))
        w.exit()
        return body

    def test_named_arguments(self):
        w = self.start("named", kwargs=True)
        w.task(1, JSON, b'{"a":1,"b":3}')
        w.task(2, JSON, b'{"c":1}')
        self.assertEqual(w.answer()[2], b"[1,3]")
        self.assertIn("unexpected keyword", w.answer()[2]["message"])

    def test_finished_results_do_not_wait_for_a_slow_task(self):
        w = self.start("slow_second")
        from tandem_worker.frames import head

        frame = lambda i, text: head.pack(16 + len(text), 3, TEXT, 0, i) + text  # noqa: E731
        w.sock.sendall(frame(1, b"quick") + frame(2, b"slow") + frame(3, b"quick"))
        begun = time.monotonic()
        self.assertEqual(w.answer()[0], 1)
        self.assertLess(time.monotonic() - begun, 0.6)
        self.assertEqual([w.answer()[0], w.answer()[0]], [2, 3])

    def test_threads_run_side_by_side(self):
        w = self.start("nap", mode="thread", threads=20)
        begun = time.monotonic()
        for i in range(20):
            w.task(i + 1, TEXT, b"0.5")
        self.assertEqual(sorted(w.answer()[0] for _ in range(20)), list(range(1, 21)))
        self.assertLess(time.monotonic() - begun, 5)

    def test_threads_with_large_results_in_a_small_ring(self):
        w = self.start("big", mode="thread", threads=8)
        for i in range(40):
            w.task(i + 1, JSON, b"300000")
        from tandem_worker.frames import span_out

        for _ in range(40):
            typ, flags, _, payload = w.next()
            self.assertEqual((typ, flags), (4, 9))
            time.sleep(0.002)
            w.release(span_out.unpack(payload[8:])[2])

    def test_async_runs_side_by_side_and_cancels(self):
        w = self.start("anap", concurrency=50)
        begun = time.monotonic()
        w.task(99, TEXT, b"60")
        for i in range(49):
            w.task(i + 1, TEXT, b"0.5")
        self.assertEqual(sorted(w.answer()[0] for _ in range(49)), list(range(1, 50)))
        self.assertLess(time.monotonic() - begun, 5)
        from tandem_worker.frames import head

        w.sock.sendall(head.pack(16, 6, 0, 0, 99))
        ident, what, body = w.answer()
        self.assertEqual((ident, what, body["kind"]), (99, "error", "canceled"))

    def test_async_is_bounded(self):
        w = self.start("anap", concurrency=2)
        for i in range(4):
            w.task(i + 1, TEXT, b"0.3")
        time.sleep(0.15)
        self.assertEqual(w.words[16], 2, "started")
        for _ in range(4):
            w.answer()

    def test_async_generators_and_large_results(self):
        w = self.start("athree")
        w.task(1, TEXT, b"x")
        self.assertEqual([w.answer()[2] for _ in range(4)], [b"x0", b"x1", b"x2", b""])
        w = self.start("abig")
        for i in range(8):
            w.task(i + 1, JSON, b"300000")
        from tandem_worker.frames import span_out

        for _ in range(8):
            _, flags, _, payload = w.next()
            self.assertEqual(flags, 9)
            w.release(span_out.unpack(payload[8:])[2])

    def test_async_handlers_in_other_modes(self):
        for mode, threads in (("process", 1), ("thread", 4)):
            w = self.start("anap", mode=mode, threads=threads)
            w.task(1, TEXT, b"0.01")
            self.assertEqual(w.answer()[2], b"0.01")

    def test_output_of_the_handler_stays_its_own(self):
        w = self.start("noisy")
        w.task(1, TEXT, b"x")
        self.assertEqual(w.answer()[2], b"x")
        w.sock.close()
        code, out, err = w.exit()
        self.assertEqual((code, out), (0, "to stdout\nraw\n"))
        self.assertIn("to stderr", err)

    def test_what_handlers_do_wrong_is_an_error_not_the_end(self):
        for handler, kind, message in (("odd", "unserialisable", "type set"), ("leaves", "exception", "SystemExit: 3"), ("interrupts", "exception", "KeyboardInterrupt"),
                                       ("unprintable", "exception", "Unprintable")):
            with self.subTest(handler):
                w = self.start(handler)
                for i in (1, 2):
                    w.task(i, TEXT, b"x")
                    ident, what, body = w.answer()
                    self.assertEqual((ident, what, body["kind"]), (i, "error", kind))
                    self.assertIn(message, body["message"])

    def test_the_trace_begins_at_the_handler(self):
        w = self.start("fail")
        w.task(1, TEXT, b"x")
        trace = w.answer()[2]["trace"]
        self.assertIn('raise ValueError("bad header")', trace)
        self.assertNotIn("tandem_worker", trace)

    def test_views_are_lent(self):
        """A handler whose argument is a memoryview gets large bytes without a copy, and small ones, and other kinds, as they are."""
        from tandem_worker.frames import head, span_in

        for handler, more, want in (("view_size", {}, b'["memoryview",%d,true]'), ("view_back", {}, b"zzzzzzzzzz"), ("view_async", {}, b"%d"), ("view_size", dict(mode="thread", threads=2), b'["memoryview",%d,true]')):
            with self.subTest(handler, **more):
                w = self.start(handler, **more)
                w.inside[64:9064] = b"z" * 9000
                w.sock.sendall(head.pack(32, 3, BYTES | 8, 0, 1) + span_in.pack(64, 9000))
                self.assertEqual(w.answer()[2], want % 9000 if b"%" in want else want)
                w.task(2, BYTES, b"z" * 10)
                self.assertEqual(w.answer()[2], want % 10 if b"%" in want else want)
        w = self.start("view_parts")
        w.task(1, BYTES, b"abc")
        self.assertEqual([w.answer()[2] for _ in range(3)], [b"ab", b"3", b""])
        for more in ({}, dict(mode="thread", threads=2)):
            w = self.start("view_kept", **more)
            w.task(1, BYTES, b"abc")
            ident, what, body = w.answer()
            self.assertEqual((ident, what), (1, "error"))
            self.assertIn("still holds", body["message"])
            self.assertIn("copy what you keep", body["hint"])

    def test_pickle_between_python_steps(self):
        w = self.start("boxed", output="pickle")
        w.task(1, TEXT, b"x")
        _, flags, data = w.answer()
        self.assertEqual(flags, PICKLE)
        self.assertIn(b"Box", data)
        w = self.start("same", output="pickle")
        w.task(1, PICKLE, pickle.dumps({"a": (1, 2)}))
        _, flags, data = w.answer()
        self.assertEqual((flags, pickle.loads(data)), (PICKLE, {"a": (1, 2)}))

    def test_stdin_is_empty_and_the_mark_is_gone(self):
        for handler, want in (("stdin", b""), ("env", b"gone")):
            w = self.start(handler)
            w.task(1, TEXT, b"x")
            self.assertEqual(w.answer()[2], want)

    def test_a_surviving_child_does_not_hold_the_channel(self):
        w = self.start("forks")
        w.task(1, TEXT, b"x")
        w.answer()
        w.child.kill()
        with self.assertRaises(EOFError):
            w.next(1.5)

    def test_refusals_say_why(self):
        self.assertIn("did you mean same", self.refused("sane")["hint"])
        self.assertIn("type int", self.refused("value")["message"])
        self.assertIn("plain function", self.refused("same", mode="async")["message"])
        self.assertIn("no such file", self.refused("missing.py:f")["message"])
        self.assertIn("ModuleNotFoundError", self.refused("no_such_module_here:f")["message"])
        self.assertIn("names no handler", self.refused("handlers.py:")["message"])
        with tempfile.TemporaryDirectory() as d:
            with open(os.path.join(d, "with-dash.py"), "w") as f:
                f.write("x = 1\ny = x / 0\n")
            body = self.refused("with-dash.py:f", dir=d)
            self.assertIn("ZeroDivisionError", body["message"])
            self.assertIn("y = x / 0", body["trace"])

    def test_a_file_that_is_no_module_name(self):
        with tempfile.TemporaryDirectory() as d:
            with open(os.path.join(d, "my steps.py"), "w") as f:
                f.write("import near\ndef f(x): return near.y\n")
            with open(os.path.join(d, "near.py"), "w") as f:
                f.write("y = 'near'\n")
            w = self.start("my steps.py:f", dir=d)
            w.task(1, TEXT, b"x")
            self.assertEqual(w.answer()[2], b"near")


class Values(unittest.TestCase):
    def test_what_goes_out_comes_back(self):
        encode = encoder("json")
        for v in (None, b"", b"\x00\xff", "grün", "gr\udcfcn", 0, -1, 10**30, 1.5, True, False, [], {"a": [1, None, "ü"]}, "", 10**18, -(10**18)):
            kind, data = encode(v)
            got = decode(kind, data)
            self.assertEqual((got, type(got)), (v, type(v)))

    def test_bytes_likes_are_bytes(self):
        encode = encoder("json")
        self.assertEqual(encode(bytearray(b"x")), (BYTES, b"x"))
        self.assertEqual(encode(memoryview(b"x")), (BYTES, b"x"))

    def test_what_json_cannot_hold(self):
        encode = encoder("json")
        deep = []
        for _ in range(100_000):
            deep = [deep]
        for v, says in (({1}, "type set"), (float("nan"), "JSON"), (Box(1), "type Box"), (deep, "type list"), ("ok", None), (["\udcff"], None)):
            if says is None:
                encode(v)
                continue
            with self.assertRaises(Exception) as caught:
                encode(v)
            self.assertIn(says, str(caught.exception))
        while deep:  # taking it apart at once would need as deep a stack
            deep = deep[0]


if __name__ == "__main__":
    unittest.main()
