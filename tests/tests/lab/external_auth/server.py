"""An authorization server that does what the Authorization of a request says, and tells it what it was told of the request.
Port 9000 speaks HTTP, port 9001 Envoy's protocol over gRPC. Port 9003 is a backend that counts: `/fail` is answered 503, and
`/counts` what has been counted, of questions too."""

import json
import socket
import threading

counts = {"asked": 0, "served": 0}


def request(reader):
    """The request's line, and its fields with the body."""
    head, fields = reader.head()
    body, _ = reader.body(fields)
    return head.split("\r\n")[0], fields, body.decode()


def answer(status, fields="", body=""):
    return f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def by_http(connection, reader):
    line, fields, body = request(reader)
    counts["asked"] += 1
    told = json.dumps({"line": line, "fields": fields, "body": body})
    allowed = f"X-User: jason\r\nX-Told: {told}\r\nHost: evil.example\r\nX-Mine: 1\r\nConnection: X-Mine\r\n"
    match fields.get("authorization"):
        case "allow":
            connection.sendall(answer("200 OK", allowed + "Content-Type: text/plain\r\n", "welcome"))
        case "login":
            connection.sendall(answer("302 Found", "Location: https://login.example/\r\nSet-Cookie: a=1\r\n"))
        case "empty":
            connection.sendall(answer("204 No Content", allowed))
        case "silent":
            reader.more()
        case "broken":
            connection.close()
        case _:
            connection.sendall(answer("401 Unauthorized", "WWW-Authenticate: Basic\r\n", told))


def counting(connection, reader):
    line, _, _ = request(reader)
    path = line.split(" ")[1]
    if path == "/counts":
        return connection.sendall(answer("200 OK", body=json.dumps(counts)))
    counts["served"] += 1
    connection.sendall(answer("503 Service Unavailable" if path == "/fail" else "200 OK"))


def varint(data, at):
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value, shift = value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at


def read(message):
    """The fields of a message of protobuf, by number."""
    fields, at = {}, 0
    while at < len(message):
        key, at = varint(message, at)
        value, at = varint(message, at)
        if key & 7 == 2:
            value, at = message[at : at + value], at + value
        fields.setdefault(key >> 3, []).append(value)
    return fields


def written(number, value):
    length, data = len(value), bytearray([number << 3 | 2])
    while length > 127:
        data.append(length & 127 | 128)
        length >>= 7
    return bytes(data + bytes([length])) + value


def integer(number, value):
    return bytes([number << 3, value & 127 | (128 if value > 127 else 0)]) + (bytes([value >> 7]) if value > 127 else b"")


def option(number, name, value):
    return written(number, written(1, written(1, name.encode()) + written(2, value.encode())))


def check(message):
    """The answer to a call, and its grpc-status."""
    counts["asked"] += 1
    attributes = read(read(message)[1][0])
    http = read(read(attributes[4][0])[2][0])
    entries = [read(entry) for entry in http.get(3, [])]
    fields = {entry[1][0].decode(): entry[2][0].decode() for entry in entries}
    text = lambda number: http.get(number, [b""])[0].decode()
    told = json.dumps({
        "method": text(2), "path": text(4), "host": text(5), "scheme": text(6), "protocol": text(10), "body": text(11),
        "fields": fields, "source": read(attributes[1][0]).get(4, [b""])[0].decode(),
    })
    match fields.get("authorization"):
        case "allow":
            ok = option(2, "X-User", "jason") + option(2, "x-told", told) + option(2, ":authority", "evil.example")
            ok += written(5, b"authorization") + option(6, "set-cookie", "a=1") + option(6, "set-cookie", "b=2")
            return written(1, b"") + written(3, ok), 0
        case "empty":
            return b"", 0
        case "failed":
            return b"", 13
        case "plain":
            return written(1, integer(1, 7)), 0
        case _:
            denied = written(1, integer(1, 401)) + option(2, "www-authenticate", "Basic") + written(3, told.encode())
            return written(1, integer(1, 16)) + written(2, denied), 0


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def by_call(connection, reader):
    reader.exactly(24)
    connection.sendall(frame(4, 0, 0, b""))
    calls = {}
    while True:
        header = reader.exactly(9)
        payload = reader.exactly(int.from_bytes(header[:3], "big"))
        kind, flags, stream = header[3], header[4], int.from_bytes(header[5:9], "big")
        if kind == 4 and not flags & 1:
            connection.sendall(frame(4, 1, 0, b""))
        elif kind == 6 and not flags & 1:
            connection.sendall(frame(6, 1, 0, payload))
        elif kind == 0:
            calls[stream] = calls.get(stream, b"") + payload
            if payload:
                connection.sendall(frame(8, 0, 0, len(payload).to_bytes(4, "big")))
        if kind in (0, 1) and flags & 1:
            message, status = check(calls.pop(stream)[5:])
            # :status 200, content-type by its index in the static table, and the trailer as a literal.
            head = frame(1, 4, stream, b"\x88\x0f\x10\x10application/grpc")
            data = frame(0, 0, stream, b"\0" + len(message).to_bytes(4, "big") + message)
            code = str(status).encode()
            trailers = frame(1, 5, stream, b"\x00\x0bgrpc-status" + bytes([len(code)]) + code)
            connection.sendall(head + data + trailers)


def serve(connection, one):
    reader = Reader(connection)
    try:
        while True:
            one(connection, reader)
    except (Ended, OSError, ValueError):
        pass
    finally:
        connection.close()


def listen(port, one):
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    while True:
        accepted, _ = listener.accept()
        threading.Thread(target=serve, args=(accepted, one), daemon=True).start()


for port, one in ((9001, by_call), (9003, counting)):
    threading.Thread(target=listen, args=(port, one), daemon=True).start()
listen(9000, by_http)
