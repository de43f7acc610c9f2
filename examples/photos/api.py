"""A small API to upload to: POST /upload on 127.0.0.1:8080, answers after a fifth of a second."""
import http.server
import time


class Upload(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        size = len(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(0.2)
        answer = b'{"bytes": %d}' % size
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256


Server(("127.0.0.1", 8080), Upload).serve_forever()
