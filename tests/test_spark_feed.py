"""The k2 program's settings of Kafka in the jobs of the DataFrame path."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from engines import Spark
from test_kafka_security import Certificates, SecureKafka, by_password, kafka_set, set_scram_user

from k2.spark import dataframe
from k2.spark.dataframe.feed import PARTITION_MAX, java_settings, name_values, owned_by, partitions_of
from k2.spark.dataframe.kafka import KafkaAdmin
from k2.spark.jobs import bronze_ingestion, layers, silver_transformation
from k2.spark.utils.errors import ConfigurationError, UnavailableError

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"


def test_partitions() -> None:
    assert partitions_of("") == (0, PARTITION_MAX)
    assert partitions_of("3") == (3, 3)
    assert partitions_of("0-5") == (0, 5)


@pytest.mark.parametrize("text", ["-1", "5-0", "0-", "a", "1,2", "0-5 ", "99999999999", "\u0663"])
def test_partitions_that_are_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="K2_PARTITIONS"):
        partitions_of(text)


def test_whose_work_a_source_is() -> None:
    owns = owned_by(["trades.binance", "^x\\d"], (2, 3))
    assert [partition for partition in range(6) if owns("trades.binance", partition)] == [2, 3]
    assert owns("x1.kraken", 2)
    assert not owns("tradesxbinance", 2)
    assert not owns("my.trades.binance", 2)
    assert not owns("trades.binance.x", 2)
    with pytest.raises(ConfigurationError, match="topic pattern"):
        owned_by(["^("], (0, 1))


def test_settings_of_librdkafka_as_java_has_them(tmp_path: Path) -> None:
    assert java_settings("") == {}
    (tmp_path / "ca.pem").write_text("CA")
    (tmp_path / "me.pem").write_text("ME")
    found = java_settings(
        f"security.protocol=sasl_ssl,ssl.ca.location={tmp_path}/ca.pem,sasl.mechanism=SCRAM-SHA-512,sasl.username=k2,"
        'sasl.password=a="b\\,ssl.endpoint.identification.algorithm=none,client.rack=r1'
    )
    assert found == {
        "security.protocol": "SASL_SSL",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": "CA",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": f'{SCRAM} required username="k2" password="a=\\"b\\\\";',
        "ssl.endpoint.identification.algorithm": "",
        "client.rack": "r1",
    }
    found = java_settings(f"ssl.certificate.location={tmp_path}/me.pem,ssl.key.pem=KEY,ssl.key.password=x")
    assert found["ssl.keystore.type"] == "PEM"
    assert (found["ssl.keystore.certificate.chain"], found["ssl.keystore.key"]) == ("ME", "KEY")
    assert java_settings("sasl.mechanisms=PLAIN,sasl.username=u,sasl.password=p")["sasl.jaas.config"] == (
        f'{PLAIN} required username="u" password="p";'
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("security.protocol", "not name=value"),
        ("=x", "not name=value"),
        ("enable.ssl.certificate.verification=false", "--engine native"),
        ("sasl.mechanism=OAUTHBEARER", "OAUTHBEARER"),
        ("sasl.mechanism=PLAIN,sasl.username=u", "needs sasl.password"),
        ("ssl.ca.location=/nowhere/ca.pem", "cannot be read as PEM"),
        ("ssl.cipher.suites=X", "ssl.cipher.suites"),
    ],
)
def test_settings_that_java_has_not(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        java_settings(text)


def test_values_with_commas_and_quotes() -> None:
    """As the k2 program reads them; and no error shows what may be a part of a password."""
    assert name_values('sasl.password="a,b=""c""",client.rack=r') == {"sasl.password": 'a,b="c"', "client.rack": "r"}
    assert name_values('a=1\r\n\nb="x\ny"\n,c=2\n') == {"a": "1", "b": "x\ny", "c": "2"}
    assert name_values('a="",b=x"y,,c=') == {"a": "", "b": 'x"y', "c": ""}
    assert name_values("") == {}
    for wrong in (
        "hidden",
        "sasl.password=1,hidden",
        "=hidden",
        'a="hidden',
        'a="x"hidden',
        "sasl.password=1,hidden=2",
    ):
        with pytest.raises(ConfigurationError) as refused:
            java_settings(wrong)
        assert "hidden" not in str(refused.value)


@pytest.mark.long
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_login_over_tls(spark: Spark, tmp_path: Path, mechanism: str) -> None:
    """Of the driver, which asks for topics and offsets, and of the tasks that read."""
    certificates = Certificates(tmp_path)
    broker = SecureKafka(tmp_path / "kafka", certificates)
    broker.start()
    try:
        set_scram_user(broker.brokers)
        producer = Producer({"bootstrap.servers": broker.brokers, "log_level": 0})
        client = AdminClient({"bootstrap.servers": broker.brokers, "log_level": 0})
        client.create_topics([NewTopic("t.kraken", 2, 1)])["t.kraken"].result(20)
        for i in range(30):
            producer.produce("t.kraken", str(i))
        assert producer.flush(30) == 0
        settings = java_settings(kafka_set(by_password(certificates, mechanism))["K2_KAFKA_SET"])
        with KafkaAdmin(spark.session, broker.secure_brokers, settings) as admin:
            assert [(topic.name, topic.partitions) for topic in admin.topics(["t.kraken"])[0]] == [("t.kraken", 2)]
        reader = spark.session.read.format("kafka").option("subscribe", "t.kraken")
        for name, value in (settings | {"bootstrap.servers": broker.secure_brokers}).items():
            reader = reader.option(f"kafka.{name}", value)
        assert reader.load().count() == 30
        wrong = java_settings(kafka_set(by_password(certificates, mechanism, "wrong"))["K2_KAFKA_SET"])
        with (
            KafkaAdmin(spark.session, broker.secure_brokers, wrong) as admin,
            pytest.raises(UnavailableError, match="uthentication failed"),
        ):
            admin.cluster_id()
    finally:
        broker.kill()


def test_the_jobs_hand_them_on(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: dict[str, Any] = {}

    def step(_: object, options: Any) -> Any:
        taken[type(options).__name__] = options
        return dataframe.StepResult("x")

    for name in ("bronze_step", "silver_step", "silver_settle"):
        monkeypatch.setattr(dataframe, name, step)
    settings = {"K2_KAFKA": "b:1", "K2_TOPICS": "t.kraken", "K2_PARTITIONS": "1-2", "K2_KAFKA_SET": "client.rack=r"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    options = layers.parser("x", "").parse_args(["--engine", "spark"])
    for job in (bronze_ingestion, silver_transformation):
        assert job.by_dataframe(cast(Any, None), options)() is None
    bronze, silver = taken["BronzeOptions"], taken["SilverOptions"]
    assert (bronze.first_partition, bronze.last_partition) == (1, 2)
    assert bronze.kafka_settings == {"client.rack": "r"}
    assert [silver.owns("t.kraken", partition) for partition in range(4)] == [False, True, True, False]
    assert not silver.owns("t.binance", 1)
