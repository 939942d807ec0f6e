"""Requests to a REST catalog that are signed with AWS keys, before the real servlet: botocore verifies them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from aws import REGION, SERVICE, Keys, KeyServices, SignedGate
from service_warehouse import Lake

from stack.services import Services

FIXED = Keys("AKIAK2FIXED", "k2/secret+of=fixed")
LENT = Keys("ASIAK2LENT", "k2/secret+of=lent", "session/token+of==lent")
ROLE = "arn:aws:iam::1:role/k2"


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
