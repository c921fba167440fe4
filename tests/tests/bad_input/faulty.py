"""An HTTP server that misbehaves as the last segment of a request's path says, and tells at /seen what reached it."""

import json
import socket
import struct
import threading

seen = []
lock = threading.Lock()
connections = 0


def answer(body, status="200 OK"):
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise Ended


def misbehave(connection, how):
    """Whether the connection stays open."""
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"h" * 500
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10\r\nhalf"
    if how in ("half-reset", "half-chunked-reset"):
        connection.sendall(half if how == "half-reset" else chunks)
        # What was sent must have left before the reset overtakes it.
        connection.settimeout(0.2)
        try:
            connection.recv(1)
        except TimeoutError:
            pass
        reset(connection)
    elif how == "half-closed":
        connection.sendall(half)
    elif how == "half-chunked-closed":
        connection.sendall(chunks)
    elif how == "bad-chunk":
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")
    elif how == "two-lengths":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
    elif how == "garbage":
        connection.sendall(b"\x00\x01\x02 this is no response\r\n\r\n")
    elif how == "huge-head":
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Huge: " + b"h" * 300_000 + b"\r\n\r\n")
    elif how == "overrun":
        connection.sendall(answer(b"hello") + answer(b"poison"))
        return True
    elif how == "silent":
        connection.settimeout(30)
        connection.recv(1)
    elif how == "reset":
        reset(connection)
    elif how == "seen":
        with lock:
            connection.sendall(answer(json.dumps(seen).encode()))
        return True
    elif how != "closed":
        connection.sendall(answer(b"good"))
        return True
    return False


def serve(connection, number):
    reader = Reader(connection)
    try:
        while True:
            head, fields = reader.head()
            how = head.split(" ")[1].rsplit("/")[-1]
            request = {"connection": number, "head": head, "complete": False}
            with lock:
                seen.append(request)
                del seen[:-200]
            reader.body(fields)
            request["complete"] = True
            if not misbehave(connection, how):
                return
    except (Ended, OSError, ValueError):
        pass
    finally:
        connection.close()


listener = socket.create_server(("::", 8080), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
while True:
    accepted, _ = listener.accept()
    connections += 1
    threading.Thread(target=serve, args=(accepted, connections), daemon=True).start()
