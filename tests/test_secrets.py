"""Every setting that can hold a secret, one by one: it is not in what k2 prints, logs or shows of its process."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from warehouse import Warehouse, k2_environment

SECRET = "5entinel-of-a-secret"
DEAD = "127.0.0.1:1"

ALL_OF_KAFKA = (
    f'sasl.username=me,sasl.password="1,{SECRET}",ssl.key.password={SECRET},ssl.key.pem={SECRET},'
    f"ssl.keystore.password={SECRET},sasl.oauthbearer.config=principal={SECRET},"
    f"sasl.oauthbearer.client.secret={SECRET},ssl.key.location=key.pem"
)
# Every setting that holds a secret wholly or in part, in each form that it may have; those together that can be.
GIVEN: dict[str, dict[str, str]] = {
    "tokens": {
        "catalog": f"http://{SECRET}@{DEAD}/iceberg",
        "catalog-token": f"{SECRET}:{SECRET}",
        "registry": f"http://{SECRET}@{DEAD}",
        "registry-token": f"{SECRET}:rest",
        "kafka-set": ALL_OF_KAFKA,
    },
    "credentials": {
        "catalog": f"http://me:{SECRET}@{DEAD}/iceberg",
        "catalog-credential": f"id:{SECRET}",
        "catalog-oauth2-uri": f"http://{SECRET}@{DEAD}/token",
        "registry": f"http://{SECRET}:x@{DEAD}",
        "registry-credential": f"me:{SECRET}",
        "kafka-set": f"sasl.password=1,{SECRET}={SECRET}",
    },
    "parameters": {
        "catalog": f"http://{DEAD}/iceberg?sig={SECRET}",
        "catalog-credential": SECRET,
        "catalog-token": SECRET,
        "registry-token": SECRET,
        "s3-endpoint": f"http://{SECRET}@{DEAD}",
    },
    "headers": {"catalog": f"http://{DEAD}", "catalog-header": f"X-Key: {SECRET}\nAuthorization: Basic {SECRET}"},
    "a header without a name": {"catalog": f"http://{DEAD}", "catalog-header": SECRET},
    "two ways to the registry": {"registry": f"http://me:{SECRET}@{DEAD}", "registry-token": SECRET},
    "store": {"warehouse": f"s3://key:{SECRET}@bucket/path"},
    "store of a catalog": {"warehouse": f"s3://key:{SECRET}@bucket/path", "catalog": f"http://{DEAD}"},
    "brokers": {"kafka": f"{SECRET}@{DEAD}"},
    "brokers with a scheme": {"kafka": f"sasl_ssl://{SECRET}@{DEAD}"},
    "a comma": {"kafka": DEAD, "kafka-set": f"sasl.password=1,{SECRET}"},
    "a comma and an equals sign": {"kafka": DEAD, "kafka-set": f"sasl.password=1,{SECRET}={SECRET}"},
    "like a name": {"kafka": DEAD, "kafka-set": f"sasl.password=1,{SECRET.replace('-', '.')}={SECRET}"},
    "a broken quote": {"kafka": DEAD, "kafka-set": f'sasl.password="1,{SECRET}'},
    "no setting": {"kafka": DEAD, "kafka-set": SECRET},
    "a broker that is away": {
        "kafka": DEAD,
        "kafka-set": f"security.protocol=SASL_PLAINTEXT,sasl.mechanism=PLAIN,sasl.username=me,sasl.password={SECRET}",
    },
}


def assert_hidden(text: str) -> None:
    for secret in (SECRET, SECRET.replace("-", ".")):
        assert secret not in text, text[max(0, text.index(secret) - 300) :][:600]


def k2_says(k2: Path, tmp_path: Path, env: dict[str, str], *args: str) -> str:
    done = subprocess.run(
        [k2, *args], cwd=tmp_path, env=k2_environment(env), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode in (0, 1, 2, 3), done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", GIVEN)
def test_no_secret_is_shown(k2: Path, tmp_path: Path, name: str) -> None:
    """Of doctor's settings and checks, and of what it logs while it tries them."""
    env = {f"K2_{one.replace('-', '_').upper()}": text for one, text in (GIVEN[name] | {"log-level": "debug"}).items()}
    said = k2_says(k2, tmp_path, env, "doctor", "--output", "json")
    assert "***" in said
    assert_hidden(said)


