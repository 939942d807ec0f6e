"""A proxy before a server, which cuts, slows and stalls its connections on demand (toxiproxy)."""

from __future__ import annotations

import contextlib
import urllib.error
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from stack.messages import Kafka
from stack.pins import fetched
from stack.process import HOST, Server, free_port
from stack.tools import http


class Toxiproxy(Server):
    """Proxies by name. They outlive a restart of the proxy, what they were told to break does not."""

    name = "toxiproxy"
    default_ports: ClassVar = {"http": 8474}

    def __init__(self, folder: Path, ports: Mapping[str, int] | None = None, keep: bool = False) -> None:
        super().__init__(folder, ports, keep)
        self._proxies: dict[str, tuple[int, int]] = {}

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports['http']}"

    def command(self) -> Sequence[str | Path]:
        return [fetched("toxiproxy/toxiproxy-server"), "-host", HOST, "-port", str(self.ports["http"])]

    def check(self) -> str | None:
        try:
            http(f"{self.url}/proxies")
        except (urllib.error.URLError, OSError) as error:
            return f"{self.url}: {error}"
        return None

    def first_use(self) -> None:
        for name in self._proxies:
            self._create(name)

    def proxy(self, name: str, upstream_port: int, listen_port: int | None = None) -> int:
        """The port of the proxy of that name to a port of this machine, made where it is not there yet."""
        if name not in self._proxies:
            self._proxies[name] = (listen_port or free_port(), upstream_port)
            self._create(name)
        return self._proxies[name][0]

    def proxy_kafka(self, kafka: Kafka) -> str:
        """Bootstrap servers behind which every connection to the broker goes by the proxy named kafka."""
        self.proxy("kafka", kafka.ports["proxied"], kafka.ports["proxy"])
        return kafka.brokers_by_proxy

    def cut(self, name: str) -> None:
        """Ends every connection and refuses new ones, until `mend`."""
        http(f"{self.url}/proxies/{name}", {"enabled": False}, "POST")

    def add(self, name: str, kind: str, stream: str = "downstream", **attributes: float) -> None:
        """A toxic: latency(latency, jitter: ms), bandwidth(rate: KB/s), timeout(timeout: ms, 0 for ever),
        reset_peer(timeout: ms), slow_close(delay), slicer(average_size, size_variation, delay), limit_data(bytes).
        `stream`: downstream is what the server says, upstream what the client says."""
        body = {"name": f"{kind}_{stream}", "type": kind, "stream": stream, "attributes": attributes}
        http(f"{self.url}/proxies/{name}/toxics", body)

    def mend(self, name: str | None = None) -> None:
        """Takes every toxic away and lets connections in again: of one proxy, or of all."""
        for each in [name] if name else list(self._proxies):
            for toxic in http(f"{self.url}/proxies/{each}/toxics"):
                http(f"{self.url}/proxies/{each}/toxics/{toxic['name']}", method="DELETE")
            http(f"{self.url}/proxies/{each}", {"enabled": True}, "POST")

    @contextlib.contextmanager
    def stalled(self, name: str, stream: str = "downstream") -> Iterator[None]:
        """Connections stay open and what is said stays on the way; it arrives at the end."""
        self.add(name, "latency", stream, latency=3_600_000)
        try:
            yield
        finally:
            self.mend(name)

    @contextlib.contextmanager
    def losing(self, name: str, stream: str = "downstream") -> Iterator[None]:
        """What is said never arrives: downstream, a request is served and its reply lost. Connections end at the end,
        or when the side that speaks ends them."""
        self.add(name, "timeout", stream, timeout=0)
        try:
            yield
        finally:
            self.mend(name)

    def _create(self, name: str) -> None:
        listen, upstream = self._proxies[name]
        body = {"name": name, "listen": f"{HOST}:{listen}", "upstream": f"{HOST}:{upstream}", "enabled": True}
        http(f"{self.url}/populate", [body])
