"""An issuer of OpenID Connect that gives signed tokens for client credentials, as a company's own does."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class Issuer:
    """`life_s`: of the tokens that it gives from now on. What it was asked is in `given` and `refused`."""

    def __init__(self, folder: Path, clients: Mapping[str, str], life_s: float = 3600) -> None:
        self.clients = clients
        self.life_s = life_s
        self.given = self.refused = 0
        self._key = folder / "issuer.pem"
        subprocess.run(["openssl", "genrsa", "-out", self._key, "2048"], check=True, capture_output=True)
        modulus = subprocess.run(
            ["openssl", "rsa", "-in", self._key, "-noout", "-modulus"], check=True, capture_output=True, text=True
        ).stdout
        self._modulus = bytes.fromhex(modulus.strip().partition("=")[2])
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answers = {"/.well-known/openid-configuration": issuer._discovery, "/keys": issuer._keys}
                found = answers.get(self.path)
                self._answer(200 if found else 404, found() if found else {})

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode())
                client = {name: values[0] for name, values in form.items()}
                scheme, _, basic = self.headers.get("Authorization", "").partition(" ")
                if scheme == "Basic":
                    client["client_id"], _, client["client_secret"] = map(
                        unquote, base64.b64decode(basic).decode().partition(":")
                    )
                self._answer(*issuer._token(client))

            def _answer(self, status: int, document: Any) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _discovery(self) -> Any:
        return {
            "issuer": self.url,
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def _keys(self) -> Any:
        key = {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k2", "n": _text(self._modulus), "e": "AQAB"}
        return {"keys": [key]}

    def _token(self, client: Mapping[str, str]) -> tuple[int, Any]:
        name = client.get("client_id", "")
        if client.get("grant_type") != "client_credentials" or self.clients.get(name) != client.get("client_secret"):
            self.refused += 1
            return 401, {"error": "invalid_client"}
        self.given += 1
        now = int(time.time())
        claims = {"iss": self.url, "sub": name, "azp": name, "iat": now, "exp": now + int(self.life_s)}
        parts = [{"alg": "RS256", "typ": "JWT", "kid": "k2"}, claims | {"jti": str(uuid.uuid4())}]
        signed = ".".join(_text(json.dumps(part).encode()) for part in parts)
        done = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", self._key], input=signed.encode(), check=True, capture_output=True
        )
        token = f"{signed}.{_text(done.stdout)}"
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": int(self.life_s)}