@pytest.mark.parametrize("form", ["apart", "joined"])
def test_no_secret_in_the_process_list(k2: Path, tmp_path: Path, form: str) -> None:
    """Of a process that waits, as ps and /proc show it to everyone."""
    feed = tmp_path / "feed.log"
    feed.write_text("")
    wanted = {
        "catalog-token": SECRET,
        "catalog-credential": f"id:{SECRET}",
        "catalog-oauth2-uri": f"http://{SECRET}@{DEAD}",
        "catalog-header": f"X-Key: {SECRET}",
        "registry": f"http://me:{SECRET}@{DEAD}",
        "kafka-set": ALL_OF_KAFKA,
    }
    args = [text for name, value in wanted.items() for text in (f"--{name}", value)]
    if form == "joined":
        args = [f"--{name}={value}" for name, value in wanted.items()]
    lake = Warehouse(k2, tmp_path / "lake")
    process = lake.start("run", "--recording", f"binance={feed}", "--follow", *args)
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "lake/catalog.db").exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        shown = Path(f"/proc/{process.pid}/cmdline").read_text()
        assert "--follow" in shown
        assert "--catalog-token" in shown
        assert_hidden(shown)
    finally:
        process.send_signal(signal.SIGTERM)
        assert_hidden("".join(process.communicate(timeout=60)))


@pytest.mark.parametrize("allowed", [False, True])
def test_no_secret_in_a_core_dump(k2: Path, tmp_path: Path, allowed: bool) -> None:
    """A process that a signal ends leaves none, unless it was told to."""
    feed = tmp_path / "feed.log"
    feed.write_text("")
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    env = {"K2_CATALOG_TOKEN": SECRET, "K2_CORE_DUMPS": "true" if allowed else "false"}
    process = subprocess.Popen(
        [k2, "run", "--warehouse", tmp_path / "lake", "--recording", f"binance={feed}", "--follow"],
        cwd=tmp_path,
        env=k2_environment(env),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (most, most)),
    )
    ended = False
    try:
        deadline = time.monotonic() + 30
        while not (tmp_path / "lake/catalog.db").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        (limit,) = (line.split()[4] for line in limits if line.startswith("Max core file size"))
        process.send_signal(signal.SIGABRT)
        _, status = os.waitpid(process.pid, 0)
        ended = True
        assert os.WTERMSIG(status) == signal.SIGABRT
        cores = [path.read_bytes() for path in tmp_path.glob("core*")]
        if allowed:  # whether one is written then is the system's to say (core(5))
            assert limit == ("unlimited" if most == resource.RLIM_INFINITY else str(most))
            assert all(SECRET.encode() in core for core in cores), "else this test would prove nothing"
        else:
            assert int(limit) <= 1
            assert not os.WCOREDUMP(status)
            assert not cores
    finally:
        if not ended:
            process.kill()
            process.wait()


def test_core_dumps_are_allowed_by_true_alone(k2: Path, tmp_path: Path) -> None:
    said = k2_says(k2, tmp_path, {"K2_CORE_DUMPS": "yes"}, "tables")
    assert "core-dumps = 'yes' (environment K2_CORE_DUMPS): expected true or false" in said


def test_mistakes_on_the_command_line_show_no_value(k2: Path, tmp_path: Path) -> None:
    for args in (
        ("run", "--catalog-tokn", SECRET),
        ("run", f"--catalog-tokn={SECRET}"),
        ("doctor", "--catalog-token", "x", SECRET),
        ("doctor", f"--threads={SECRET}", "--registry-tokens", SECRET),
    ):
        said = k2_says(k2, tmp_path, {}, *args)
        assert_hidden(said)
    assert "--catalog-tokn" in k2_says(k2, tmp_path, {}, "run", "--catalog-tokn", SECRET)
    assert "nosuch" in k2_says(k2, tmp_path, {}, "tables", "nosuch")


@pytest.mark.parametrize(
    "line",
    [
        f"catalog-token = {SECRET}",
        f'catalog-token = "{SECRET}',
        f'catalog-token = "x" {SECRET}',
        f"catalog-token = '{SECRET}' x",
        f'catalog-token = "\\{SECRET}"',
        f"{SECRET}",
    ],
)
def test_a_broken_file_of_settings_shows_no_value(k2: Path, tmp_path: Path, line: str) -> None:
    (tmp_path / "k2.toml").write_text(line + "\n")
    said = k2_says(k2, tmp_path, {}, "doctor")
    assert "k2.toml:1" in said
    assert_hidden(said)


def test_a_password_with_commas_and_quotes_arrives_whole(k2: Path, tmp_path: Path) -> None:
    """The only way to see it without a broker is that librdkafka takes what follows for a setting of its own."""
    said = k2_says(k2, tmp_path, {"K2_KAFKA": DEAD, "K2_KAFKA_SET": 'sasl.password="a,b""c",client.rack=r1'}, "doctor")
    assert "sasl.password=***,client.rack=r1" in said


