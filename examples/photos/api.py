"""A small API to upload to: POST /upload on 127.0.0.1:8080, or the port that is named. It answers after a fifth of a second.

Like every API it is at times too busy (503) or asks for a pause (429 with Retry-After). GET / tells what it has got.
"""
import http.server
import json
import sys
import threading
import time
from urllib.parse import parse_qs, urlparse

lock = threading.Lock()
got = {"requests": 0, "refused": 0, "pictures": {}}


class Upload(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with lock:
            self.answer(200, got)

    def do_POST(self):
        picture = self.rfile.read(int(self.headers["Content-Length"]))
        with lock:
            got["requests"] += 1
            n = got["requests"]
            got["refused"] += n % 10 in (3, 7)
        if n % 10 == 3:
            return self.answer(503, {"error": "busy"})
        if n % 10 == 7:
            return self.answer(429, {"error": "slow down"}, {"Retry-After": "0"})
        time.sleep(0.2)
        name = parse_qs(urlparse(self.path).query).get("name", ["picture %d" % n])[0]
        with lock:
            got["pictures"][name] = len(picture)
        self.answer(201, {"bytes": len(picture)})

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


server = Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8080), Upload)
print("listening on http://127.0.0.1:%d" % server.server_address[1], flush=True)
server.serve_forever()
