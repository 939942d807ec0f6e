"""How sessions of Spark sign in: catalogs that want AWS's signatures or a gateway's headers, and secrets in files."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
from aws import FIXED, Signed
from warehouse import k2_environment

from k2.spark.engine.lake import lake_variables
from k2.spark.jobs import layers
from k2.spark.utils import ConfigurationError
from k2.spark.utils.settings import resolve, secret
from stack.services import Services

CATALOG = "spark.sql.catalog.iceberg"
GLUE = "https://glue.eu-west-1.amazonaws.com/iceberg"

pytestmark = pytest.mark.usefixtures("no_settings_from_outside")


def settings(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return resolve({}, {})


def test_the_address_tells_what_is_signed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch, K2_CATALOG=GLUE, K2_CATALOG_AUTH="sigv4")
    assert found[f"{CATALOG}.rest.sigv4-enabled"] == "true"
    assert found[f"{CATALOG}.rest.signing-name"] == "glue"
    assert found[f"{CATALOG}.rest.signing-region"] == found[f"{CATALOG}.client.region"] == "eu-west-1"
    for key in ("s3.endpoint", "s3.path-style-access"):
        assert f"{CATALOG}.{key}" not in found, "a default of the stack"


def test_what_is_said_goes_before_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    named = {"K2_CATALOG_SIGNING_NAME": "s3tables", "K2_CATALOG_SIGNING_REGION": "us-west-2"}
    found = settings(monkeypatch, K2_CATALOG=GLUE, K2_CATALOG_AUTH="sigv4", **named)
    assert found[f"{CATALOG}.rest.signing-name"] == "s3tables"
    assert found[f"{CATALOG}.rest.signing-region"] == found[f"{CATALOG}.client.region"] == "us-west-2"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"K2_CATALOG_AUTH": "sigv5"}, "sigv4, or none"),
        ({"K2_CATALOG_AUTH": "sigv4"}, "set K2_CATALOG"),
        ({"K2_CATALOG_AUTH": "sigv4", "K2_CATALOG": GLUE, "K2_CATALOG_TOKEN": "hidden"}, "one signature"),
        ({"K2_CATALOG_AUTH": "sigv4", "K2_CATALOG": GLUE, "K2_AWS_PROFILE": "work"}, "AWS_PROFILE"),
        ({"K2_CATALOG_HEADER": "hidden"}, "line 1 is not Name: value"),
        ({"K2_CATALOG_TOKEN_FILE": "/nowhere/hidden-not"}, "cannot be read"),
    ],
)
def test_what_cannot_be(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        settings(monkeypatch, **variables)
    assert "hidden'" not in str(refused.value)
    assert ": hidden" not in str(refused.value)


def test_headers_and_secrets_in_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text in {"token": "abc\n", "headers": "X-Api-Key: k:1\nX-Tenant: me\n", "registry": "r\n"}.items():
        (tmp_path / name).write_text(text)
    found = settings(
        monkeypatch,
        K2_CATALOG_TOKEN_FILE=str(tmp_path / "token"),
        K2_CATALOG_HEADER_FILE=str(tmp_path / "headers"),
        K2_REGISTRY_TOKEN_FILE=str(tmp_path / "registry"),
    )
    assert found[f"{CATALOG}.token"] == "abc"
    assert found[f"{CATALOG}.header.X-Api-Key"] == "k:1"
    assert found[f"{CATALOG}.header.X-Tenant"] == "me"
    assert "header" in found["spark.redaction.regex"]
    assert secret("K2_REGISTRY_TOKEN") == "r"
    monkeypatch.setenv("K2_CATALOG_TOKEN", "nearer")
    assert resolve({}, {})[f"{CATALOG}.token"] == "nearer"
    (tmp_path / "kafka").write_text("sasl.password=x\nssl.ca.location=/ca\n")
    monkeypatch.setenv("K2_KAFKA_SET_FILE", str(tmp_path / "kafka"))
    options = argparse.Namespace(**{name.replace("-", "_"): None for name in layers.SETTINGS})
    options.kafka_set = "sasl.username=u"
    assert layers.kafka_settings(options).splitlines() == ["sasl.username=u", "sasl.password=x", "ssl.ca.location=/ca"]


def test_the_program_signs_as_the_session_does() -> None:
    conf = {
        CATALOG: "org.apache.iceberg.spark.SparkCatalog",
        f"{CATALOG}.type": "rest",
        f"{CATALOG}.uri": GLUE,
        f"{CATALOG}.rest.sigv4-enabled": "true",
        f"{CATALOG}.rest.signing-name": "glue",
    }
    found = lake_variables("iceberg", lambda key: conf.get(key, ""), {}, {"K2_CATALOG_SIGNING_NAME": "other"})
    assert found["K2_CATALOG_AUTH"] == "sigv4"
    assert found["K2_CATALOG_SIGNING_NAME"] == "glue"
    with pytest.raises(ConfigurationError, match="catalog-auth is 'sigv4'"):
        lake_variables(
            "iceberg",
            lambda key: {**conf, f"{CATALOG}.rest.sigv4-enabled": ""}.get(key, ""),
            {"catalog-auth": "sigv4"},
            {},
        )
    plain = {**conf, f"{CATALOG}.rest.sigv4-enabled": "", f"{CATALOG}.token": "abc"}
    found = lake_variables("iceberg", lambda key: plain.get(key, ""), {}, {"K2_CATALOG_TOKEN_FILE": "/run/token"})
    assert found["K2_CATALOG_AUTH"] == ""
    assert found["K2_CATALOG_TOKEN"] == "abc"
    assert "K2_CATALOG_TOKEN_FILE" not in found, "executors need not have it"


PROGRAM = """
from k2.spark.utils import create_spark_session
spark = create_spark_session("signed", master="local[1]", config={"spark.ui.enabled": "false"})
print("rows", spark.table("iceberg.market_data.bronze_trades").count())
spark.stop()
"""


def test_a_session_reads_tables_of_a_catalog_that_wants_signatures(
    services: Services, k2: Path, tmp_path: Path
) -> None:
    """botocore verifies what Iceberg's Java signs with these settings; keys of the store are lent with the tables."""
    signed = Signed(services, k2, tmp_path)
    try:
        keys = {"AWS_ACCESS_KEY_ID": FIXED.access_key, "AWS_SECRET_ACCESS_KEY": FIXED.secret_key}
        signed.lake.k2_run("tables", "create", env=keys)
        taken = signed.gate.taken.total()
        variables = k2_environment(signed.lake.variables | keys | {"HOME": str(Path.home())})
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env=variables | {"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert "rows 0" in done.stdout, done.stderr[-3000:]
        assert signed.gate.taken.total() > taken
        assert not signed.gate.refused
    finally:
        signed.close()
