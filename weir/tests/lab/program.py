#!/usr/bin/env python3
"""Stands in for each of the mesh's programs, by its own name: it is ready, takes every pod in, and logs its flags.
As a mesh-node it also answers on port 18080 of its node."""
import http.server
import json
import os
import socketserver
import sys
import threading

flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print(json.dumps(flags), file=sys.stderr, flush=True)
name = os.path.basename(sys.argv[0])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        text = f'{{"captured":true,"node":"{flags.get("--node", "")}","client":"{self.client_address[0:1]}"}}'.encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Admin(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def tcp(address, port):
    # Not an HTTPServer, which would look its own name up before it listens.
    server = socketserver.ThreadingTCPServer((address, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


if name == "cert-authority":
    host, port = flags["--listen"].rsplit(":", 1)
    tcp(host, int(port))
    with open(flags["--bundle-out"], "w") as bundle:
        bundle.write("-----BEGIN CERTIFICATE-----\n")
    threading.Event().wait()
else:
    assert len(open(flags["--token-file"]).read()) == 64
    if name == "mesh-node":
        tcp(flags["--node-ip"], 18080)
    if os.path.exists(flags["--admin"]):
        os.unlink(flags["--admin"])
    Admin(flags["--admin"], Handler).serve_forever()
