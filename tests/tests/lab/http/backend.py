"""A backend that does what the path of a request says. Port 8080 speaks HTTP/1.1 and tells what reached it as JSON; port 8081
speaks HTTP/2 and streams."""

import base64
import hashlib
import json
import socket
import threading

state = {"streamed": 0}


def answer(body, status="200 OK", fields=""):
    return f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


def switched(fields):
    extra = ""
    if "sec-websocket-key" in fields:
        proof = hashlib.sha1((fields["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode())
        extra = f"Sec-WebSocket-Accept: {base64.b64encode(proof.digest()).decode()}\r\n"
    return f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {fields['upgrade']}\r\n{extra}\r\n".encode()


def one(connection, reader):
    """Whether the connection goes on."""
    head, fields = reader.head()
    path = head.split(" ")[1]
    if path == "/refuses-early":
        connection.sendall(answer(b"no", "403 Forbidden"))
        # Closed with bytes unread, the connection would be reset, and the answer could be lost.
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass
        return False
    if path == "/hints":
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: X-Mine\r\nX-Mine: 1\r\n\r\n")
    if path.startswith("/switches") and "upgrade" in fields:
        connection.sendall(switched(fields))
        while piece := reader.ahead or connection.recv(65536):
            reader.ahead = b""
            connection.sendall(piece)
        return False
    if path == "/counted":
        connection.sendall(answer(str(state["streamed"]).encode()))
        return True
    if fields.get("expect") and path != "/never-continues":
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    body, trailers = reader.body(fields)
    seen = json.dumps({"head": head, "fields": fields, "body": body.decode(), "trailers": trailers}).encode()
    if path == "/trailers":
        pieces = [b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (seen[:20], seen[20:])]
        start = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        connection.sendall(start + b"".join(pieces) + b"0\r\nX-Sum: 7\r\nX-Unsaid: 8\r\n\r\n")
    elif path == "/hop-by-hop":
        extra = "Connection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=9\r\nX-Theirs: 2\r\n"
        connection.sendall(answer(seen, fields=extra))
    elif path == "/until-close":
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + seen)
        return False
    else:
        connection.sendall(answer(seen))
    return True


def serve(connection):
    reader = Reader(connection)
    try:
        while one(connection, reader):
            pass
    except (Ended, OSError, ValueError):
        pass
    finally:
        connection.close()


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def stream_frames(connection):
    """Answers one request after another with messages, as many as its peer takes: it keeps to the windows of HTTP/2."""
    reader = Reader(connection)
    message = b"\0\0\0\x3f\xfb" + b"m" * 16379
    try:
        reader.exactly(24)
        connection.sendall(frame(4, 0, 0, b""))
        # What the stream and the connection may still carry.
        initial, of_stream, of_all, stream, sent = 65535, 0, 65535, 0, 0
        while True:
            header = reader.exactly(9)
            payload = reader.exactly(int.from_bytes(header[:3], "big"))
            kind, flags, number = header[3], header[4], int.from_bytes(header[5:9], "big")
            if kind == 4 and not flags & 1:
                for at in range(0, len(payload), 6):
                    if payload[at : at + 2] == b"\0\x04":
                        size = int.from_bytes(payload[at + 2 : at + 6], "big")
                        initial, of_stream = size, of_stream + size - initial
                connection.sendall(frame(4, 1, 0, b""))
            elif kind == 6 and not flags & 1:
                connection.sendall(frame(6, 1, 0, payload))
            elif kind == 8 and number == 0:
                of_all += int.from_bytes(payload, "big")
            elif kind == 8 and number == stream:
                of_stream += int.from_bytes(payload, "big")
            elif kind == 3 and number == stream:
                stream = 0
            elif kind == 1 and not stream:
                stream, of_stream, sent = number, initial, 0
                # :status 200, and content-type as a literal by its index in the static table.
                connection.sendall(frame(1, 4, stream, b"\x88\x0f\x10\x10application/grpc"))
            # No more at once than so much: its peer may say something in between.
            for _ in range(16):
                if stream and min(of_stream, of_all) >= len(message):
                    connection.sendall(frame(0, 0, stream, message))
                    of_stream, of_all, sent = of_stream - len(message), of_all - len(message), sent + len(message)
                    state["streamed"] = sent
    except (Ended, OSError):
        connection.close()


def listen(port, handle):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    while True:
        accepted, _ = listener.accept()
        threading.Thread(target=handle, args=(accepted,), daemon=True).start()


threading.Thread(target=listen, args=(8081, stream_frames), daemon=True).start()
listen(8080, serve)
