"""A registry that answers what a test says, for what the stack's own cannot be made to answer."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote
from uuid import UUID

from stack.process import HOST


class ScriptedRegistry:
    """Paths to answers; what is not there gets the API's error of a missing schema or subject.

    `url` is that of a registry of Confluent's kind. With `apicurio`, the version of Apicurio's own API (v2, v3), it is
    Apicurio's and has no GUIDs.
    """

    def __init__(self, delay_s: float = 0, apicurio: str = "") -> None:
        self.apicurio = apicurio
        self._below = "/apis/ccompat/v7" if apicurio else ""
        self.answers: dict[str, Any] = {f"{self._below}/schemas/types": ["JSON", "PROTOBUF", "AVRO"]}
        self.asked: list[str] = []
        self.connections = 0
        self.stopped = False
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
                if registry.stopped:  # a connection that was open stays so
                    self.close_connection = True
                    return
                with registry._lock:
                    registry.asked.append(self.path)
                found = registry.answers.get(self.path)
                body = json.dumps(registry._missing(self.path) if found is None else found).encode()
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer((HOST, 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://{HOST}:{self.server.server_port}{self._below}"

    def id(self, number: int, schema: Any, *references: tuple[str, int]) -> None:
        self.answers[f"{self._below}/schemas/ids/{number}"] = self._answer(schema, references)

    def guid(self, guid: UUID, schema: Any, *references: tuple[str, int]) -> None:
        self.answers[f"/schemas/guids/{guid}"] = self._answer(schema, references)

    def artifact(self, path: str, schema: Any, *references: tuple[str, str]) -> None:
        """By Apicurio's own API: `ids/globalIds/7`, `groups/G/artifacts/A/versions/1`; references by group and id."""
        named = [{"name": "x", "groupId": group, "artifactId": name, "version": "1"} for group, name in references]
        base = f"/apis/registry/{self.apicurio}/{path}"
        self.answers[f"{base}/references"] = named
        self.answers[f"{base}/content" if self.apicurio == "v3" and path.startswith("groups") else base] = schema

    def version(self, subject: str, number: int, schema: Any, *references: tuple[str, int]) -> None:
        path = f"{self._below}/subjects/{quote(subject, safe='')}/versions/{number}?deleted=true"
        self.answers[path] = self._answer(schema, references)

    def _answer(self, schema: Any, references: tuple[tuple[str, int], ...]) -> dict[str, Any]:
        named = [{"name": f"x.{subject}", "subject": subject, "version": number} for subject, number in references]
        return {"schema": json.dumps(schema), "references": named}

    def _missing(self, path: str) -> dict[str, Any]:
        if path.startswith("/apis/registry/"):
            known = path.startswith(f"/apis/registry/{self.apicurio}/")
            return {"error_code": 404, "name": "ContentNotFoundException" if known else "NotFoundException"}
        path = path.removeprefix(self._below)
        if self.apicurio and path.startswith("/schemas/guids/"):
            return {"error_code": 0, "message": "Could not find resource for full path"}
        return {"error_code": 40403 if path.startswith("/schemas") else 40401, "message": "not found"}

    def stop(self) -> None:
        self.stopped = True
        self.server.shutdown()
        self.server.server_close()
