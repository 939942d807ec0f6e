"""Requests to a REST catalog that are signed with AWS keys, before the real servlet: botocore verifies them."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import pytest
from aws import FIXED, LENT, REGION, Keys, Signed, SignedGate
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from stack.services import Services

ROLE = "arn:aws:iam::1:role/k2"


@pytest.fixture
def signed(services: Services, k2: Path, tmp_path: Path) -> Iterator[Signed]:
    made = Signed(services, k2, tmp_path)
    yield made
    made.close()


def of_environment(signed: Signed) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": FIXED.access_key, "AWS_SECRET_ACCESS_KEY": FIXED.secret_key}


def of_profile(signed: Signed) -> dict[str, str]:
    keys = f"aws_access_key_id={FIXED.access_key}\naws_secret_access_key = {FIXED.secret_key}\n"
    signed.file(".aws/credentials", f"[default]\naws_access_key_id=AKIAOTHER\naws_secret_access_key=x\n[k2]\n{keys}")
    return {"K2_AWS_PROFILE": "k2"}


def of_web_identity(signed: Signed) -> dict[str, str]:
    return {
        "AWS_WEB_IDENTITY_TOKEN_FILE": signed.file("web", "web-token\n"),
        "AWS_ROLE_ARN": ROLE,
        "AWS_ENDPOINT_URL_STS": signed.keys.endpoint,
    }


def of_pod(signed: Signed) -> dict[str, str]:
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": signed.keys.endpoint + "/container",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": signed.file("pod", "pod-token\n"),
    }


def of_instance(signed: Signed) -> dict[str, str]:
    return {"AWS_EC2_METADATA_DISABLED": "false", "AWS_EC2_METADATA_SERVICE_ENDPOINT": signed.keys.endpoint}


def of_role(signed: Signed) -> dict[str, str]:
    return of_environment(signed) | {"K2_AWS_ROLE_ARN": ROLE, "AWS_ENDPOINT_URL_STS": signed.keys.endpoint}


SOURCES = (of_environment, of_profile, of_web_identity, of_pod, of_instance, of_role)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.__name__)
def test_keys_from_everywhere(signed: Signed, source: Callable[[Signed], dict[str, str]]) -> None:
    """Tables are made and listed; every request was signed as botocore signs it."""
    keys = FIXED if source in (of_environment, of_profile) else LENT
    signed.gate.known = {keys.access_key: keys}
    variables = source(signed)
    signed.k2("tables", "create", **variables)
    assert "gold_crypto_trades" in signed.k2("tables", **variables)
    assert set(signed.gate.taken) == {keys.access_key}
    assert not signed.gate.refused
    said = signed.k2("doctor", "--kafka", "", **variables, K2_LOG_LEVEL="debug")
    for secret in (keys.secret_key, keys.token or keys.secret_key):
        assert secret not in said


def test_what_is_refused(signed: Signed) -> None:
    """Each with what to do, and without the keys."""
    said = signed.k2("tables", expect=3)
    assert "there are no AWS keys" in said
    wrong = of_environment(signed) | {"AWS_SECRET_ACCESS_KEY": "k2-wrong-secret"}
    said = signed.k2("tables", expect=3, **wrong)
    assert "InvalidSignatureException" in said
    assert "k2-wrong-secret" not in said
    said = signed.k2("tables", expect=2, **of_environment(signed), K2_CATALOG_TOKEN="x")
    assert "catalog-token" in said
    said = signed.k2("tables", expect=2, **of_environment(signed), K2_CATALOG_AUTH="sigv5")
    assert "sigv4" in said
    said = signed.k2("tables", expect=2, K2_AWS_PROFILE="missing")
    assert "'missing'" in said


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_wrong_clock(signed: Signed, hours: int) -> None:
    """Refused once; from then on requests are signed with the catalog's time."""
    signed.gate.ahead = timedelta(hours=hours)
    signed.k2("tables", "create", **of_environment(signed))
    assert signed.gate.refused == {"InvalidSignatureException": 1}
    assert signed.gate.taken[FIXED.access_key] > 10


def test_keys_that_are_replaced_and_end_unannounced(signed: Signed, simulate: Callable[..., Path]) -> None:
    """After each few requests the keys are known no more, and there are others: no row is lost or doubled."""
    variables = of_pod(signed)
    signed.gate.known = {LENT.access_key: LENT}

    def replace(gate: SignedGate) -> None:
        if gate.taken[signed.keys.keys.access_key] >= 25:
            number = len(gate.taken) + 1
            signed.keys.keys = Keys(f"ASIAK2LENT{number}", f"secret {number}", f"token {number}")
            gate.known = {signed.keys.keys.access_key: signed.keys.keys}

    signed.gate.after = replace
    recording = simulate("binance", 3000, seed=5)
    signed.k2("run", "--kafka", "", "--recording", f"binance={recording}", "--rows-per-commit", "500", **variables)
    said = signed.k2("tables", "--output", "json", **variables)
    assert {row["table"]: row["rows"] for row in json.loads(said)}["gold_crypto_trades"] == 3000, said
    assert len(signed.gate.taken) >= 2
    assert sum(signed.gate.refused.values()) >= len(signed.gate.taken) - 1


