"""A service whose Silver stands at rows that somebody has removed from Bronze: all else goes on, and it says so."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from kafka_oracle import Oracle
from prometheus_client.parser import text_string_to_metric_families
from service_warehouse import Lake, Process, wait_until
from warehouse import BRONZE, GOLD, SILVER

from stack.services import Services


def get(process: Process, path: str) -> tuple[int, str]:
    found = re.search(r"status page is available.*address=(\S+)", process.said())
    if not found:
        return 0, ""
    try:
        with urllib.request.urlopen(f"http://{found[1]}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def standing(process: Process) -> dict[str, float]:
    families = text_string_to_metric_families(get(process, "/metrics")[1])
    samples = [one for family in families for one in family.samples if one.name == "k2_layer_stands"]
    return {one.labels["layer"]: one.value for one in samples}


def test_bronze_and_the_other_exchange_go_on(k2: Path, tmp_path: Path, services: Services, seed: int) -> None:
    oracle = Oracle(services.kafka.brokers, seed)
    stem = f"u{uuid.uuid4().hex[:8]}.trades"
    binance, kraken = (oracle.create(f"{stem}.{exchange}", 1) for exchange in ("binance", "kraken"))
    lake = Lake.local(k2, tmp_path / "lake", oracle.brokers)
    lake.variables["K2_TOPICS"] = f"{binance},{kraken}"
    try:
        for topic in (binance, kraken):
            oracle.send(topic, 200)
        oracle.flush()
        lake.run_kafka("--layer", "bronze")
        lake.table(BRONZE).delete(f"topic = '{binance}' and offset < 20")
        oracle.give_up(binance, 0, 20)
        service = lake.begin(
            "run",
            "--http",
            "127.0.0.1:0",
            "--log-level",
            "info",
            "--rows-per-commit",
            "50",
            "--commit-interval",
            "20ms",
        )
        wait_until(lambda: "blocked: " in get(service, "/readyz")[1], 40, service.said)
        code, told = get(service, "/readyz")
        assert code == 503
        command = re.search(r"`k2 (offsets accept bronze_trades \d+) --dry-run`", told)
        assert command, told
        assert f"layer silver: blocked: {SILVER[0]}" in told
        assert get(service, "/livez")[0] == 200
        for topic in (binance, kraken):
            oracle.send(topic, 1000)  # far more than two steps
        oracle.flush()
        of_kraken = [oracle.verdicts[place[0], what[1]] for place, what in oracle.truth().items() if place[0] == kraken]
        trades = len({verdict.row["message_id"] for verdict in of_kraken if verdict.row is not None})
        lake.await_rows({BRONZE: oracle.expected_counts()[BRONZE], GOLD: trades})
        assert lake.total(SILVER[0]) == 0
        assert standing(service) == {"bronze": 0, "silver": 1, "gold": 0}
        assert service.said().count("layer blocked") == 1
        (line,) = json.loads(lake.k2_run(*command[1].split(), "--dry-run", "--output", "json").stdout)
        assert (line["table"], line["missing"]) == (SILVER[0], 20)
        lake.k2_run(*command[1].split())
        lake.await_rows(oracle.expected_counts())
        wait_until(lambda: get(service, "/readyz")[0] == 200, 40, service.said)
        assert standing(service) == {"bronze": 0, "silver": 0, "gold": 0}
        service.stop()
        oracle.check(lake)
    finally:
        lake.kill_all()
        oracle.delete([binance, kraken])
