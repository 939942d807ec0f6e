"""An HTTP proxy in front of an S3 store that breaks chosen requests."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable

FAULTS = ("slow-down", "internal-error", "reset", "reply-lost", "stall", "half-a-body")

# (number of the request from 1, method, path) -> one of FAULTS, or nothing
Script = Callable[[int, str, str], str | None]

ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>"


def at_random(seed: int, share: float) -> Script:
    draw = random.Random(seed)
    lock = threading.Lock()

    def script(_number: int, _method: str, _path: str) -> str | None:
        with lock:
            return draw.choice(FAULTS) if draw.random() < share else None

    return script


class Connection:
    def __init__(self, link: socket.socket) -> None:
        self.link = link
        self.rest = bytearray()

    def until(self, mark: bytes) -> bytes:
        while mark not in self.rest:
            self._more()
        return self.exactly(self.rest.index(mark) + len(mark))

    def exactly(self, size: int) -> bytes:
        while len(self.rest) < size:
            self._more()
        taken = bytes(self.rest[:size])
        del self.rest[:size]
        return taken

    def body(self, head: bytes) -> bytes:
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
        if b"chunked" in fields.get(b"transfer-encoding", b""):
            parts = bytearray()
            while True:
                size = self.until(b"\r\n")
                parts += size
                length = int(size.split(b";")[0], 16)
                if length == 0:
                    while (line := self.until(b"\r\n")) != b"\r\n":  # trailers
                        parts += line
                    return bytes(parts + b"\r\n")
                parts += self.exactly(length + 2)
        return self.exactly(int(fields.get(b"content-length", b"0")))

    def _more(self) -> None:
        got = self.link.recv(1 << 20)
        if not got:
            raise ConnectionError("closed")
        self.rest += got


class S3Proxy:
    def __init__(self, host: str, port: int, script: Script | None = None, stall_s: float = 5.0) -> None:
        self.script: Script = script or (lambda _number, _method, _path: None)
        self.hits: Counter[str] = Counter()
        self.requests = 0
        self._upstream = (host, port)
        self._stall_s = stall_s
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._server.accept()
                link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        with contextlib.suppress(OSError), link:
            client = Connection(link)
            while self._exchange(client):
                pass

    def _exchange(self, client: Connection) -> bool:
        head = client.until(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        with self._lock:
            self.requests += 1
            fault = self.script(self.requests, method, path)
            if fault is not None:
                self.hits[fault] += 1
        if fault == "stall":  # neither the body is read nor a reply sent
            time.sleep(self._stall_s)
            return False
        if fault == "reset":
            self._reset(client)
            return False
        if b"\r\nexpect: 100-continue" in head.lower():
            client.link.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = client.body(head)
        if fault in ("slow-down", "internal-error"):
            code, status = ("SlowDown", 503) if fault == "slow-down" else ("InternalError", 500)
            text = "" if method == "HEAD" else ERROR.format(code=code)
            client.link.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
            return True
        reply_head, reply_body = self._ask(head, body, method)
        if fault == "reply-lost":
            self._reset(client)
            return False
        if fault == "half-a-body":
            client.link.sendall(reply_head + reply_body[: len(reply_body) // 2])
            return False
        client.link.sendall(reply_head + reply_body)
        return True

    def _ask(self, head: bytes, body: bytes, method: str) -> tuple[bytes, bytes]:
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:")]
        with socket.create_connection(self._upstream, timeout=30) as link:
            link.sendall(b"\r\n".join(lines) + body)
            store = Connection(link)
            reply = store.until(b"\r\n\r\n")
            while reply.startswith(b"HTTP/1.1 100"):
                reply = store.until(b"\r\n\r\n")
            status = int(reply.split(b" ", 2)[1])
            if method == "HEAD" or status in (204, 304):
                return reply, b""
            return reply, store.body(reply)

    @staticmethod
    def _reset(client: Connection) -> None:
        client.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.link.close()
