"""What a job of the DataFrame path is told of Kafka: the settings that the k2 program has, in its words."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from k2.spark.utils.errors import ConfigurationError

PARTITION_MAX = (1 << 31) - 1
_LOGIN = "org.apache.kafka.common.security"
_MODULES = {
    "PLAIN": f"{_LOGIN}.plain.PlainLoginModule",
    "SCRAM-SHA-256": f"{_LOGIN}.scram.ScramLoginModule",
    "SCRAM-SHA-512": f"{_LOGIN}.scram.ScramLoginModule",
}
_SAME = ("client.id", "client.rack", "security.protocol", "ssl.key.password")
_PEM = {  # librdkafka's, as a file or as text; Java's, as text, which the executors need no file for
    "ssl.ca": ("ssl.truststore.certificates", "ssl.truststore.type"),
    "ssl.certificate": ("ssl.keystore.certificate.chain", "ssl.keystore.type"),
    "ssl.key": ("ssl.keystore.key", "ssl.keystore.type"),
}


def partitions_of(text: str) -> tuple[int, int]:
    """`3`, `0-5` (K2_PARTITIONS): first and last; all of them where the text is empty."""
    if not text:
        return 0, PARTITION_MAX
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", text, re.ASCII)
    if found is not None:
        first, last = int(found[1]), int(found[2] or found[1])
        if first <= last <= PARTITION_MAX:
            return first, last
    raise ConfigurationError(f"partitions = '{text}' (K2_PARTITIONS): a number, or two with a dash: 0-5")


def owned_by(topics: Sequence[str], partitions: tuple[int, int]) -> Callable[[str, int], bool]:
    """Whether a source is among names of topics, or patterns that begin with ^, and among the partitions."""
    patterns = []
    for topic in topics:
        try:
            patterns.append(re.compile(topic if topic.startswith("^") else f"^{re.escape(topic)}\\Z"))
        except re.error as error:
            raise ConfigurationError(f"topic pattern {topic}: {error}") from None

    def owns(topic: str, partition: int) -> bool:
        return partitions[0] <= partition <= partitions[1] and any(pattern.search(topic) for pattern in patterns)

    return owns


_ENTRY = re.compile(r'[,\r\n]*([a-z0-9._-]+)=(?:"((?:[^"]|"")*)"|([^",\r\n][^,\r\n]*|))(?=[,\r\n]|\Z)')


def name_values(text: str) -> dict[str, str]:
    """`name=value`, comma-separated or one a line; a value that begins with a double quote ends at the next one, and ""
    within it is one. What is wrong may be a part of a password: the error shows none of it."""
    given: dict[str, str] = {}
    at = 0
    last = "the first entry"
    while at < len(text.rstrip(",\r\n")):
        entry = _ENTRY.match(text, at)
        if entry is None:
            raise ConfigurationError(
                f"K2_KAFKA_SET: {last} is not name=value. Entries are comma-separated; a value with a comma goes into "
                'double quotes: name="a,b" (a quote within it is written twice)'
            )
        name, quoted, plain = entry.groups()
        given[name] = plain if quoted is None else quoted.replace('""', '"')
        last = f"what follows '{name}'"
        at = entry.end()
    return given


def java_settings(text: str) -> dict[str, str]:
    """Settings of librdkafka, `name=value`, comma-separated (K2_KAFKA_SET), as Kafka's Java client has them. Raises for
    what has no counterpart there: a setting that protects something must not be passed over."""
    given = name_values(text)
    made: dict[str, str] = {}
    login: dict[str, str] = {}
    before = ""
    for name, value in given.items():
        behind_password, before = before.endswith("password"), name
        stem, _, form = name.rpartition(".")
        if name in _SAME:
            made[name] = value.upper() if name == "security.protocol" else value
        elif name == "ssl.endpoint.identification.algorithm":
            made[name] = "" if value == "none" else value
        elif name in ("sasl.mechanism", "sasl.mechanisms"):
            made["sasl.mechanism"] = value
        elif name in ("sasl.username", "sasl.password"):
            login[name] = value
        elif stem in _PEM and form in ("location", "pem"):
            setting, kind = _PEM[stem]
            made[setting] = _pem_file(name, value) if form == "location" else value
            made[kind] = "PEM"
        elif behind_password and "." not in name:  # the rest of one with a comma, it may be
            raise ConfigurationError(
                "K2_KAFKA_SET: the text after a password is not a setting. A value with a comma goes into double "
                "quotes: "
                'name="a,b"'
            )
        else:
            raise ConfigurationError(
                f"K2_KAFKA_SET: {name} is a setting of librdkafka that --engine spark cannot give to Kafka's Java "
                "client: leave it out, or use --engine native"
            )
    mechanism = made.get("sasl.mechanism", "PLAIN")
    if login or "sasl.mechanism" in made:
        made["sasl.jaas.config"] = _jaas(mechanism, login)
    return made


def _jaas(mechanism: str, login: dict[str, str]) -> str:
    if mechanism not in _MODULES:
        raise ConfigurationError(
            f"K2_KAFKA_SET: --engine spark logs in by {', '.join(_MODULES)}, not by {mechanism}: use --engine native"
        )
    missing = [name for name in ("sasl.username", "sasl.password") if name not in login]
    if missing:
        raise ConfigurationError(f"K2_KAFKA_SET: {mechanism} needs {missing[0]}")
    user, password = (
        login[name].replace("\\", "\\\\").replace('"', '\\"') for name in ("sasl.username", "sasl.password")
    )
    return f'{_MODULES[mechanism]} required username="{user}" password="{password}";'


def _pem_file(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"K2_KAFKA_SET: {name}={path} cannot be read as PEM: {error}") from None
