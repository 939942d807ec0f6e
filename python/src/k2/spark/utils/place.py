"""A warehouse in a folder that was moved or copied (docs/recovery.md).

Its catalog names the tables' files by the old place, and Iceberg's Java takes them there: what a session writes or
deletes in a copy is the original's. So everything of K2 that writes through such a session refuses first. The rules are
those of the k2 program (src/catalog/warehouse_place.cc).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from k2.spark.utils.errors import ConfigurationError, DataError

WAIT_S = 30.0  # while another process writes to the catalog


def embedded_folder(uri: str) -> Path | None:
    """The warehouse of a catalog that k2 keeps in a folder, by its JDBC address; None for any other."""
    found = re.fullmatch(r"jdbc:sqlite:(?:file:)?([^?]+)/catalog\.db(?:\?.*)?", uri)
    return Path(found[1]).absolute() if found else None


def check_catalog_place(catalog: str, conf: Callable[[str], str]) -> None:
    """Raises ConfigurationError where the warehouse of the session's catalog lies elsewhere than the catalog says.
    `conf` gives a setting of the session, "" where it has none."""
    folder = embedded_folder(conf(f"spark.sql.catalog.{catalog}.uri"))
    if folder is None or not (folder / "catalog.db").is_file():
        return
    try:
        with closing(_open(folder)) as db:
            _check(db, catalog, folder)
    except sqlite3.Error as error:
        raise DataError(
            f"the catalog {folder}/catalog.db cannot be read ({error}). If it is damaged, `k2 tables recover "
            f"--warehouse {folder}` rebuilds it from the tables' files"
        ) from error


def check_table_place(table: Any, catalog: str, conf: Callable[[str], str]) -> None:
    """The same of a Hadoop catalog, which finds a table by its folder: by a table of it, a Java object."""
    if conf(f"spark.sql.catalog.{catalog}.type") != "hadoop":
        return
    said, metadata = str(table.location()), str(table.operations().current().metadataFileLocation())
    found = metadata.rpartition("/metadata/")[0]
    if _bare(said) == _bare(found) or _is_same_file(_bare(said), _bare(found)):
        return
    raise ConfigurationError(
        f"the table in {found} was moved or copied: its metadata references files at {said}, which writing here "
        "would change. Iceberg's procedure rewrite_table_path gives a copy its own paths"
    )


def _check(db: sqlite3.Connection, catalog: str, folder: Path) -> None:
    remembered = _remembered(db)
    if remembered is not None:
        location, identity = remembered
        if not _is_same_file(_bare(location), folder):
            raise _displaced(Path(_bare(location)), identity, folder)
        return
    former = _former_by_tables(db, catalog, folder)
    if former is not None:
        raise _displaced(former, "", folder)


def _open(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(folder))}/catalog.db?mode=ro", uri=True, timeout=WAIT_S)


def _has_table(db: sqlite3.Connection, name: str) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).fetchone() is not None


def _remembered(db: sqlite3.Connection) -> tuple[str, str] | None:
    """Location and identity; None in catalogs of older versions."""
    if not _has_table(db, "k2_warehouse"):
        return None
    row = db.execute("SELECT location, id FROM k2_warehouse WHERE place = 1").fetchone()
    return None if row is None else (str(row[0]), str(row[1]))


def _former_by_tables(db: sqlite3.Connection, catalog: str, folder: Path) -> Path | None:
    """Where the warehouse was, if no table is in the folder by its own name, and a file of one is by another."""
    if not _has_table(db, "iceberg_tables"):
        return None
    rows = db.execute("SELECT metadata_location FROM iceberg_tables WHERE catalog_name = ?", (catalog,))
    paths = [Path(_bare(row[0])) for row in rows if row[0] and _bare(row[0]).startswith("/")]
    if any(_is_same_file(above, folder) for path in paths for above in path.parents):
        return None
    for path in paths:
        for above in reversed(path.parents):
            if (folder / path.relative_to(above)).is_file():
                return above
    return None


def _displaced(former: Path, identity: str, folder: Path) -> ConfigurationError:
    if _is_copy_of(former, identity, folder):
        return ConfigurationError(
            f"{folder} is a copy of the warehouse {former}: its tables reference the files of the original, which "
            f"writing here would change. `k2 tables relocate --warehouse {folder}` makes it an independent warehouse"
        )
    return ConfigurationError(
        f"the warehouse {former} was moved to {folder}: its tables reference their files at the old location. "
        f"`k2 tables relocate --warehouse {folder}` updates them"
    )


def _is_copy_of(original: Path, identity: str, folder: Path) -> bool:
    """The catalog at the place that is remembered has the same identity, or it is one and the same file."""
    if not (original / "catalog.db").is_file():
        return False
    if not identity or _is_same_file(original / "catalog.db", folder / "catalog.db"):
        return True
    try:
        with closing(_open(original)) as db:
            there = _remembered(db)
    except sqlite3.Error:
        return True  # something is there: be careful
    return there is None or there[1] == identity


def _bare(location: str) -> str:
    """A local path without its scheme; other locations as they are."""
    return re.sub(r"^file:/*(?=/)", "", location).rstrip("/")


def _is_same_file(path: str | Path, other: str | Path) -> bool:
    """By device and inode: links, bind mounts and other spellings are the same place."""
    try:
        return Path(path).samefile(other)
    except OSError:
        return False
