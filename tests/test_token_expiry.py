"""Tokens that end while K2 commits, before the real reference servlet: none of the ways loses or doubles a row."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from chaos.catalog_proxy import CatalogProxy
from kafka_oracle import LiveProducer, Oracle
from prometheus_client.parser import text_string_to_metric_families
from service_warehouse import Lake, Process
from test_standing import get

from stack.services import Services

CLIENT, SECRET = "k2-client", "k2 secret&more"
ROWS = 600


@dataclass(frozen=True)
class Tokens:
    """How a token service gives tokens, and how a catalog takes them."""

    announced_s: int | None  # expires_in
    life_s: float
    commits: int = 1 << 30  # after so many one is revoked: the next commit is refused


@dataclass
class Token:
    ends: float
    commits: int = 0


@dataclass
class Seen:
    given: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class TokenGate(CatalogProxy):
    """Gives tokens as RFC 6749 says it, and answers 401 in the catalog's place to a request without a valid one."""

    def __init__(self, host: str, port: int, tokens: Tokens) -> None:
        self.tokens = tokens
        self.seen = Seen()
        self._valid: dict[str, Token] = {}
        self._spared: set[bytes] = set()  # commits that are to come again: until then none is revoked
        super().__init__(host, port)

    def _ask(self, head: bytes, body: bytes, method: str) -> tuple[bytes, bytes]:
        lines = head.split(b"\r\n")
        path = lines[0].split(b" ")[1].decode()
        if path == "/v1/oauth/tokens":
            return self._give(body)
        word = next(
            (line.split(b" ", 2)[2] for line in lines if line.lower().startswith(b"authorization: bearer ")), b""
        )
        with self._lock:
            what = "commit" if method == "POST" and "/tables/" in path else "other"
            if not self._takes(word.decode(), what == "commit", body):
                self.seen.refused[what] += 1
                return reply(401, {"error": {"message": "ended", "type": "NotAuthorizedException", "code": 401}})
        return super()._ask(head, body, method)

    def _give(self, body: bytes) -> tuple[bytes, bytes]:
        asked = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        if (asked["grant_type"], asked["client_id"], asked["client_secret"]) != ("client_credentials", CLIENT, SECRET):
            return reply(401, {"error": "invalid_client"})
        with self._lock:
            self.seen.given += 1
            text = f"Token-{self.seen.given}"
            self._valid[text] = Token(time.monotonic() + self.tokens.life_s)
        life = {} if self.tokens.announced_s is None else {"expires_in": self.tokens.announced_s}
        return reply(200, {"access_token": text, "token_type": "bearer", **life})

    def _takes(self, word: str, commit: bool, body: bytes) -> bool:
        token = self._valid.get(word)
        if token is None or time.monotonic() >= token.ends:
            return False
        if not commit:
            return True
        self._spared.discard(body)
        token.commits += 1
        if token.commits <= self.tokens.commits or self._spared:
            return True
        self._spared.add(body)
        del self._valid[word]
        return False


def reply(status: int, body: object) -> tuple[bytes, bytes]:
    text = json.dumps(body).encode()
    return (
        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n".encode(),
        text,
    )


class Scene:
    """Topics, tables, and a catalog that is only reached through the gate."""

    def __init__(self, services: Services, k2: Path, folder: Path, seed: int) -> None:
        services.start("kafka", "catalog")
        self.services = services
        self.oracle = Oracle(services.kafka.brokers, seed)
        stem = f"tokens-{os.urandom(4).hex()}.trades"
        self.topics = [self.oracle.create(f"{stem}.{exchange}", 2) for exchange in ("binance", "kraken")]
        self.lake = Lake.rest(k2, folder, services)
        self.gates: list[TokenGate] = []

    def gate(self, tokens: Tokens) -> tuple[TokenGate, dict[str, str]]:
        """And the variables by which k2 goes through it."""
        gate = TokenGate("127.0.0.1", self.services.catalog.ports["http"], tokens)
        self.gates.append(gate)
        variables = {"K2_CATALOG": gate.endpoint, "K2_CATALOG_CREDENTIAL": f"{CLIENT}:{SECRET}"}
        return gate, variables | {"K2_TOPICS": ",".join(self.topics)}

    def close(self) -> None:
        self.lake.kill_all()
        for gate in self.gates:
            gate.close()
        self.oracle.delete(self.topics)


@pytest.fixture
def scene(services: Services, k2: Path, tmp_path: Path, seed: int) -> Iterator[Scene]:
    made = Scene(services, k2, tmp_path / "lake", seed)
    yield made
    made.close()


def run_live(scene: Scene, tokens: Tokens) -> Seen:
    """Messages come in for some lives of a token, and every row is where it belongs."""
    gate, variables = scene.gate(tokens)
    page = ("--http", "127.0.0.1:0", "--log-level", "info")
    process = scene.lake.begin("run", "--commit-interval", "200ms", *page, env=variables)
    with LiveProducer(scene.oracle, 300):
        time.sleep(3)
    scene.oracle.flush()
    scene.lake.await_rows(scene.oracle.expected_counts())
    assert_services_are_counted(process, gate, tokens)
    process.stop()
    scene.oracle.check(scene.lake)
    return gate.seen


def assert_services_are_counted(process: Process, gate: TokenGate, tokens: Tokens) -> None:
    """What the alerts on catalog, store and credentials are made of (deploy/prometheus/alerts.yml)."""
    figures = {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(get(process, "/metrics")[1])
        for sample in family.samples
    }
    requests = "k2_service_requests_total"
    for service in ("catalog", "storage"):
        assert figures[requests, frozenset({service, "answered"})] > 0
        assert (requests, frozenset({service, "failed"})) in figures
    assert figures[requests, frozenset({"catalog", "denied"})] >= gate.seen.refused.total() - 1
    if tokens.announced_s is not None:
        ends = figures["k2_credential_expiry_timestamp_seconds", frozenset({"catalog"})]
        assert -5 < ends - time.time() <= tokens.announced_s


def test_a_token_is_renewed_in_time(scene: Scene) -> None:
    """It lives longer than the service says, so one that is renewed in time is never refused."""
    seen = run_live(scene, Tokens(announced_s=1, life_s=3))
    assert seen.given >= 3, seen
    assert not seen.refused, seen


@pytest.mark.long
def test_a_token_ends_unannounced(scene: Scene) -> None:
    seen = run_live(scene, Tokens(announced_s=None, life_s=1))
    assert seen.given >= 3, seen
    assert seen.refused.total() >= 2, seen


def test_a_commit_is_refused_for_its_token(scene: Scene) -> None:
    """Every few commits the token is revoked as one arrives."""
    for topic in scene.topics:
        scene.oracle.send(topic, ROWS)
    scene.oracle.flush()
    gate, variables = scene.gate(Tokens(announced_s=3600, life_s=3600, commits=3))
    scene.lake.run_kafka("--rows-per-commit", "100", env=variables)
    assert gate.seen.refused["commit"] >= 5, gate.seen
    assert gate.seen.given >= 5, gate.seen
    scene.oracle.check(scene.lake)


def test_a_secret_that_is_refused_ends_the_run(scene: Scene) -> None:
    _, variables = scene.gate(Tokens(announced_s=3600, life_s=3600))
    done = scene.lake.k2_run(
        "run", "--until-caught-up", env=variables | {"K2_CATALOG_CREDENTIAL": f"{CLIENT}:very-wrong"}, expect=None
    )
    assert done.returncode not in (0, -11), done
    assert "invalid_client" in done.stderr, done.stderr
    assert "very-wrong" not in done.stdout + done.stderr
