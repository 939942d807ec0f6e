"""Stand-ins for AWS: a gate before a REST catalog that verifies signatures by botocore, and what hands out keys."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from chaos.catalog_proxy import CatalogProxy
from service_warehouse import Lake

from stack.services import Services

REGION, SERVICE = "eu-west-1", "glue"
TOLERANCE = timedelta(minutes=5)


@dataclass(frozen=True)
class Keys:
    access_key: str
    secret_key: str
    token: str | None = None


def refusal(status: int, kind: str, message: str, now: datetime) -> tuple[bytes, bytes]:
    text = json.dumps({"error": {"message": message, "type": kind, "code": status}}).encode()
    date = format_datetime(now, usegmt=True)
    head = (
        f"HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    return head.encode(), text


class SignedGate(CatalogProxy):
    """Hands on what is signed with keys that it knows; its clock is off by `ahead`."""

    def __init__(self, host: str, port: int, known: dict[str, Keys], vended: dict[str, str]) -> None:
        self.known = known
        self.vended = vended
        self.ahead = timedelta()
        self.taken: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.seen: list[dict[str, str]] = []  # headers
        self.after: Callable[[SignedGate], None] = lambda _gate: None  # each request that was taken
        super().__init__(host, port)

    def _ask(self, head: bytes, body: bytes, method: str) -> tuple[bytes, bytes]:
        now = datetime.now(UTC) + self.ahead
        try:
            access_key = self._verified(head, body, now)
        except PermissionError as error:
            kind, message = error.args
            with self._lock:
                self.refused[kind] += 1
            return refusal(403, kind, message, now)
        with self._lock:
            self.taken[access_key] += 1
        plain = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"accept-encoding:"))
        reply = self._with_keys(*super()._ask(plain, body, method))
        self.after(self)
        return reply

    def _with_keys(self, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        """A table comes with the keys of the store, as a catalog vends them."""
        if b"metadata-location" not in body:
            return head, body
        first, *lines = head.rstrip(b"\r\n").split(b"\r\n")
        if any(line.lower().startswith(b"transfer-encoding:") for line in lines):
            parts, rest = b"", body
            while (size := int(rest.partition(b"\r\n")[0], 16)) > 0:
                rest = rest.partition(b"\r\n")[2]
                parts, rest = parts + rest[:size], rest[size + 2 :]
            body = parts
        body = json.dumps(json.loads(body) | {"config": self.vended}).encode()
        lines = [line for line in lines if not line.lower().startswith((b"transfer-encoding:", b"content-length:"))]
        return b"\r\n".join([first, *lines, b"Content-Length: %d" % len(body), b"", b""]), body

    def _verified(self, head: bytes, body: bytes, now: datetime) -> str:
        first, *lines = head.decode().rstrip("\r\n").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        with self._lock:
            self.seen.append(headers)
        algorithm, _, rest = headers.get("authorization", "").partition(" ")
        if algorithm != "AWS4-HMAC-SHA256":
            raise PermissionError("MissingAuthenticationTokenException", "not signed")
        given = dict(part.strip().split("=", 1) for part in rest.split(","))
        access_key, *scope = given["Credential"].split("/")
        keys = self.known.get(access_key)
        if keys is None:
            raise PermissionError("UnrecognizedClientException", "The security token included is invalid")
        stamp = headers["x-amz-date"]
        if scope != [stamp[:8], REGION, SERVICE, "aws4_request"]:
            raise PermissionError("InvalidSignatureException", f"scope {scope}")
        if abs(now - datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)) > TOLERANCE:
            raise PermissionError("InvalidSignatureException", "Signature expired or not yet current")
        if headers.get("x-amz-security-token") != keys.token:
            raise PermissionError("ExpiredTokenException", "The security token included in the request is expired")
        digest = hashlib.sha256(body)
        # Iceberg's Java client sends that of a body in base64, and signs for the one in hexadecimal digits.
        if headers["x-amz-content-sha256"] not in (digest.hexdigest(), base64.b64encode(digest.digest()).decode()):
            raise PermissionError("InvalidSignatureException", "another body")
        names = given["SignedHeaders"].split(";")
        missing = {"host", "x-amz-date"} | {name for name in headers if name.startswith("x-amz-")} - set(names)
        if missing - set(names):
            raise PermissionError("InvalidSignatureException", f"not signed: {missing}")
        request = AWSRequest(
            method=method,
            url=f"http://{headers['host']}{target}",
            data=body,
            headers={name: headers[name] for name in names if name != "host"},
        )
        request.context["timestamp"] = stamp
        signer = SigV4Auth(Credentials(keys.access_key, keys.secret_key, keys.token), SERVICE, REGION)
        canonical = signer.canonical_request(request).rpartition("\n")[0] + "\n" + digest.hexdigest()
        if signer.signature(signer.string_to_sign(request, canonical), request) != given["Signature"]:
            raise PermissionError("InvalidSignatureException", f"another signature of {canonical!r}")
        return access_key


@dataclass
class KeyServices:
    """STS, the agent of a container and the metadata of an instance, on one port of this machine."""

    keys: Keys
    life: timedelta = timedelta(hours=1)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        services = self

        class Handler(BaseHTTPRequestHandler):
            def do(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                form = {name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                services.asked.append((f"{self.command} {self.path}", headers | form))
                body = services.answer(f"{self.command} {self.path}", headers, form).encode()
                self.send_response(200 if body else 403)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PUT = do  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, what: str, headers: dict[str, str], form: dict[str, str]) -> str:
        """Empty: refused."""
        keys = self.keys
        end = (datetime.now(UTC) + self.life).strftime("%Y-%m-%dT%H:%M:%SZ")
        document = json.dumps(
            {
                "Code": "Success",
                "AccessKeyId": keys.access_key,
                "SecretAccessKey": keys.secret_key,
                "Token": keys.token,
                "Expiration": end,
            }
        )
        if what == "PUT /latest/api/token":
            return "metadata-token" if headers.get("x-aws-ec2-metadata-token-ttl-seconds") else ""
        if what.startswith("GET /latest/meta-data/iam/security-credentials/"):
            if headers.get("x-aws-ec2-metadata-token") != "metadata-token":
                return ""
            return document if what.endswith("/k2-role") else "k2-role"
        if what == "GET /container":
            return document if headers.get("authorization") == "pod-token" else ""
        web = form.get("Action") == "AssumeRoleWithWebIdentity" and form.get("WebIdentityToken") == "web-token"
        signed = form.get("Action") == "AssumeRole" and "/sts/aws4_request" in headers.get("authorization", "")
        if not (web or signed) or form.get("RoleArn") != "arn:aws:iam::1:role/k2":
            return ""
        return (
            f"<Response><Credentials><AccessKeyId>{keys.access_key}</AccessKeyId>"
            f"<SecretAccessKey>{keys.secret_key}</SecretAccessKey><SessionToken>{keys.token}</SessionToken>"
            f"<Expiration>{end}</Expiration></Credentials></Response>"
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


FIXED = Keys("AKIAK2FIXED", "k2/secret+of=fixed")
LENT = Keys("ASIAK2LENT", "k2/secret+of=lent", "session/token+of==lent")


class Signed:
    """A warehouse in a folder, behind the gate; no keys of this machine are found."""

    def __init__(self, services: Services, k2: Path, folder: Path) -> None:
        services.start("catalog")
        stack = services.environment()
        vended = {
            "s3.access-key-id": stack["AWS_ACCESS_KEY_ID"],
            "s3.secret-access-key": stack["AWS_SECRET_ACCESS_KEY"],
        }
        self.gate = SignedGate("127.0.0.1", services.catalog.ports["http"], {FIXED.access_key: FIXED}, vended)
        self.keys = KeyServices(LENT)
        self.home = folder / "home"
        (self.home / ".aws").mkdir(parents=True)
        self.lake = Lake.rest(k2, folder / "lake", services)
        self.lake.variables = {
            name: value for name, value in self.lake.variables.items() if not name.startswith("AWS_")
        } | {
            "HOME": str(self.home),
            "AWS_EC2_METADATA_DISABLED": "true",
            "K2_CATALOG": self.gate.endpoint,
            "K2_CATALOG_AUTH": "sigv4",
            "K2_CATALOG_SIGNING_REGION": REGION,
            "K2_CATALOG_SIGNING_NAME": SERVICE,
        }

    def k2(self, *args: str | Path, expect: int = 0, **variables: str) -> str:
        done = self.lake.k2_run(*args, expect=expect, env=variables)
        return done.stdout + done.stderr

    def file(self, name: str, text: str) -> str:
        (self.home / name).write_text(text)
        return str(self.home / name)

    def close(self) -> None:
        self.gate.close()
        self.keys.close()
