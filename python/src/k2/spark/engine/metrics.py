"""What a running job tells Prometheus, in the names that `k2 run` has where it is the same (docs/metrics.md)."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from k2.spark.engine.step import StepReport
from k2.spark.utils.errors import ConfigurationError

_HELP = {
    "k2_rows_total": ("counter", "Rows that a layer has read (in) and written (out)."),
    "k2_rejected_rows_total": ("counter", "Messages that Silver has rejected, by reason."),
    "k2_duplicate_rows_total": ("counter", "Rows that Gold has dropped because it holds their trade already."),
    "k2_lag_messages": ("gauge", "Messages that the layer above holds and this one has yet to take."),
    "k2_job_step_seconds_total": ("counter", "Time of steps, by part: plan, run, commit."),
    "k2_job_failures_total": ("counter", "Steps that failed and were tried again, by error."),
    "k2_job_last_look_timestamp_seconds": ("gauge", "When the job last knew how far it is behind."),
}


class JobMetrics:
    """Serves /metrics, to whom `host` lets in. `port` 0: a free one."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._lock = threading.Lock()
        self._values: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        metrics = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                known = self.path.split("?", 1)[0] == "/metrics"
                body = metrics.text().encode() if known else b"/metrics\n"
                self.send_response(200 if known else 404)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"--metrics-port {port} of {host} cannot be listened on: {error}. Give another one, or 0 for a free one"
            ) from None
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _add(self, name: str, value: float, **labels: str) -> None:
        key = (name, tuple(sorted(labels.items())))
        self._values[key] = self._values.get(key, 0.0) + value

    def took(self, layer: str, step: StepReport | None) -> None:
        with self._lock:
            self._values["k2_lag_messages", (("layer", layer),)] = step.behind if step is not None else 0
            self._values["k2_job_last_look_timestamp_seconds", (("layer", layer),)] = time.time()
            if step is None:
                return
            self._add("k2_rows_total", step.rows_in, layer=layer, kind="in")
            self._add("k2_rows_total", step.rows_out, layer=layer, kind="out")
            if layer == "gold":
                self._add("k2_duplicate_rows_total", step.duplicates)
            for reason, count in step.rejected.items():
                self._add("k2_rejected_rows_total", count, reason=reason)
            for part in ("plan", "run", "commit"):
                self._add("k2_job_step_seconds_total", getattr(step, f"{part}_seconds"), layer=layer, part=part)

    def failed(self, error: Exception) -> None:
        with self._lock:
            self._add("k2_job_failures_total", 1, error=type(error).__name__)

    def text(self) -> str:
        lines = []
        with self._lock:
            for name, (kind, what) in _HELP.items():
                found = {labels: value for (known, labels), value in self._values.items() if known == name}
                if not found:
                    continue
                lines += [f"# HELP {name} {what}", f"# TYPE {name} {kind}"]
                for labels, value in sorted(found.items()):
                    shown = ",".join(f'{key}="{text}"' for key, text in labels)
                    lines.append(f"{name}{{{shown}}} {value!r}" if shown else f"{name} {value!r}")
        return "\n".join(lines) + "\n"
