"""HTTP/1.1 as the backends of these tests read it. It stands before each of their programs."""


class Ended(Exception):
    pass


class Reader:
    def __init__(self, connection):
        self.connection, self.ahead = connection, b""

    def more(self):
        piece = self.connection.recv(65536)
        if not piece:
            raise Ended
        self.ahead += piece

    def until(self, mark):
        while mark not in self.ahead:
            self.more()
        found, _, self.ahead = self.ahead.partition(mark)
        return found

    def exactly(self, count):
        while len(self.ahead) < count:
            self.more()
        found, self.ahead = self.ahead[:count], self.ahead[count:]
        return found

    def head(self):
        """The head of a request, and its fields by their names in lower case, the first of each."""
        head = self.until(b"\r\n\r\n").decode("latin-1")
        fields = {}
        for line in head.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            fields.setdefault(name.lower(), value.strip())
        return head, fields

    def body(self, fields):
        """The body, and the lines of its trailers."""
        if "transfer-encoding" in fields:
            body = b""
            while (size := int(self.until(b"\r\n").split(b";")[0], 16)) > 0:
                body += self.exactly(size)
                self.exactly(2)
            trailers = []
            while line := self.until(b"\r\n"):
                trailers.append(line.decode())
            return body, trailers
        return self.exactly(int(fields.get("content-length", 0))), []


