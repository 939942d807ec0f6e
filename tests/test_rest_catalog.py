"""K2 on real REST catalogs: what it writes PyIceberg reads, what PyIceberg appends it reads."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.table import Table
from warehouse import ALL_TABLES, BRONZE, GOLD, NAMESPACE, Warehouse

from stack.services import Services
from stack.tables import Rustberg

TRADES = 3_000


class RestWarehouse(Warehouse):
    """A warehouse behind a REST catalog: `variables` are those by which k2 finds it, all of it."""

    def __init__(self, k2: Path, variables: Mapping[str, str]) -> None:
        super().__init__(k2, Path())
        self.variables = dict(variables)

    def command(self, *args: str | Path) -> list[str]:
        flags = {
            "--catalog": "K2_CATALOG",
            "--catalog-warehouse": "K2_CATALOG_WAREHOUSE",
            "--catalog-credential": "K2_CATALOG_CREDENTIAL",
            "--warehouse": "K2_WAREHOUSE",
            "--s3-endpoint": "K2_S3_ENDPOINT",
        }
        given = [(flag, self.variables.get(name, "")) for flag, name in flags.items()]
        return [str(self.k2), *map(str, args), *(part for flag, value in given if value for part in (flag, value))]

    def k2_run(
        self,
        *args: str | Path,
        expect: int | None = 0,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        others = ("K2_CATALOG_TOKEN", "K2_CATALOG_OAUTH2_URI")
        sign_in = {name: value for name, value in self.variables.items() if name in others}
        return super().k2_run(*args, expect=expect, env=sign_in | dict(env or {}), cwd=cwd, stdin=stdin)

    def pyiceberg(self) -> RestCatalog:
        properties = {
            "uri": self.variables["K2_CATALOG"],
            "warehouse": self.variables.get("K2_CATALOG_WAREHOUSE", ""),
            "credential": self.variables.get("K2_CATALOG_CREDENTIAL", ""),
            "oauth2-server-uri": self.variables.get("K2_CATALOG_OAUTH2_URI", ""),
            "token": self.variables.get("K2_CATALOG_TOKEN", ""),
            "s3.endpoint": self.variables.get("K2_S3_ENDPOINT", ""),
            "s3.access-key-id": self.variables.get("AWS_ACCESS_KEY_ID", ""),
            "s3.secret-access-key": self.variables.get("AWS_SECRET_ACCESS_KEY", ""),
            "s3.region": self.variables.get("AWS_REGION", ""),
        }
        return RestCatalog("k2", **{name: value for name, value in properties.items() if value})

    def table(self, name: str) -> Table:
        return self.pyiceberg().load_table((NAMESPACE, name))  # type: ignore[no-any-return]


@pytest.fixture(params=["reference", "seaweedfs", pytest.param("rustberg", marks=pytest.mark.long)])
def rest(
    request: pytest.FixtureRequest,
    k2: Path,
    services: Services,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> RestWarehouse:
    """An empty warehouse on S3, behind the reference servlet on PostgreSQL, SeaweedFS's own catalog, or rustberg, which
    asks for a bearer token and chooses where tables lie."""
    if request.param == "rustberg" and not Rustberg.is_fetched():
        pytest.skip("rustberg is not built here: stack/fetch.sh rustberg")
    services.start({"reference": "catalog"}.get(request.param, request.param))
    variables = services.environment(seaweed_catalog=request.param == "seaweedfs")
    if request.param == "reference":
        variables["K2_WAREHOUSE"] += f"/{tmp_path.name}"
    if request.param == "rustberg":
        variables |= {"K2_CATALOG": services.rustberg.uri, "K2_CATALOG_TOKEN": Rustberg.token, "K2_WAREHOUSE": ""}
    for name, value in variables.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    warehouse = RestWarehouse(k2, variables)
    catalog = warehouse.pyiceberg()
    if (NAMESPACE,) in catalog.list_namespaces():
        for identifier in catalog.list_tables(NAMESPACE):
            catalog.drop_table(identifier)
    return warehouse


def test_run_is_read_by_others_and_goes_on_after_them(
    rest: RestWarehouse, simulate: Callable[..., Path], k2: Path
) -> None:
    rest.k2_run("tables", "create")
    assert rest.counts() == dict.fromkeys(ALL_TABLES, 0)
    rest.k2_run("tables", "create")  # nothing is left to make

    recordings = [(exchange, simulate(exchange, TRADES, seed=7)) for exchange in ("binance", "kraken")]
    rest.run(recordings)
    counts = rest.counts()
    assert counts[BRONZE] >= 2 * TRADES
    gold = rest.gold()
    assert len(gold) == counts[GOLD] > TRADES
    described = rest.json("tables", "describe", GOLD)
    assert described

    # A foreign append: k2 counts its rows, and carries its own source offsets on across it.
    table = rest.table(GOLD)
    row = table.scan(limit=1).to_arrow()
    foreign = row.set_column(row.schema.get_field_index("message_id"), "message_id", pa.array(["foreign"], pa.string()))
    table.append(foreign.cast(table.schema().as_arrow()))
    assert rest.counts()[GOLD] == len(gold) + 1

    longer = simulate("binance", TRADES, seed=8)
    rest.run([*recordings, ("binance", longer)])
    after = rest.gold()
    assert "foreign" in after
    assert gold.keys() < after.keys()
    assert rest.counts()[BRONZE] > counts[BRONZE]

    rest.run([*recordings, ("binance", longer)])  # all of it is read already
    assert rest.gold().keys() == after.keys()


def test_doctor_shows_the_catalog_and_no_secret(rest: RestWarehouse) -> None:
    rest.k2_run("tables", "create")
    done = rest.k2_run("doctor", "--output", "json", "--catalog-token", "very-secret-token", expect=None)
    checks = {check["check"]: check for check in json.loads(done.stdout)}
    assert "very-secret-token" not in done.stdout
    if secret := rest.variables.get("K2_CATALOG_CREDENTIAL", ""):
        assert secret.split(":")[1] not in done.stdout
    well = rest.k2_run("doctor", "--output", "json")
    if token := rest.variables.get("K2_CATALOG_TOKEN", ""):
        refused = checks["catalog"]["found"]
        assert "401" in refused
        assert token not in well.stdout
    catalog = next(check for check in json.loads(well.stdout) if check["check"] == "catalog")
    assert "answers in" in catalog["found"]
    assert f"{len(ALL_TABLES)} tables read" in catalog["found"]
    assert checks["setting catalog"]["found"].startswith(rest.variables["K2_CATALOG"])


def test_a_catalog_that_is_down_is_named(k2: Path) -> None:
    down = RestWarehouse(k2, {"K2_CATALOG": "http://127.0.0.1:9"})
    done = down.k2_run("doctor", expect=3)
    assert "http://127.0.0.1:9" in done.stdout


def test_an_s3_warehouse_needs_a_catalog(k2: Path) -> None:
    done = RestWarehouse(k2, {"K2_WAREHOUSE": "s3://lake/x"}).k2_run("tables", "create", expect=2)
    assert "--catalog" in done.stderr
