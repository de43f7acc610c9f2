"""A server that answers after a while: the other side of the programs that wait."""
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Slow(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    n = int(sys.argv[1])
    def do_GET(self):
        Slow.n = (Slow.n * 1103515245 + 12345) & 0x7FFFFFFF
        time.sleep(0.03 + (Slow.n >> 8) % 40 / 1000)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *a):
        pass

class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

s = Server(("127.0.0.1", 0), Slow)
print(s.server_address[1], flush=True)
s.serve_forever()
