"""A stand-in for a language model's API: POST /v1/chat on 127.0.0.1:8081, or the port that is named.

It is as moody as the real ones: what comes while eight others are being answered gets a 429, and so does a request now and then for no reason; some get a 500. It
takes a twentieth of a second for an answer and knows by the Idempotency-Key what it has answered already. GET /stats tells what it was asked.
"""
import http.server
import json
import re
import sys
import threading
import time

AT_ONCE = 8
lock = threading.Lock()
stats = {"requests": 0, "answered": 0, "again": 0, "refused": 0, "broken": 0, "most": 0}
inside = 0
answers = {}


def read(prompt):
    """What a model would find in the text."""

    def find(pattern):
        m = re.search(pattern, prompt, re.IGNORECASE | re.MULTILINE)
        return m.group(1).strip() if m else None

    total = find(r"^total:?\s*(?:EUR)?\s*(-?[0-9.]+)")
    return {"vendor": find(r"^from:\s*([^<\n]+)"), "date": find(r"^date:\s*(.+)$"), "total": float(total) if total else None}


class Chat(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with lock:
            self.answer(200, dict(stats))

    def do_POST(self):
        global inside
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Idempotency-Key")
        with lock:
            stats["requests"] += 1
            n, inside = stats["requests"], inside + 1
            stats["most"] = max(stats["most"], inside)
            crowded = inside > AT_ONCE
        try:
            if self.headers.get("Authorization") != "Bearer demo":
                self.answer(401, {"error": "who are you?"})
            elif crowded or n % 29 == 3:
                with lock:
                    stats["refused"] += 1
                self.answer(429, {"error": "slow down"}, {"Retry-After": "0"})
            elif n % 31 == 5:
                with lock:
                    stats["broken"] += 1
                self.answer(500, {"error": "try again"})
            else:
                time.sleep(0.05)
                with lock:
                    stats["answered"] += 1
                    asked, answer = answers.get(key, (None, None))
                    if asked == body["prompt"]:
                        stats["again"] += 1
                    else:
                        answer = read(body["prompt"])
                        answers[key] = body["prompt"], answer
                self.answer(200, answer)
        finally:
            with lock:
                inside -= 1

    def answer(self, status, value, headers={}):
        text = json.dumps(value).encode()
        self.send_response(status)
        for name, v in {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, v)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True

    def handle_error(self, *args):
        pass  # a client that was killed says nothing more


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8081), Chat)
    print("listening on http://127.0.0.1:%d" % server.server_address[1], flush=True)
    server.serve_forever()
