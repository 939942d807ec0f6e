"""Where tables live: PostgreSQL, the S3 store, the Iceberg REST catalog; and Prometheus."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from stack.pins import DEPS, ROOT, StackError, fetched
from stack.process import HOST, Server, answers
from stack.tools import (
    ACCESS_KEY,
    BUCKET,
    REGION,
    SECRET_KEY,
    SMALL_JVM,
    TABLE_BUCKET,
    WAREHOUSE,
    java,
    why_not,
)


class Postgres(Server):
    """PostgreSQL. It refuses to run as root: as root it runs as the user postgres."""

    name = "postgres"
    default_ports: ClassVar = {"sql": 5432}
    stop_signal = signal.SIGINT  # "fast": does not wait for clients to leave
    database = "catalog"
    user = "k2"

    def __init__(
        self, folder: Path, ports: Mapping[str, int] | None = None, keep: bool = False, durable: bool = True
    ) -> None:
        """`durable`: whether a commit waits for the disk; only a machine that loses power needs it."""
        super().__init__(folder, ports, keep)
        self._fsync = "on" if durable else "off"
        self._data = folder / "data"

    @property
    def jdbc(self) -> str:
        return f"jdbc:postgresql://{HOST}:{self.ports['sql']}/{self.database}"

    def prepare(self) -> None:
        if (self._data / "k2-made").exists():
            return
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self._data, "postgres", "postgres")
        words: list[str | Path] = [
            self._program("initdb"),
            "-D",
            self._data,
            "-U",
            self.user,
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        self._run([*words, "--locale=C.UTF-8"])
        (self._data / "k2-made").touch()

    def command(self) -> Sequence[str | Path]:
        options = {
            "listen_addresses": HOST,
            "port": str(self.ports["sql"]),
            "unix_socket_directories": "",
            "shared_buffers": "32MB",
            "max_connections": "50",
            "fsync": self._fsync,
        }
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [*self._as_other_user(), self._program("postgres"), "-D", self._data, *flags]

    def check(self) -> str | None:
        words = [str(self._program("pg_isready")), "-q", "-h", HOST, "-p", str(self.ports["sql"]), "-t", "2"]
        ready = subprocess.run(words, check=False, timeout=10).returncode == 0
        return None if ready else f"{HOST}:{self.ports['sql']} does not take connections"

    def first_use(self) -> None:
        if (self.folder / "database-made").exists():
            return
        where = ["-h", HOST, "-p", str(self.ports["sql"]), "-U", self.user]
        query = f"SELECT 1 FROM pg_database WHERE datname = '{self.database}'"
        if "1" not in self._run([self._program("psql"), *where, "-d", "postgres", "-Atc", query]):
            self._run([self._program("createdb"), *where, self.database])
        (self.folder / "database-made").touch()

    @staticmethod
    def _program(name: str) -> Path:
        found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
        if not found:
            raise StackError("PostgreSQL is not installed: run scripts/setup.sh --services")
        return found[-1]

    @staticmethod
    def _as_other_user() -> list[str | Path]:
        if os.geteuid() != 0:
            return []
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            raise StackError("PostgreSQL does not run as root, and there is no user postgres to run it as") from None
        # The capability lets it pass folders of root's on the way to its data.
        words = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        return [*words, "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override", "--"]

    def _run(self, words: Sequence[str | Path]) -> str:
        done = subprocess.run(
            [str(word) for word in (*self._as_other_user(), *words)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd="/",
        )
        if done.returncode != 0:
            raise StackError(f"postgres: {words[0]} failed:\n{done.stdout}{done.stderr}")
        return done.stdout


class SeaweedFs(Server):
    """An S3 store with a bucket in it, and an Iceberg REST catalog of its own, in one process."""

    name = "seaweedfs"
    default_ports: ClassVar = {
        "s3": 9000,
        "catalog": 8182,
        "lance": 8183,
        "master": 9333,
        "volume": 9340,
        "filer": 8888,
        "admin": 23646,
        "s3.grpc": 19000,
        "master.grpc": 19333,
        "volume.grpc": 19340,
        "filer.grpc": 18888,
        "admin.grpc": 23647,
    }

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.ports['s3']}"

    @property
    def catalog_uri(self) -> str:
        return f"http://{HOST}:{self.ports['catalog']}"

    @property
    def catalog_warehouse(self) -> str:
        return f"s3://{TABLE_BUCKET}"

    @property
    def credential(self) -> str:
        """For the catalog's OAuth2."""
        return f"{ACCESS_KEY}:{SECRET_KEY}"

    def prepare(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)

    def command(self) -> Sequence[str | Path]:
        port = self.ports
        flags = {
            "dir": self.folder / "data",
            "ip": HOST,
            "ip.bind": HOST,
            "s3.port": port["s3"],
            "s3.port.grpc": port["s3.grpc"],
            "s3.port.iceberg": port["catalog"],
            "s3.port.lance": port["lance"],
            "master.port": port["master"],
            "master.port.grpc": port["master.grpc"],
            "volume.port": port["volume"],
            "volume.port.grpc": port["volume.grpc"],
            "filer.port": port["filer"],
            "filer.port.grpc": port["filer.grpc"],
            "filer.localSocket": self.folder / "filer.sock" if len(str(self.folder)) < 90 else "",
            "admin.port": port["admin"],
            "admin.port.grpc": port["admin.grpc"],
            "admin.ui": "false",
            "webdav": "false",
            "volume.preStopSeconds": "0",
            "master.telemetry": "false",
            "bucket": BUCKET,
            "tableBucket": TABLE_BUCKET,
        }
        program = ROOT / ".venv" / "bin" / "weed"
        if not program.exists():
            raise StackError(f"there is no {program}: run scripts/setup.sh --services")
        return [program, "mini", *(f"-{name}={value}" for name, value in flags.items())]

    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    def check(self) -> str | None:
        for purpose in ("s3", "catalog"):
            if not answers(self.ports[purpose]):
                return f"nothing answers on {HOST}:{self.ports[purpose]}"
        from pyarrow.fs import FileType

        try:
            store = self.filesystem()
            if store.get_file_info(BUCKET).type != FileType.Directory:
                return f"there is no bucket {BUCKET} yet"
            with store.open_output_stream(f"{BUCKET}/.ready") as file:
                file.write(b"ready")
            store.delete_file(f"{BUCKET}/.ready")
        except OSError as error:
            return f"{self.endpoint}: {error}"
        return None

    def filesystem(self, endpoint: str | None = None) -> Any:
        """pyarrow's view of the store."""
        from pyarrow.fs import S3FileSystem

        return S3FileSystem(
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            endpoint_override=endpoint or self.endpoint,
            region=REGION,
            connect_timeout=2,
            request_timeout=5,
        )


