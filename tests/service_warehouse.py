"""A warehouse that k2 finds by variables: a folder, or a REST catalog and S3; and k2 processes that run for long."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import NamespaceNotEmptyError, NoSuchTableError
from pyiceberg.table import Table
from sqlalchemy.exc import OperationalError
from warehouse import BRONZE, NAMESPACE, TABLES, Warehouse, k2_environment

from stack.process import group_lives
from stack.services import Services
from stack.tables import SeaweedFs

STOP_S = 60.0


class Lake(Warehouse):
    """`variables` are those by which k2 finds everything, Kafka included."""

    def __init__(self, k2: Path, folder: Path, variables: Mapping[str, str], store: SeaweedFs | None = None) -> None:
        super().__init__(k2, folder)
        self.variables = dict(variables)
        self.store = store
        self.processes: list[Process] = []
        self._opened: Catalog | None = None

    @classmethod
    def local(cls, k2: Path, folder: Path, brokers: str) -> Lake:
        """The embedded catalog in a folder."""
        return cls(k2, folder, {"K2_WAREHOUSE": str(folder), "K2_KAFKA": brokers})

    @classmethod
    def rest(cls, k2: Path, folder: Path, services: Services, seaweed: bool = False) -> Lake:
        """The services' REST catalog and S3, without tables. `folder` only gives the tables a place of their own."""
        services.start("kafka", "seaweedfs" if seaweed else "catalog")
        variables = services.environment(seaweed_catalog=seaweed)
        if not seaweed:  # there is one place for a table in a table bucket
            variables["K2_WAREHOUSE"] += f"/{folder.name}-{os.urandom(4).hex()}"
        variables.pop("K2_REGISTRY", None)
        lake = cls(k2, folder, variables, services.s3)
        lake.drop_tables()
        return lake

    def command(self, *args: str | Path) -> list[str]:
        return [str(self.k2), *map(str, args)]

    def k2_run(
        self,
        *args: str | Path,
        expect: int | None = 0,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return super().k2_run(*args, expect=expect, env=self.variables | dict(env or {}), cwd=cwd, stdin=stdin)

    def begin(self, *args: str | Path, env: Mapping[str, str] | None = None) -> Process:
        """A k2 process beside the test. All of them are killed by kill_all()."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder.parent / f"{self.folder.name}-k2-{len(self.processes)}.log"
        process = Process(self.command(*args), k2_environment(self.variables | dict(env or {})), log)
        self.processes.append(process)
        return process

    def kill_all(self) -> None:
        for process in self.processes:
            process.kill()

    def run_kafka(self, *args: str, expect: int | None = 0, env: Mapping[str, str] | None = None) -> Any:
        """`k2 run --until-caught-up`; its report, where it ended well."""
        return self.run((), "--until-caught-up", *args, expect=expect, env=env)

    # As other engines see it.

    def catalog(self) -> Catalog:  # type: ignore[override]
        if "K2_CATALOG" not in self.variables:
            return super().catalog()
        if self._opened is None:
            properties = {
                "uri": self.variables["K2_CATALOG"],
                "warehouse": self.variables.get("K2_CATALOG_WAREHOUSE", ""),
                "credential": self.variables.get("K2_CATALOG_CREDENTIAL", ""),
                "s3.endpoint": self.variables["K2_S3_ENDPOINT"],
                "s3.access-key-id": self.variables["AWS_ACCESS_KEY_ID"],
                "s3.secret-access-key": self.variables["AWS_SECRET_ACCESS_KEY"],
                "s3.region": self.variables["AWS_REGION"],
            }
            self._opened = RestCatalog("k2", **{name: value for name, value in properties.items() if value})
        return self._opened

    def table(self, name: str) -> Table:
        return self.catalog().load_table((NAMESPACE, name))

    def drop_tables(self) -> None:
        catalog = self.catalog()
        if (NAMESPACE,) in catalog.list_namespaces():
            for identifier in catalog.list_tables(NAMESPACE):
                catalog.drop_table(identifier)

    def arrow(self, name: str, columns: Sequence[str]) -> pa.Table:
        return self.table(name).scan(selected_fields=tuple(columns)).to_arrow().select(columns)

    def heads(self) -> dict[str, int | None]:
        return {name: self.table(name).metadata.current_snapshot_id for name in TABLES}

    def total(self, name: str) -> int:
        """Rows by the summary of the newest snapshot; 0 where there is no table yet."""
        try:
            snapshot = self.table(name).current_snapshot()
        except (NoSuchTableError, NamespaceNotEmptyError):
            return 0
        except OperationalError:  # k2 makes the catalog's own tables at this moment, and PyIceberg would, too
            return 0
        return int(snapshot.summary["total-records"] or 0) if snapshot and snapshot.summary else 0

    def await_rows(self, wanted: Mapping[str, int], timeout_s: float = 60) -> None:
        """Waits until the tables hold so many rows at least, while the processes live."""
        wait_until(lambda: all(self.total(name) >= rows for name, rows in wanted.items()), timeout_s, self.state)

    def await_starts(self, topic: str, partitions: int, timeout_s: float = 30) -> None:
        """Waits until Bronze knows where to begin in so many partitions of the topic."""

        def known() -> bool:
            shown = self.k2_run("offsets", "show", "--output", "json", expect=None)
            if shown.returncode != 0:  # not all tables are made yet
                return False
            rows = json.loads(shown.stdout)
            found = [row for row in rows if row["table"] == BRONZE and row["topic"] == topic]
            return len(found) >= partitions

        wait_until(known, timeout_s, self.state)

    def state(self) -> str:
        logs = "\n".join(f"--- {process.log.name}\n{process.said()[-2000:]}" for process in self.processes)
        return f"{ {name: self.total(name) for name in TABLES} }\n{logs}"

    def assert_files_exist(self) -> None:
        """Every file that the metadata names is there; every data file is named by one live entry."""
        for name in TABLES:
            table = self.table(name)
            there = self._files_under(table.location())
            missing = sorted(path for path in files_named(table) if path not in there)
            assert not missing, f"{name}: {len(missing)} files named by the metadata are gone: {missing[:3]}"

    def files_of(self, table: Table) -> set[str]:
        """All files that lie where the table lies, named or not."""
        return self._files_under(table.location())

    def _files_under(self, location: str) -> set[str]:
        path = plain(location)
        if self.store is None or not location.startswith("s3"):
            return {str(file) for file in Path(path).rglob("*") if file.is_file()}
        from pyarrow.fs import FileSelector, FileType

        found = self.store.filesystem().get_file_info(FileSelector(path, recursive=True))
        return {info.path for info in found if info.type == FileType.File}


def plain(location: str) -> str:
    for prefix in ("file://", "file:", "s3://", "s3a://"):  # Java writes file:/path
        location = location.removeprefix(prefix)
    return location


def files_named(table: Table) -> set[str]:
    """Every metadata, manifest and data file that the current metadata reaches."""
    named = {table.metadata_location} | {entry.metadata_file for entry in table.metadata.metadata_log}
    seen: set[str] = set()
    for snapshot in table.metadata.snapshots:
        named.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            if manifest.manifest_path not in seen:
                seen.add(manifest.manifest_path)
                entries = manifest.fetch_manifest_entry(table.io)
                named.update(entry.data_file.file_path for entry in entries)
    return {plain(path) for path in named | seen}


class Process:
    """A k2 process whose words go to a file. `group`: in a process group of its own, of which kill() leaves nothing."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path, group: bool = False) -> None:
        self.log = log
        self.command = list(command)
        self.group = group
        self._killed = False
        with log.open("wb") as out:
            self.popen = subprocess.Popen(
                self.command, stdout=out, stderr=subprocess.STDOUT, env=dict(environment), start_new_session=group
            )

    @property
    def code(self) -> int | None:
        return self.popen.poll()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        if self.code is None:
            self.popen.send_signal(number)

    def kill(self) -> None:
        if self.group:
            self._kill_group()
        elif self.code is None:
            self.popen.kill()
        self.popen.wait(timeout=20)

    def _kill_group(self) -> None:
        """Once: the number may be another group's later."""
        if self._killed:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait(timeout=20)
        wait_until(lambda: not group_lives(self.popen.pid), 20, lambda: f"the group of {self.command} lives on")
        self._killed = True

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def stopped(self) -> bool:
        """Whether it lies still after SIGSTOP."""
        stat = Path(f"/proc/{self.popen.pid}/stat").read_text()
        return stat[stat.rindex(")") + 2] == "T"

    def wait(self, timeout_s: float = STOP_S) -> int:
        try:
            return self.popen.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} does not end:\n{self.said()[-3000:]}") from None

    def stop(self, expect: int | None = 0, timeout_s: float = STOP_S) -> str:
        """SIGTERM, and its exit code must be `expect` (None: any); returns what it said."""
        self.signal(signal.SIGTERM)
        code = self.wait(timeout_s)
        assert expect is None or code == expect, f"{self.command}: exit {code}\n{self.said()[-3000:]}"
        return self.said()

    def end(self, grace_s: float) -> None:
        """SIGTERM, and SIGKILL where that does not end it in time."""
        self.signal(signal.SIGTERM)
        try:
            self.popen.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def await_words(self, words: str, timeout_s: float = 30) -> None:
        wait_until(lambda: words in self.said(), timeout_s, lambda: f"'{words}' in {self.command}:\n{self.said()}")


def wait_until(done: Callable[[], bool], timeout_s: float, what: Callable[[], str], every_s: float = 0.1) -> None:
    end = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what()}")
        time.sleep(every_s)