ELSEWHERE = {
    "catalog-token": {"K2_CATALOG_TOKEN": SECRET},
    "catalog-header": {"K2_CATALOG_HEADER": f"X-Key: {SECRET}"},
    "catalog-token-file": {"K2_CATALOG_TOKEN_FILE": "/dev/null"},
    "catalog-credential": {"K2_CATALOG_CREDENTIAL": f"id:{SECRET}"},
    "registry-token": {"K2_REGISTRY_TOKEN": SECRET},
    "registry-credential": {"K2_REGISTRY_CREDENTIAL": f"me:{SECRET}"},
    "kafka-set": {"K2_KAFKA_SET": f"sasl.password={SECRET}"},
    "AWS_SECRET_ACCESS_KEY": {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": SECRET},
    "catalog": {"K2_CATALOG": f"http://{DEAD}"},
}


@pytest.mark.parametrize(
    ("address", "secret"),
    [
        ("catalog", "catalog-token"),
        ("catalog", "catalog-credential"),
        ("catalog", "catalog-header"),
        ("catalog", "catalog-token-file"),
        ("catalog-oauth2-uri", "catalog-credential"),
        ("registry", "registry-token"),
        ("registry", "registry-credential"),
        ("kafka", "kafka-set"),
        ("s3-endpoint", "AWS_SECRET_ACCESS_KEY"),
        ("s3-endpoint", "catalog"),
    ],
)
def test_a_file_that_was_only_found_sends_no_secret_away(k2: Path, tmp_path: Path, address: str, secret: str) -> None:
    value = DEAD if address == "kafka" else f"http://{DEAD}"
    (tmp_path / "k2.toml").write_text(f'{address} = "{value}"\n')
    home = tmp_path / "home"
    home.mkdir()
    env = k2_environment({"HOME": str(home), **ELSEWHERE[secret]})

    def ask(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [k2, "tables", "definitions", *args]  # it opens nothing; settings are looked at before all commands
        return subprocess.run(
            command, cwd=tmp_path, env=env | more, capture_output=True, text=True, check=False, timeout=60
        )

    refused = ask()
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"k2: {address} comes from k2.toml, which nobody named, and ")
    assert secret in refused.stderr
    assert "--config k2.toml" in refused.stderr
    assert_hidden(refused.stdout + refused.stderr)
    for done in (ask("--config", "k2.toml"), ask(K2_CONFIG="k2.toml")):
        assert done.returncode == 0, done.stderr


def test_a_file_that_was_only_found_may_bring_address_and_secret(k2: Path, tmp_path: Path) -> None:
    (tmp_path / "k2.toml").write_text(f'catalog = "http://{DEAD}"\ncatalog-token = "x"\nthreads = 2\n')
    done = subprocess.run(
        [k2, "tables", "definitions"], cwd=tmp_path, env=k2_environment(), capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0


FILES = ("catalog-token", "catalog-credential", "catalog-header", "registry-token", "registry-credential", "kafka-set")
CONTENT = {"catalog-header": f"X-Key: {SECRET}", "kafka-set": f"sasl.username=me\nsasl.password={SECRET}"}


@pytest.mark.parametrize("name", FILES)
def test_a_secret_in_a_file(k2: Path, tmp_path: Path, name: str) -> None:
    """Its path is shown, what it holds is not; a k2.toml that nobody named cannot name it; twice is an error."""
    secret = tmp_path / "secret"
    secret.write_text(CONTENT.get(name, SECRET) + "\n")
    env = {"K2_CATALOG": f"http://{DEAD}", "K2_REGISTRY": f"http://{DEAD}", "K2_KAFKA": DEAD, "K2_LOG_LEVEL": "debug"}
    variable = f"K2_{name.replace('-', '_').upper()}"
    said = k2_says(k2, tmp_path, env | {f"{variable}_FILE": str(secret)}, "doctor", "--output", "json")
    assert str(secret) in said
    assert_hidden(said)
    if name != "kafka-set":  # its file adds to it
        assert "leave one out" in k2_says(
            k2, tmp_path, env | {f"{variable}_FILE": str(secret), variable: "x"}, "doctor"
        )
    missing = env | {f"{variable}_FILE": str(tmp_path / "missing")}
    assert "missing" in k2_says(k2, tmp_path, missing, "doctor")
    (tmp_path / "k2.toml").write_text(f'{name}-file = "{secret}"\n')
    said = k2_says(k2, tmp_path, {}, "doctor")
    assert "may not name others that hold secrets" in said
    assert_hidden(said)