class SaslBroker:
    """As much of a Kafka broker as it takes to be given a token: what it is given it keeps, and hangs up."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._server.accept()
                with contextlib.suppress(OSError, EOFError), link, link.makefile("rb") as stream:
                    while self._answer(link, stream):
                        pass

    def _answer(self, link: socket.socket, stream: BinaryIO) -> bool:
        """Protocol: size, then api key, version, correlation id, client id; replies have size and correlation id."""
        size = stream.read(4)
        if len(size) < 4:
            return False
        request = stream.read(struct.unpack(">i", size)[0])
        key, version, correlation = struct.unpack(">hhi", request[:8])
        if key == 36:  # SaslAuthenticate
            body = request[10 + struct.unpack(">h", request[8:10])[0] :]
            self.tokens.append(re.search(rb"auth=Bearer ([^\x01]+)\x01", body).group(1).decode())  # type: ignore[union-attr]
            return False
        if key == 18:  # ApiVersions: version 0 is what is known, others are told so
            ranges = [(3, 0, 1), (17, 0, 1), (18, 0, 0), (36, 0, 0)]
            body = struct.pack(">hi", 35 if version else 0, len(ranges))
            body += b"".join(struct.pack(">hhh", *one) for one in ranges)
        else:  # SaslHandshake
            assert key == 17
            body = struct.pack(">hih", 0, 1, 11) + b"OAUTHBEARER"
        link.sendall(struct.pack(">ii", len(body) + 4, correlation) + body)
        return True

    def close(self) -> None:
        self._server.close()


@pytest.mark.parametrize("source", [of_environment, of_pod], ids=lambda source: source.__name__)
def test_tokens_of_kafka(signed: Signed, source: Callable[[Signed], dict[str, str]]) -> None:
    """What a broker of MSK is given: an address that botocore signs in the same way, for a quarter of an hour."""
    keys = FIXED if source is of_environment else LENT
    broker = SaslBroker()
    variables = {"K2_KAFKA": broker.address, "K2_KAFKA_AUTH": "aws-msk-iam", "AWS_REGION": REGION}
    variables["K2_KAFKA_SET"] = "security.protocol=SASL_PLAINTEXT"
    said = signed.k2("doctor", expect=3, **source(signed), **variables)
    broker.close()
    assert broker.tokens, said
    assert keys.secret_key not in said
    url = base64.urlsafe_b64decode(broker.tokens[0] + "==").decode()
    given = dict(parse_qsl(urlsplit(url).query))
    assert urlsplit(url).netloc == f"kafka.{REGION}.amazonaws.com"
    assert given["Action"] == "kafka-cluster:Connect"
    assert given["X-Amz-Expires"] == "900"
    assert given.get("X-Amz-Security-Token") == keys.token
    assert given.pop("User-Agent").startswith("k2/")
    request = AWSRequest("GET", f"https://kafka.{REGION}.amazonaws.com/", params={"Action": given["Action"]})
    with patch("botocore.auth.get_current_datetime") as now:
        now.return_value = datetime.strptime(given["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
        credentials = Credentials(keys.access_key, keys.secret_key, keys.token)
        SigV4QueryAuth(credentials, "kafka-cluster", REGION, expires=900).add_auth(request)
    assert dict(parse_qsl(urlsplit(request.url).query)) == given


def test_headers_for_a_gateway_are_not_signed(signed: Signed) -> None:
    """It may take them out. They are sent with each request, beside the signature."""
    headers = ("--catalog-header", "X-Gateway-Key: k2-gate", "--catalog-header", "X-Tenant: a")
    signed.k2("tables", *headers, **of_environment(signed))
    assert signed.gate.taken[FIXED.access_key]
    assert not signed.gate.refused
    assert all(one["x-gateway-key"] == "k2-gate" and one["x-tenant"] == "a" for one in signed.gate.seen)


def test_tables_that_the_catalog_maintains(signed: Signed, simulate: Callable[..., Path]) -> None:
    """No snapshot goes by K2's doing, and doctor tells where the catalog might take the offsets."""
    variables = of_environment(signed) | {"K2_TABLE_MAINTENANCE": "catalog"}
    compaction = ("plan", "--compact", "gold_crypto_trades")
    for command in (("maintain", "expire"), ("maintain", "compact"), ("maintain", "orphans"), compaction):
        said = signed.k2(*command, expect=2, **variables)
        assert "the catalog maintains these tables" in said
    said = signed.k2("maintain", "compact", "--catalog", "", expect=2, **variables)
    assert "the embedded catalog maintains no tables" in said
    signed.k2("tables", "create", **variables)
    table = signed.lake.table("bronze_trades")
    with table.transaction() as change:
        change.set_properties({"history.expire.max-snapshot-age-ms": "1", "history.expire.min-snapshots-to-keep": "1"})
    recording = simulate("binance", 2000, seed=6)
    run = ("run", "--kafka", "", "--recording", f"binance={recording}", "--layer", "bronze", "--rows-per-commit", "500")
    signed.k2(*run, **variables)
    kept = len(table.refresh().metadata.snapshots)
    assert kept > 4
    assert "no table lets its tag k2-offsets expire" in signed.k2("doctor", "--kafka", "", **variables)
    with table.transaction() as change:
        change.set_properties({"history.expire.max-ref-age-ms": "60000"})
    said = signed.k2("doctor", "--kafka", "", expect=3, **variables)
    assert "bronze_trades (60000 ms)" in said
    signed.k2("maintain", "expire", **of_environment(signed))
    assert len(table.refresh().metadata.snapshots) < kept
