"""What a running job tells Prometheus, in the names that `k2 run` has where it is the same (docs/metrics.md)."""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from k2 import __version__
from k2.spark import schemas
from k2.spark.engine.step import StepReport
from k2.spark.utils.errors import ConfigurationError, K2Error, RaceError, UnknownOutcomeError

_HELP = {
    "k2_build_info": ("gauge", "1, with the version of K2."),
    "k2_rows_total": ("counter", "Rows read (in) and written (out) by a layer."),
    "k2_rejected_rows_total": ("counter", "Messages rejected by Silver, by reason."),
    "k2_duplicate_rows_total": ("counter", "Rows dropped by Gold because it already holds their trade."),
    "k2_identity_conflicts_total": ("counter", "Trades that reached Gold with another trade's message_id."),
    "k2_commits_total": ("counter", "Commits by outcome."),
    "k2_lag_messages": ("gauge", "Messages in the upstream layer that the layer has not yet read."),
    "k2_lag_seconds": ("gauge", "How far the layer is behind its upstream, in time; 0 when it is up to date."),
    "k2_job_step_seconds_total": ("counter", "Time of steps, by part: plan, run, commit."),
    "k2_job_failures_total": ("counter", "Steps that failed and were retried, by error."),
    "k2_job_last_look_timestamp_seconds": ("gauge", "When the job last determined its lag."),
}
_TABLES = {
    "bronze": (schemas.BRONZE,),
    "silver": (*schemas.SILVER, schemas.REJECTED),
    "gold": (schemas.GOLD,),
}
# Of commits: another writer was first, or it may or may not be applied.
_OUTCOMES: tuple[tuple[type[K2Error], str], ...] = ((RaceError, "conflict"), (UnknownOutcomeError, "unknown"))


class Lag:
    """How far a layer is behind, in time. What came before it was last level has been taken; so has what came before
    the newest message that it has committed. The later of the two is how far it has come."""

    def __init__(self) -> None:
        self._newest_s = self._level_s = 0.0
        self._behind = False

    def took(self, step: StepReport | None) -> None:
        now = time.time()
        self._behind = step is not None and step.behind > 0
        if step is not None:
            self._newest_s = max(self._newest_s, min(step.newest_us / 1e6, now))  # a producer's clock may be ahead
        if not self._behind:
            self._level_s = now

    def seconds(self) -> float | None:
        """None: behind from the start on, and nothing committed that tells of a time."""
        if not self._behind:
            return 0.0
        reached = max(self._newest_s, self._level_s)
        return max(0.0, time.time() - reached) if reached else None


class _BoundedServer(ThreadingHTTPServer):
    """A thread a client, of which there are so many at most: beyond that the oldest makes place for the new one, so
    that clients that say nothing neither fill the memory nor keep others from an answer."""

    daemon_threads = True
    request_queue_size = 128
    connections_max = 32

    def __init__(self, *args: Any) -> None:
        self._open: list[socket.socket] = []
        self._open_lock = threading.Lock()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            for oldest in self._open[: len(self._open) - self.connections_max + 1]:
                self._open.remove(oldest)
                self._cut(oldest)
            self._open.append(request)
        super().process_request(request, client_address)

    @staticmethod
    def _cut(connection: socket.socket) -> None:
        try:
            connection.shutdown(socket.SHUT_RDWR)  # its thread sees the end, and closes it
        except OSError:
            return  # the client has gone already

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            if request in self._open:
                self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a client that goes, or is cut, is no error of the job
            super().handle_error(request, client_address)


def _is_loopback(host: str) -> bool:
    """Of a Host header, whatever its port."""
    try:
        name = urlsplit("//" + host).hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:  # no address
        return False


