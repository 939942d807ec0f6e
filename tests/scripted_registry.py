"""A registry that answers what a test says, for what the stack's own cannot be made to answer."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

from stack.process import HOST


class ScriptedRegistry:
    """Paths to answers; what is not there gets the API's error of a missing schema or subject."""

    def __init__(self, delay_s: float = 0) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.connections = 0
        self._lock = threading.Lock()
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                with registry._lock:
                    registry.connections += 1

            def do_GET(self) -> None:
                time.sleep(delay_s)
                with registry._lock:
                    registry.asked.append(self.path)
                missing = {"error_code": 40403 if self.path.startswith("/schemas") else 40401, "message": "not found"}
                found = registry.answers.get(self.path)
                body = json.dumps(missing if found is None else found).encode()
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((HOST, 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://{HOST}:{self.server.server_port}"

    def id(self, number: int, schema: Any, *references: tuple[str, int]) -> None:
        self.answers[f"/schemas/ids/{number}"] = self._answer(schema, references)

    def version(self, subject: str, number: int, schema: Any, *references: tuple[str, int]) -> None:
        path = f"/subjects/{quote(subject, safe='')}/versions/{number}?deleted=true"
        self.answers[path] = self._answer(schema, references)

    def _answer(self, schema: Any, references: tuple[tuple[str, int], ...]) -> dict[str, Any]:
        named = [{"name": f"x.{subject}", "subject": subject, "version": number} for subject, number in references]
        return {"schema": json.dumps(schema), "references": named}

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
