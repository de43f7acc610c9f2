"""Articles by name on 127.0.0.1:8082, or the port that is named: GET, POST, PUT, PATCH, DELETE. GET / tells which there are."""
import http.server
import json
import sys

articles = {"ash": "Ash.", "elm": "Elm.", "yew": "Yew."}


class Articles(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/":
            return self.answer(200, articles)
        name = self.path[1:]
        self.answer(200 if name in articles else 404, {"text": articles.get(name)})

    def change(self):
        name, body = self.path[1:], self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.headers.get("Authorization") != "Bearer demo":
            return self.answer(401, {"error": "who are you?"})
        if self.command == "DELETE":
            return self.answer(200 if articles.pop(name, None) else 404, {})
        if self.command == "POST":
            body = json.loads(body)["text"]
        elif self.command == "PATCH":
            body = articles[name] + " " + body
        articles[name] = body
        self.answer(201 if self.command == "POST" else 200, {"characters": len(body)})

    do_POST = do_PUT = do_PATCH = do_DELETE = change

    def answer(self, status, value):
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8082), Articles)
print("listening on http://127.0.0.1:%d" % server.server_address[1], flush=True)
server.serve_forever()