class JobMetrics:
    """Serves /metrics, to whom `host` lets in. `port` 0: a free one. On loopback a request's Host must be of loopback,
    too: a web page elsewhere could otherwise read it by a name of its own (docs/metrics.md, "Hosts")."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._lock = threading.Lock()
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._lags: dict[str, Lag] = {}
        metrics = self
        loopback = _is_loopback(f"[{host}]" if ":" in host else host)

        class Handler(BaseHTTPRequestHandler):
            timeout = 3  # seconds without a byte

            def do_GET(self) -> None:
                status, body = 404, b"/metrics\n"
                if loopback and not _is_loopback(self.headers.get("Host", "localhost")):
                    status, body = 421, b"the request's Host is not allowed by this server\n"
                elif self.path.split("?", 1)[0] == "/metrics":
                    status, body = 200, metrics.text().encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        try:
            self._server = _BoundedServer((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"--metrics-port {port} of {host} is not available to listen on: {error}. Give another one, or 0 for a "
                "free one"
            ) from None
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _add(self, name: str, value: float, **labels: str) -> None:
        key = (name, tuple(sorted(labels.items())))
        self._values[key] = self._values.get(key, 0.0) + value

    def begin(self, layer: str) -> None:
        """All counters of a layer, as 0: what is counted first is then seen as an increase."""
        with self._lock:
            self._values["k2_build_info", (("version", __version__),)] = 1
            for kind in ("in", "out"):
                self._add("k2_rows_total", 0, layer=layer, kind=kind)
            for table in _TABLES[layer]:
                for outcome in ("committed", *(outcome for _, outcome in _OUTCOMES)):
                    self._add("k2_commits_total", 0, layer=layer, table=table, outcome=outcome)
            for reason in schemas.REASONS if layer == "silver" else ():
                self._add("k2_rejected_rows_total", 0, reason=reason)
            if layer == "gold":
                self._add("k2_duplicate_rows_total", 0)
                self._add("k2_identity_conflicts_total", 0)

    def took(self, layer: str, step: StepReport | None) -> None:
        with self._lock:
            self._lags.setdefault(layer, Lag()).took(step)
            self._values["k2_lag_messages", (("layer", layer),)] = step.behind if step is not None else 0
            self._values["k2_job_last_look_timestamp_seconds", (("layer", layer),)] = time.time()
            if step is None:
                return
            self._add("k2_rows_total", step.rows_in, layer=layer, kind="in")
            self._add("k2_rows_total", step.rows_out, layer=layer, kind="out")
            if layer == "gold":
                self._add("k2_duplicate_rows_total", step.duplicates)
                self._add("k2_identity_conflicts_total", step.identity_conflicts)
            for table in step.tables:
                self._add("k2_commits_total", 1, layer=layer, table=table, outcome="committed")
            for reason, count in step.rejected.items():
                self._add("k2_rejected_rows_total", count, reason=reason)
            for part in ("plan", "run", "commit"):
                self._add("k2_job_step_seconds_total", getattr(step, f"{part}_seconds"), layer=layer, part=part)

    def failed(self, layer: str, error: Exception) -> None:
        with self._lock:
            self._add("k2_job_failures_total", 1, error=type(error).__name__)
            for kind, outcome in _OUTCOMES:
                if isinstance(error, kind):
                    tables = _TABLES[layer]
                    table = next((name for name in tables if name in str(error)), tables[-1])
                    self._add("k2_commits_total", 1, layer=layer, table=table, outcome=outcome)

    def text(self) -> str:
        lines = []
        with self._lock:
            for layer, lag in self._lags.items():
                key = ("k2_lag_seconds", (("layer", layer),))
                seconds = lag.seconds()
                if seconds is None:
                    self._values.pop(key, None)
                else:
                    self._values[key] = seconds
            for name, (kind, what) in _HELP.items():
                found = {labels: value for (known, labels), value in self._values.items() if known == name}
                if not found:
                    continue
                lines += [f"# HELP {name} {what}", f"# TYPE {name} {kind}"]
                for labels, value in sorted(found.items()):
                    shown = ",".join(f'{key}="{text}"' for key, text in labels)
                    lines.append(f"{name}{{{shown}}} {value!r}" if shown else f"{name} {value!r}")
        return "\n".join(lines) + "\n"
