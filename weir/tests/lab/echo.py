"""Answers every GET with the pod's name, its version and the client's address; ends without an answer on /crash."""
import http.server
import os
import socket


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        # Only a pod's own loopback may crash it, so that a probe of /crash fails without ending the container.
        if self.path == "/crash" and "127.0.0.1" in self.client_address[0]:
            os._exit(1)
        status = 500 if self.path == "/crash" else 200
        text = f"{os.uname().nodename} {os.environ['VERSION']} {self.client_address[0]}\n".encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


Server(("::", 8080), Handler).serve_forever()