class RestCatalog(Server):
    """Iceberg's reference catalog: tables in PostgreSQL, files in the S3 store."""

    name = "rest-catalog"
    default_ports: ClassVar = {"http": 8181}

    def __init__(
        self,
        folder: Path,
        jdbc: str,
        s3_endpoint: str,
        ports: Mapping[str, int] | None = None,
        keep: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`settings`: catalog properties over those below."""
        super().__init__(folder, ports, keep)
        self._properties = {
            "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
            "uri": jdbc,
            "jdbc.user": Postgres.user,
            "jdbc.schema-version": "V1",
            "warehouse": WAREHOUSE,
            "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
            "s3.endpoint": s3_endpoint,
            "s3.path-style-access": "true",
            "s3.access-key-id": ACCESS_KEY,
            "s3.secret-access-key": SECRET_KEY,
            "client.region": REGION,
        } | dict(settings or {})

    @property
    def uri(self) -> str:
        return f"http://{HOST}:{self.ports['http']}"

    def environment(self) -> dict[str, str]:
        # As stack/rest-catalog/RestCatalog.java reads them.
        spelled = {name.replace("-", "__").replace(".", "_").upper(): value for name, value in self._properties.items()}
        return {f"CATALOG_{name}": value for name, value in spelled.items()}

    def command(self) -> Sequence[str | Path]:
        folder = fetched("rest-catalog")
        log = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        jars = f"{folder}/classes:{folder}/lib/*"
        return [java(), "-Xmx256m", *SMALL_JVM, log, "-cp", jars, "RestCatalog", HOST, str(self.ports["http"])]

    def check(self) -> str | None:
        return why_not(f"{self.uri}/v1/namespaces")


class Rustberg(Server):
    """A REST catalog of another make, in Rust, for tests: tables in a file of its own, files in the S3 store, a bearer
    token at the door. It takes tables only where it would have put them itself."""

    name = "rustberg"
    default_ports: ClassVar = {"http": 8184}
    token = "rb_k2-catalog-token"

    def __init__(
        self, folder: Path, s3_endpoint: str, ports: Mapping[str, int] | None = None, keep: bool = False
    ) -> None:
        super().__init__(folder, ports, keep)
        self._s3_endpoint = s3_endpoint
        self._file = folder / "rustberg.toml"

    @property
    def uri(self) -> str:
        return f"http://{HOST}:{self.ports['http']}"

    @staticmethod
    def is_fetched() -> bool:
        """It is built only where somebody asked for it: stack/fetch.sh rustberg."""
        return (DEPS / "rustberg" / "version").exists()

    def prepare(self) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        # Tests ask fast, and with wrong tokens: no limit on either.
        self._file.write_text(f"""\
[server]
host = "{HOST}"
port = {self.ports["http"]}

[[server.auth.api_keys]]
name = "k2"
tenant = "default"
roles = ["admin"]
key_env = "RUSTBERG_KEY"

[storage]
catalog_url = "file://{self.folder}/data"
warehouse_location = "s3://{BUCKET}/rustberg"

[storage.properties]
"s3.endpoint" = "{self._s3_endpoint}"
"s3.path-style-access" = "true"
"s3.region" = "{REGION}"
"s3.access-key-id" = "{ACCESS_KEY}"
"s3.secret-access-key" = "env:RUSTBERG_S3_KEY"

[rate_limit]
enabled = false
track_auth_failures = false

[audit]
sink = "none"
fail_closed = false
""")

    def settings(self) -> list[str]:
        return [self._file.read_text()]

    def environment(self) -> dict[str, str]:
        return {"RUSTBERG_KEY": self.token, "RUSTBERG_S3_KEY": SECRET_KEY}

    def command(self) -> Sequence[str | Path]:
        return [fetched("rustberg/bin/rustberg"), "--config", self._file, "--insecure-http", "--log-level", "warn"]

    def check(self) -> str | None:
        return why_not(f"{self.uri}/ready")


class Prometheus(Server):
    """Scrapes as deploy/prometheus says, at other addresses."""

    name = "prometheus"
    default_ports: ClassVar = {"http": 9090}

    def __init__(
        self,
        folder: Path,
        targets: Mapping[str, Sequence[str]],
        ports: Mapping[str, int] | None = None,
        keep: bool = False,
    ) -> None:
        """`targets`: by scrape job, HOST:PORT; a job without any is left out."""
        super().__init__(folder, ports, keep)
        self._targets = {job: list(addresses) for job, addresses in targets.items()}
        self._file = folder / "prometheus.yml"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports['http']}"

    def prepare(self) -> None:
        import yaml

        source = ROOT / "deploy" / "prometheus"
        config = yaml.safe_load((source / "prometheus.yml").read_text())
        jobs = {job["job_name"]: job for job in config["scrape_configs"]}
        if unknown := self._targets.keys() - jobs.keys():
            raise StackError(f"{source}/prometheus.yml has no job {', '.join(sorted(unknown))}")
        for name, addresses in self._targets.items():
            jobs[name]["static_configs"] = [{"targets": addresses}]
        config["scrape_configs"] = [jobs[name] for name in self._targets]
        config["rule_files"] = [str(source / name) for name in config["rule_files"]]
        self._file.write_text(json.dumps(config, indent=1))

    def settings(self) -> list[str]:
        return [self._file.read_text()]

    def command(self) -> Sequence[str | Path]:
        listen = f"--web.listen-address={HOST}:{self.ports['http']}"
        store = f"--storage.tsdb.path={self.folder}/data"
        return [fetched("prometheus/usr/bin/prometheus"), f"--config.file={self._file}", store, listen]

    def check(self) -> str | None:
        return why_not(f"{self.url}/-/ready")
