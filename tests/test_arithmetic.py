"""What engines make of products and sums of prices and quantities: each line of the tables in docs/engines.md,
"Arithmetic in each engine", on an Iceberg table with the columns' types."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path
from typing import Any

import chdb
import daft
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from engines import Spark, duckdb_with_iceberg
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import DecimalType, NestedField, StringType
from warehouse import NAMESPACE

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "engines.md"
PRICE = DecimalType(24, 14)
QUANTITY = DecimalType(24, 8)
MOST = Decimal("9999999999.99999999999999"), Decimal("9999999999999999.99999999")
LEAST = Decimal("1e-14"), Decimal("1e-8")
ROWS = {
    "ordinary": (Decimal("61837.63"), Decimal("0.00123456")),
    "odd": (Decimal("0.00001234567891"), Decimal("98765432109.87654321")),
    "fine": (Decimal("123456.78901234567891"), Decimal("1.00000001")),
    "large": (Decimal("61837.63"), Decimal(10_000)),
    "small": LEAST,
    "dear": (MOST[0], LEAST[1]),
    "many": (LEAST[0], MOST[1]),
}
PRODUCT = "`price * quantity`"
SUMS = "`sum(price)`, `sum(quantity)`"
MEAN = "`avg(price)`"
QUOTIENT = "`sum(price * quantity) / sum(quantity)`"

Numbers = dict[str, Decimal]


def exactly(compute: Callable[[Decimal, Decimal], Decimal]) -> Numbers:
    with localcontext(prec=80):
        return {name: compute(price, quantity) for name, (price, quantity) in ROWS.items()}


PRODUCTS = exactly(lambda price, quantity: price * quantity)
SQUARES = exactly(lambda price, _: price * price)
PRICES = exactly(lambda price, _: price)
TOTALS = tuple(sum((row[at] for row in ROWS.values()), Decimal(0)) for at in (0, 1))
with localcontext(prec=80):
    BEYOND = MOST[0] * MOST[1]  # fits no 38 digits


def rounded(numbers: Numbers, scale: int) -> Numbers:
    with localcontext(prec=80):
        return {name: value.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP) for name, value in numbers.items()}


def documented(heading: str) -> dict[str, str]:
    """Cells of one column, by the engine that begins their row."""
    text = DOCUMENT.read_text().split("\n## Arithmetic in each engine\n", 1)[1]
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        head, _, *rows = [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in table.splitlines()]
        if heading in head:
            return {row[0].split(",")[0]: row[head.index(heading)] for row in rows}
    raise AssertionError(f"no table has a column {heading}")


def says(engine: str, heading: str, *texts: object) -> None:
    """The document has these types or words, in this spelling but for spaces and capitals."""

    def plain(text: object) -> str:
        return str(text).lower().replace(" ", "").replace("decimal128", "decimal")

    cell = plain(documented(heading)[engine])
    assert not [text for text in texts if plain(text) not in cell], cell


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arithmetic")


@pytest.fixture(scope="module")
def table(folder: Path) -> Table:
    catalog = SqlCatalog("iceberg", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    catalog.create_namespace(NAMESPACE)
    schema = Schema(
        NestedField(1, "name", StringType(), required=True),
        NestedField(2, "price", PRICE, required=True),
        NestedField(3, "quantity", QUANTITY, required=True),
    )
    made = catalog.create_table((NAMESPACE, "trades"), schema, location=f"file://{folder}/{NAMESPACE}/trades")
    columns = [list(ROWS), *([row[at] for row in ROWS.values()] for at in (0, 1))]
    arrow = made.schema().as_arrow()
    made.append(pa.table([pa.array(column, of) for column, of in zip(columns, arrow.types, strict=True)], schema=arrow))
    return made


def test_the_document_names_each_engine_and_the_digits() -> None:
    engines = ["DuckDB", "ClickHouse", "polars", "Spark", "pyarrow", "Daft"]
    for heading in (PRODUCT, SUMS, MEAN, QUOTIENT):
        assert list(documented(heading)) == engines
    assert max(-int(value.normalize().as_tuple().exponent) for value in PRODUCTS.values()) == 22
    assert "A product has 22 decimals" in DOCUMENT.read_text()


def test_duckdb(table: Table) -> None:
    duck = duckdb_with_iceberg()
    source = f"iceberg_scan('{table.metadata_location.removeprefix('file://')}')"

    def ask(text: str) -> list[Any]:
        return duck.execute(text.format(T=source)).fetchall()

    def types(*expressions: str) -> tuple[Any, ...]:
        (row,) = ask(f"SELECT {', '.join(f'typeof({each})' for each in expressions)} FROM {{T}}")
        return tuple(row)

    assert dict(ask("SELECT name, price FROM {T}")) == PRICES
    assert ask("SELECT name FROM {T} WHERE price = 61837.63 AND quantity < 1") == [("ordinary",)]
    assert dict(ask("SELECT name, price * quantity FROM {T}")) == PRODUCTS
    says("DuckDB", PRODUCT, ask("SELECT typeof(price * quantity) FROM {T}")[0][0], "exact", "an error where it is 10¹⁶")
    multiply = "SELECT {}::DECIMAL(24, 14) * {}::DECIMAL(24, {})"
    assert ask(multiply.format(9_999_999_999, 1_000_000, 8))[0][0] == Decimal(9_999_999_999_000_000)
    for refused in (multiply.format(10**9, 10**7, 8), multiply.format(*MOST, 8)):
        with pytest.raises(duckdb.OutOfRangeException):
            ask(refused)
    assert ask("SELECT sum(price), sum(quantity) FROM {T}") == [TOTALS]
    says("DuckDB", SUMS, *types("sum(price)", "sum(quantity)"))
    says("DuckDB", MEAN, *types("avg(price)"))
    says("DuckDB", QUOTIENT, *types("sum(price * quantity) / sum(quantity)"))
    assert types("avg(price)", "sum(price * quantity) / sum(quantity)") == ("DOUBLE", "DOUBLE")
    below = Decimal("99999.99999999999999")
    with localcontext(prec=80):
        assert ask(multiply.format(below, below, 14))[0][0] == below * below
    with pytest.raises(duckdb.OutOfRangeException):
        ask(multiply.format(100_000, 100_000, 14))


def test_doubles(table: Table) -> None:
    """The examples of `price::DOUBLE`, and that numbers of fifteen digits stay what they are."""
    duck = duckdb_with_iceberg()
    source = f"iceberg_scan('{table.metadata_location.removeprefix('file://')}')"
    doubles = dict(duck.execute(f"SELECT name, price::DOUBLE FROM {source}").fetchall())
    text = DOCUMENT.read_text()
    examples = re.findall(r"([\d.]+) (?:stays|becomes)\s+([\d.]+\d)", text)
    assert len(examples) == 3
    by_price = {str(price): doubles[name] for name, price in PRICES.items()}
    assert {given: float(kept) for given, kept in examples} == {given: by_price[given] for given, _ in examples}
    assert Decimal(repr(doubles["ordinary"])) == PRICES["ordinary"]
    assert Decimal(repr(doubles["fine"])) != PRICES["fine"]
    for digits in range(10**14 + 1, 10**15, 10**12 + 7):
        number = Decimal(digits).scaleb(-8)
        assert Decimal(f"{float(number):.15g}") == number


def test_clickhouse(table: Table, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert table.current_snapshot() is not None
    monkeypatch.chdir(folder)  # it reads paths below the working folder
    source = f"icebergLocal('{NAMESPACE}/trades')"

    def ask(text: str) -> list[list[str]]:
        return [line.split("\t") for line in str(chdb.query(text.format(T=source), "TSV")).splitlines()]

    def numbers(expression: str) -> Numbers:
        return {name: Decimal(value) for name, value in ask(f"SELECT name, {expression} FROM {{T}}")}

    def types(*expressions: str) -> list[str]:
        return ask(f"SELECT {', '.join(f'toTypeName({each})' for each in expressions)} FROM {{T}}")[0]

    def constant(expression: str, price: object, quantity: object, scale: int = 8) -> Decimal:
        of = f"CAST('{price}' AS Decimal(24, 14)) AS p, CAST('{quantity}' AS Decimal(24, {scale})) AS q"
        return Decimal(ask(f"SELECT {expression} FROM (SELECT {of})")[0][0])

    assert numbers("price") == PRICES
    assert ask("SELECT name FROM {T} WHERE price = toDecimal128('61837.63', 14) AND quantity < 1") == [["ordinary"]]
    assert numbers("price * quantity") == PRODUCTS
    says("ClickHouse", PRODUCT, *types("price * quantity"), "exact below 1.7·10¹⁶", "wrong without an error")
    assert constant("p * q", 1_600_000_000, 10_000_000) == 16 * 10**15
    assert constant("p * q", 1_800_000_000, 10_000_000) != 18 * 10**15
    assert constant("p * q", *MOST) != BEYOND
    assert "`toDecimal256(price, 14) * quantity`" in documented("what to write for an exact one")["ClickHouse"]
    assert numbers("toDecimal256(price, 14) * quantity") == PRODUCTS
    assert constant("toDecimal256(p, 14) * q", *MOST) == BEYOND
    assert [Decimal(value) for value in ask("SELECT sum(price), sum(quantity) FROM {T}")[0]] == list(TOTALS)
    says("ClickHouse", SUMS, *types("sum(price)", "sum(quantity)"))
    says("ClickHouse", MEAN, *types("avg(price)"))
    quotient = "sum(p * q) / sum(q)"
    says("ClickHouse", QUOTIENT, *types("sum(price * quantity) / sum(quantity)"), "wrong without an error", "1.7·10⁸")
    assert constant(quotient, "1.6", 10**8) == Decimal("1.6")
    assert constant(quotient, "1.8", 10**8) != Decimal("1.8")
    assert constant(quotient, *ROWS["large"]) < 0
    for row in ROWS.values():
        assert constant("sum(toDecimal256(p, 14) * q) / sum(q)", *row) == row[0]
    assert constant("p * q", 130_000, 130_000, 14) == 130_000**2
    assert constant("p * q", 131_000, 131_000, 14) != 131_000**2


def test_polars(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLARS_ICEBERG_PLANNER", "pyiceberg")  # else it warns that its own planner is not installed
    frame = pl.scan_iceberg(table).collect()
    price, quantity = pl.col("price"), pl.col("quantity")
    wide = price.cast(pl.Decimal(38, 22))

    def numbers(expression: pl.Expr) -> Numbers:
        return {row["name"]: row["x"] for row in frame.select("name", x=expression).to_dicts()}

    def type_of(expression: pl.Expr) -> str:
        of = frame.select(x=expression).schema["x"]
        return f"decimal({of.precision}, {of.scale})" if isinstance(of, pl.Decimal) else str(of)

    def constant(expression: pl.Expr, at: tuple[Decimal, Decimal]) -> Decimal:
        of = {"price": pl.Decimal(24, 14), "quantity": pl.Decimal(24, 8)}
        made = pl.DataFrame({"price": [at[0]], "quantity": [at[1]]}, schema=of)
        value = made.select(x=expression)["x"][0]
        assert isinstance(value, Decimal)
        return value

    assert numbers(price) == PRICES
    filtered = pl.scan_iceberg(table).filter(price == Decimal("61837.63"), quantity < 1).collect()
    assert filtered["name"].to_list() == ["ordinary"]
    assert numbers(price * quantity) == rounded(PRODUCTS, 14) != PRODUCTS
    says("polars", PRODUCT, type_of(price * quantity), "rounded to 14 decimals")
    assert 'pl.col("price").cast(pl.Decimal(38, 22)) * pl.col("quantity")' in DOCUMENT.read_text()
    assert numbers(wide * quantity) == PRODUCTS
    assert constant(wide * quantity, (Decimal(9_999_999_999), Decimal(10**6))) == 9_999_999_999 * 10**6
    for beyond in ((Decimal(10**9), Decimal(10**7)), MOST):
        with pytest.raises(pl.exceptions.ComputeError, match="overflow"):
            constant(wide * quantity, beyond)
    assert frame.select(price.sum(), quantity.sum()).row(0) == TOTALS
    says("polars", SUMS, type_of(price.sum()), type_of(quantity.sum()))
    says("polars", MEAN, type_of(price.mean()))
    narrow, better = ((each * quantity).sum() / quantity.sum() for each in (price, wide))
    says("polars", QUOTIENT, type_of(narrow), type_of(better))
    assert type_of(better) == "decimal(38, 22)"
    for at in ROWS.values():
        assert constant(better, at) == at[0]
    assert constant(narrow, LEAST) == 0
    assert numbers(price * price) == rounded(SQUARES, 14) != SQUARES
    assert "polars to 14" in DOCUMENT.read_text()


def test_spark(table: Table, folder: Path, spark: Spark) -> None:
    assert table.current_snapshot() is not None
    session = spark.of(folder)
    quotient = "sum(price * quantity) / sum(quantity)"

    def ask(what: str, more: str = "") -> list[Any]:
        return [tuple(row) for row in spark.sql(folder, f"SELECT {what} FROM {{ns}}.trades {more}")]

    def types(*expressions: str) -> tuple[Any, ...]:
        return tuple(ask(", ".join(f"typeof({each})" for each in expressions))[0])

    beyond = f"CAST({MOST[0]} AS DECIMAL(24, 14)) * CAST({MOST[1]} AS DECIMAL(24, 8))"
    assert dict(ask("name, price")) == PRICES
    assert ask("name", "WHERE price = 61837.63 AND quantity < 1") == [("ordinary",)]
    assert dict(ask("name, price * quantity")) == rounded(PRODUCTS, 11) != PRODUCTS
    says("Spark", PRODUCT, ask("typeof(price * quantity)")[0][0], "rounded to 11 decimals")
    assert ask("sum(price), sum(quantity)") == [TOTALS]
    says("Spark", SUMS, *types("sum(price)", "sum(quantity)"))
    says("Spark", MEAN, *types("avg(price)"))
    says("Spark", QUOTIENT, *types(quotient))
    assert ask(quotient, "WHERE name = 'small'") == [(0,)]
    assert dict(ask("name, price * price")) == rounded(SQUARES, 17) != SQUARES
    assert "Spark rounds to 17 decimals" in DOCUMENT.read_text()

    setting = "spark.sql.decimalOperations.allowPrecisionLoss"
    session.conf.set(setting, "false")
    try:
        exact = documented("what to write for an exact one")["Spark"]
        assert f"`{setting}=false`" in exact
        assert dict(ask("name, price * quantity")) == PRODUCTS
        assert ask("typeof(price * quantity)")[0][0].replace(",", ", ") in exact
        assert ask(beyond)[0] == (None,)
        says("Spark", QUOTIENT, *types(quotient))
        assert dict(ask(f"name, {quotient}", "GROUP BY name")) == PRICES
    finally:
        session.conf.unset(setting)


def test_pyarrow(table: Table) -> None:
    rows = table.scan().to_arrow()
    price, quantity = rows["price"], rows["quantity"]

    def numbers(column: Any) -> Numbers:
        return dict(zip(rows["name"].to_pylist(), column.to_pylist(), strict=True))

    assert numbers(price) == PRICES
    written = "price == '61837.63000000000000'"
    assert f"`{written}`" in DOCUMENT.read_text()
    assert table.scan(row_filter=written).to_arrow()["name"].to_pylist() == ["ordinary", "large"]
    with pytest.raises(ValueError, match="scales differ"):
        table.scan(row_filter="price == '61837.63'").to_arrow()
    for refused in (lambda: pc.multiply(price, quantity), lambda: pc.multiply(price, price)):
        with pytest.raises(pa.ArrowInvalid, match="precision out of range"):
            refused()
    says("pyarrow", PRODUCT, "refused: more than 38 digits")
    says("pyarrow", "what to write for an exact one", "`decimal256(24, 14)`", "`decimal256(24, 8)`")
    wide = price.cast(pa.decimal256(24, 14)), quantity.cast(pa.decimal256(24, 8))
    assert numbers(pc.multiply(*wide)) == PRODUCTS
    most = pa.array(MOST[:1], pa.decimal256(24, 14)), pa.array(MOST[1:], pa.decimal256(24, 8))
    assert pc.multiply(*most).to_pylist() == [BEYOND]
    sums = [pc.sum(price), pc.sum(quantity)]
    assert tuple(each.as_py() for each in sums) == TOTALS
    says("pyarrow", SUMS, *(each.type for each in sums))
    says("pyarrow", MEAN, pc.mean(price).type)
    says("pyarrow", QUOTIENT, "refused")


def test_daft(table: Table) -> None:
    frame = daft.read_iceberg(table)
    name: Any = daft.col("name")
    price: Any = daft.col("price")
    quantity: Any = daft.col("quantity")

    def numbers(expression: daft.Expression) -> Numbers:
        return {row["name"]: row["x"] for row in frame.select("name", expression.alias("x")).to_pylist()}

    assert numbers(price) == PRICES
    filtered = frame.where(price == Decimal("61837.63000000000000")).to_pylist()
    assert [row["name"] for row in filtered] == ["ordinary", "large"]
    with pytest.raises(Exception, match="exceed bounds"):
        frame.where(price == Decimal("61837.63"))
    for refused in (price * quantity, price * price):
        with pytest.raises(Exception, match="exceed bounds"):
            numbers(refused)
    says("Daft", PRODUCT, "refused: more than 38 digits", "wrong without an error", f"({daft.__version__})")
    # When this fails Daft multiplies rightly: the document is to say so.
    fewer = price.cast(daft.DataType.decimal128(22, 14)) * quantity.cast(daft.DataType.decimal128(15, 8))
    (cast,) = frame.where(name == "fine").select(fewer.alias("x")).to_pylist()
    assert cast["x"] != PRODUCTS["fine"]
    says("Daft", "what to write for an exact one", "`frame.to_arrow()`")
    rows = frame.to_arrow()
    wide = rows["price"].cast(pa.decimal256(24, 14)), rows["quantity"].cast(pa.decimal256(24, 8))
    assert dict(zip(rows["name"].to_pylist(), pc.multiply(*wide).to_pylist(), strict=True)) == PRODUCTS
    sums = frame.agg(price.sum().alias("price"), quantity.sum().alias("quantity"), price.mean().alias("mean"))
    (row,) = sums.to_pylist()
    assert (row["price"], row["quantity"]) == TOTALS
    arrow = sums.to_arrow().schema
    says("Daft", SUMS, arrow.field("price").type, arrow.field("quantity").type)
    says("Daft", MEAN, arrow.field("mean").type)
    says("Daft", QUOTIENT, "refused")
