"""K2 on Nessie, a catalog that shows no history of a table, with tokens of an OpenID Connect issuer that end soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from issuer import Issuer
from reading import gold_of
from test_rest_catalog import RestWarehouse
from warehouse import ALL_TABLES, BRONZE, GOLD, REJECTED, SILVER, recording_flags

from stack.nessie import Nessie
from stack.services import Services

TRADES = 3_000
CLIENT, SECRET = "k2", "secret+of=k2"

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


class NessieWarehouse(RestWarehouse):
    def __init__(self, k2: Path, issuer: Issuer, variables: Mapping[str, str]) -> None:
        super().__init__(k2, variables)
        self.issuer = issuer


@pytest.fixture
def nessie(services: Services, k2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NessieWarehouse]:
    if reason := Nessie.why_not():
        pytest.skip(reason)
    services.start("seaweedfs")
    stack = services.environment()
    for name, value in stack.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    issuer = Issuer(tmp_path, {CLIENT: SECRET})
    server = Nessie(tmp_path / "nessie", issuer.url, stack["K2_S3_ENDPOINT"])
    server.start()
    variables = {
        "K2_CATALOG": server.uri,
        "K2_CATALOG_WAREHOUSE": Nessie.warehouse,
        "K2_CATALOG_CREDENTIAL": f"{CLIENT}:{SECRET}",
        "K2_CATALOG_OAUTH2_URI": f"{issuer.url}/token",
        **{
            name: stack[name] for name in ("K2_S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
        },
    }
    yield NessieWarehouse(k2, issuer, variables)
    server.kill()
    issuer.close()


def test_runs_go_on_and_renew_their_tokens(nessie: NessieWarehouse, simulate: Callable[..., Path]) -> None:
    nessie.k2_run("tables", "create")
    assert nessie.counts() == dict.fromkeys(ALL_TABLES, 0)
    recordings = [(exchange, simulate(exchange, TRADES, seed=7)) for exchange in ("binance", "kraken")]
    nessie.issuer.life_s = 2  # less than a run takes
    asked = nessie.issuer.given
    for recording in recordings:
        nessie.run([recording], "--rows-per-commit", "100", "--commit-interval", "0s")
    nessie.issuer.life_s = 3600
    assert nessie.issuer.given > asked + 2, "one for each run, and more"
    expected = gold_of(*recordings)
    assert nessie.gold().keys() == expected.keys()
    counts = nessie.counts()
    assert counts[BRONZE] == counts[SILVER[0]] + counts[SILVER[1]] + counts[REJECTED]

    longer = ("binance", simulate("binance", TRADES, seed=8))
    nessie.run([*recordings, longer])
    expected |= gold_of(longer)
    assert nessie.gold().keys() == expected.keys()
    nessie.run([*recordings, longer])  # all of it is read already
    assert nessie.counts()[GOLD] == len(expected)


def test_what_other_engines_commit_hides_the_offsets(nessie: NessieWarehouse, simulate: Callable[..., Path]) -> None:
    """It keeps neither tags nor snapshots of before: K2 stops before it doubles a row, and says how to go on."""
    recordings = [("binance", simulate("binance", TRADES, seed=7))]
    nessie.run(recordings)
    expected = gold_of(*recordings)
    table = nessie.table(GOLD)
    row = table.scan(limit=1).to_arrow()
    foreign = row.set_column(row.schema.get_field_index("message_id"), "message_id", pa.array(["foreign"], pa.string()))
    table.append(foreign.cast(table.schema().as_arrow()))
    longer = ("binance", simulate("binance", TRADES, seed=8))
    stopped = nessie.k2_run("run", *recording_flags([*recordings, longer]), expect=1)
    assert "k2 offsets set --accept-loss" in stopped.stderr
    assert nessie.counts()[GOLD] == len(expected) + 1
    nessie.k2_run("offsets", "set", "--table", GOLD, "--accept-loss")
    nessie.run([*recordings, longer])
    assert nessie.gold().keys() == expected.keys() | gold_of(longer).keys() | {"foreign"}
    assert nessie.counts()[GOLD] == len(nessie.gold())


def test_what_its_doctor_and_its_refusals_say(nessie: NessieWarehouse, simulate: Callable[..., Path]) -> None:
    nessie.run([("binance", simulate("binance", 100, seed=7))])
    told = nessie.k2_run("doctor", expect=3)
    assert "the catalog keeps no tags" in told.stdout
    assert SECRET not in told.stdout
    wrong = NessieWarehouse(nessie.k2, nessie.issuer, nessie.variables | {"K2_CATALOG_CREDENTIAL": f"{CLIENT}:another"})
    refused = wrong.k2_run("tables", expect=3)
    assert nessie.issuer.refused > 0
    assert "another" not in refused.stderr
    assert nessie.issuer.url in refused.stderr
