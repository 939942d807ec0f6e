"""Clients that no server should have: run against an HTTP server as a program of its own.

python tests/bad_clients.py HOST:PORT CLIENTS_OF_EACH_KIND SECONDS PAUSE: each client does what its kind does, until the
server closes, and comes again after about PAUSE seconds. Prints what came of it as JSON: how often each kind connected
and which answers it got.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Kind = Callable[[Reader, Writer], Awaitable[bytes]]

POST = b"POST /metrics HTTP/1.1\r\nHost: localhost\r\n"


async def answer(reader: Reader) -> bytes:
    """The first bytes that come; then the rest is read until the server closes."""
    first = await reader.read(4096)
    while await reader.read(65536):
        pass
    return first


async def on_and_on(writer: Writer, part: bytes, pause: float) -> None:
    while True:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(pause)


async def sends_without_end(reader: Reader, writer: Writer, begin: bytes, part: bytes, pause: float) -> bytes:
    writer.write(begin)
    sending = asyncio.create_task(on_and_on(writer, part, pause))
    try:
        return await answer(reader)
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await sending


async def silent(reader: Reader, writer: Writer) -> bytes:
    return await answer(reader)


async def half_a_line(reader: Reader, writer: Writer) -> bytes:
    writer.write(b"GET /liv")
    return await answer(reader)


async def byte_by_byte(reader: Reader, writer: Writer) -> bytes:
    return await sends_without_end(reader, writer, b"GET /", b"a", 0.2)


async def headers_without_end(reader: Reader, writer: Writer) -> bytes:
    return await sends_without_end(reader, writer, b"GET / HTTP/1.1\r\n", b"X-Filler: " + b"x" * 500 + b"\r\n", 0.05)


async def body_without_end(reader: Reader, writer: Writer) -> bytes:
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    return await sends_without_end(reader, writer, POST + b"Transfer-Encoding: chunked\r\n\r\n", chunk, 0.1)


async def huge_length(reader: Reader, writer: Writer) -> bytes:
    begin = POST + b"Content-Length: 1000000000000\r\n\r\n"
    return await sends_without_end(reader, writer, begin, b"x" * 0x8000, 0.1)


async def slow_reader(reader: Reader, writer: Writer) -> bytes:
    """Asks for much and takes nothing: sees only that it cannot send any more."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await on_and_on(writer, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20, 0.5)
    return b""


async def pipelined(reader: Reader, writer: Writer) -> bytes:
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)
    return await answer(reader)


async def nul_bytes(reader: Reader, writer: Writer) -> bytes:
    writer.write(b"\0" * 4096)
    return await answer(reader)


async def noise(reader: Reader, writer: Writer) -> bytes:
    writer.write(random.randbytes(2048) + b"\r\n\r\n")
    return await answer(reader)


async def keeps_open(reader: Reader, writer: Writer) -> bytes:
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return await answer(reader)


async def goes_at_once(reader: Reader, writer: Writer) -> bytes:
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return b""


KINDS: tuple[Kind, ...] = (
    silent,
    half_a_line,
    byte_by_byte,
    headers_without_end,
    body_without_end,
    huge_length,
    slow_reader,
    pipelined,
    nul_bytes,
    noise,
    keeps_open,
    goes_at_once,
)


async def client(kind: Kind, host: str, port: int, until: float, pause: float, seen: dict[str, Counter[str]]) -> None:
    await asyncio.sleep(random.uniform(0, pause))
    while time.monotonic() < until:
        told = seen[kind.__name__]
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            told[type(error).__name__] += 1
        else:
            told["connected"] += 1
            try:
                first = await asyncio.wait_for(kind(reader, writer), max(0.1, until - time.monotonic()))
                told[first[9:12].decode("ascii", "replace") or "closed"] += 1
            except asyncio.TimeoutError:
                told["open at the end"] += 1
            except OSError:
                told["closed"] += 1
            writer.transport.abort()
        await asyncio.sleep(min(pause * random.uniform(0.5, 1.5), max(0.0, until - time.monotonic())))


async def attack(address: str, count: int, seconds: float, pause: float) -> dict[str, Counter[str]]:
    host, port = address.rsplit(":", 1)
    until = time.monotonic() + seconds
    seen: dict[str, Counter[str]] = {kind.__name__: Counter() for kind in KINDS}
    await asyncio.gather(*(client(kind, host, int(port), until, pause, seen) for kind in KINDS for _ in range(count)))
    return seen


if __name__ == "__main__":
    print(json.dumps(asyncio.run(attack(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))))
