"""An HTTP proxy in front of a REST catalog that breaks chosen requests, before or after they were applied."""

from __future__ import annotations

import json
import random
import threading
import time

from s3_proxy import Connection, S3Proxy, Script

# status and type of the error, as catalogs and the gateways before them give them
REPLIES = {
    "409": (409, "CommitFailedException"),
    "400": (400, "CommitFailedException"),
    "429": (429, "TooManyRequestsException"),
    "500": (500, "InternalServerError"),
    "500-unknown": (500, "CommitStateUnknownException"),
    "502": (502, "BadGateway"),
    "503": (503, "SlowDownException"),
    "504": (504, "GatewayTimeout"),
}
# What a catalog may say of a request that it did not apply, and of one that it did.
BEFORE = tuple(f"{code}-before" for code in REPLIES)
AFTER = ("500-after", "500-unknown-after", "502-after", "503-after", "504-after")
LOST = ("reset", "stall", "reply-lost", "half-a-body", "lands-later")
OF_COMMITS = (*BEFORE, *AFTER, *LOST)
OF_READS = ("500-before", "503-before", "504-before", "429-before", "reset", "stall", "half-a-body")


def at_random(seed: int, share: float) -> Script:
    """Breaks that share of the commits, and a fourth of it of all other requests."""
    draw = random.Random(seed)
    lock = threading.Lock()

    def script(_number: int, method: str, path: str) -> str | None:
        commit = method == "POST" and "/tables/" in path
        with lock:
            if draw.random() >= (share if commit else share / 4):
                return None
            return draw.choice(OF_COMMITS if commit else OF_READS)

    return script


class CatalogProxy(S3Proxy):
    def _exchange(self, client: Connection) -> bool:
        head = client.until(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        with self._lock:
            self.requests += 1
            fault = self.script(self.requests, method, path)
            if fault is not None:
                self.hits[fault] += 1
        if fault == "stall":
            time.sleep(self._stall_s)
            return False
        if b"\r\nexpect: 100-continue" in head.lower():
            client.link.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = client.body(head)
        if fault == "reset":
            self._reset(client)
            return False
        if fault == "lands-later":
            # The client hears nothing more of it, and may ask again before it is applied.
            self._reset(client)
            time.sleep(self._stall_s / 2)
            self._ask(head, body, method)
            return False
        if fault is not None and fault.endswith("-before"):
            return self._refuse(client, fault.removesuffix("-before"), method)
        reply_head, reply_body = self._ask(head, body, method)
        if fault is not None and fault.endswith("-after"):
            return self._refuse(client, fault.removesuffix("-after"), method)
        if fault == "reply-lost":
            self._reset(client)
            return False
        if fault == "half-a-body":
            client.link.sendall(reply_head + reply_body[: len(reply_body) // 2])
            return False
        client.link.sendall(reply_head + reply_body)
        return True

    @staticmethod
    def _refuse(client: Connection, fault: str, method: str) -> bool:
        status, kind = REPLIES[fault]
        text = json.dumps({"error": {"message": "injected", "type": kind, "code": status}})
        shown = "" if method == "HEAD" else text
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
        client.link.sendall((head + shown).encode())
        return True
