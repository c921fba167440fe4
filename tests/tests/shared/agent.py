"""Makes raw TCP and TLS connections where it runs, on the orders of a test: one JSON object a line in, one out.

It knows nothing of HTTP. Bytes are hexadecimal.
"""

import json
import socket
import ssl
import struct
import sys
import time

connections = {}


def tls_context(tls):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([tls["alpn"]])
    if tls.get("certificate"):
        context.load_cert_chain(tls["certificate"], tls["key"])
    return context


def open_connection(order):
    connection = socket.create_connection((order["host"], order["port"]), timeout=order["timeout"])
    if order.get("tls"):
        connection = tls_context(order["tls"]).wrap_socket(connection, suppress_ragged_eofs=False)
    number = len(connections) + 1
    connections[number] = connection
    return {"id": number}


def send(order):
    connection = connections[order["id"]]
    connection.settimeout(10)
    connection.sendall(bytes.fromhex(order["data"]))
    if order.get("finish"):
        connection.shutdown(socket.SHUT_WR)
    return {}


def read(order):
    """Reads to the end of the stream, or as long as it is allowed to."""
    connection = connections[order["id"]]
    deadline = time.monotonic() + order["timeout"]
    data, end = b"", "open"
    while end == "open":
        left = deadline - time.monotonic()
        if left <= 0:
            break
        connection.settimeout(left)
        try:
            piece = connection.recv(65536)
        except TimeoutError:
            break
        except ssl.SSLEOFError:
            end = "truncated"
        except ssl.SSLError as error:
            end = "alert: " + str(error.reason)
        except OSError as error:
            end = "reset: " + str(error)
        else:
            data += piece
            if not piece:
                end = "eof"
    return {"data": data.hex(), "end": end}


def close(order):
    connection = connections[order["id"]]
    connections[order["id"]] = None
    if order.get("reset"):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif isinstance(connection, ssl.SSLSocket):
        connection.settimeout(1)
        try:
            # The end is said within TLS too, where the peer still listens.
            connection.unwrap()
        except OSError:
            pass
    connection.close()
    return {}


def exchange(order):
    """Opens, sends, reads to the end and closes; a peer that does not take everything may still have answered."""
    opened = open_connection(order)
    try:
        try:
            send(opened | {"data": order["data"]})
        except OSError:
            pass
        return read(opened | {"timeout": order["timeout"]})
    finally:
        close(opened)


ORDERS = {"open": open_connection, "send": send, "read": read, "close": close, "exchange": exchange}

for line in sys.stdin:
    order = json.loads(line)
    try:
        answer = ORDERS[order["order"]](order)
    except ssl.SSLError as error:
        answer = {"failed": "alert: " + str(error.reason)}
    except OSError as error:
        answer = {"failed": str(error)}
    print(json.dumps(answer), flush=True)
