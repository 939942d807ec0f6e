"""What Bronze asks of Kafka's brokers, through the Java client that spark-sql-kafka brings along."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from py4j.protocol import Py4JError

from k2.spark.dataframe.tables import JAVA_ERRORS, java_causes, said, unavailable
from k2.spark.utils.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

REQUEST_S = 15
NO_TOPIC_ID = "none"

Partition = tuple[str, int]  # topic, partition


@dataclass(frozen=True)
class Topic:
    name: str
    id: str  # as librdkafka writes it, which the tables' keys bear
    partitions: int


@dataclass(frozen=True)
class End:
    offset: int
    leader_epoch: int = -1


def parse_start(text: str) -> str | int:
    """`earliest`, `latest`, or a time as RFC 3339, which becomes milliseconds since 1970, rounded up."""
    if text in ("earliest", "latest"):
        return text
    when: datetime | None
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00").replace("z", "+00:00"))
    except ValueError:
        when = None
    if when is None or when.tzinfo is None:
        raise ConfigurationError(f"'{text}' is not a start: earliest, latest, or a time such as 2024-05-05T22:00:00Z")
    micros = int(when.timestamp()) * 1_000_000 + when.microsecond
    return max(-(-micros // 1000), 0)


class KafkaAdmin:
    """Closed by `close`. Each call waits for its answer."""

    def __init__(self, spark: SparkSession, brokers: str, settings: Mapping[str, str] | None = None) -> None:
        self.brokers = brokers
        jvm: Any = spark.sparkContext._jvm
        self.jvm = jvm
        given = self.jvm.java.util.HashMap()
        for name, value in {
            "bootstrap.servers": brokers,
            "client.id": "k2-spark",
            "default.api.timeout.ms": str(REQUEST_S * 1000),
            "request.timeout.ms": str(REQUEST_S * 1000),
            **(settings or {}),
        }.items():
            given.put(name, value)
        try:
            self._admin = self.jvm.org.apache.kafka.clients.admin.AdminClient.create(given)
        except TypeError:
            raise ConfigurationError(
                "Kafka's client is not on the class path: add org.apache.spark:spark-sql-kafka-0-10 to --packages"
            ) from None
        except JAVA_ERRORS as error:
            raise ConfigurationError(f"Kafka at {brokers}: {said(error)}") from None

    def close(self) -> None:
        with contextlib.suppress(Py4JError, *JAVA_ERRORS):
            self._admin.close(self.jvm.java.time.Duration.ofSeconds(2))

    def __enter__(self) -> KafkaAdmin:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except JAVA_ERRORS as error:
            raise unavailable(error, f"Kafka at {self.brokers}: {what}") from None

    def _get(self, future: Any) -> Any:
        return future.get(REQUEST_S, self.jvm.java.util.concurrent.TimeUnit.SECONDS)

    def cluster_id(self) -> str:
        with self._asking("asking for the cluster"):
            found = self._get(self._admin.describeCluster().clusterId())
        if not found:
            raise ConfigurationError(f"Kafka at {self.brokers} reports no cluster id: K2 needs Kafka 0.10.1 or newer")
        return str(found)

    def topics(self, patterns: Iterable[str]) -> tuple[list[Topic], list[str]]:
        """The topics that names, or patterns that begin with ^, stand for; and the names that there are none of."""
        names: set[str] = set()
        expressions = []
        for pattern in patterns:
            if not pattern.startswith("^"):
                names.add(pattern)
                continue
            try:
                expressions.append(re.compile(pattern))
            except re.error as error:
                raise ConfigurationError(f"topic pattern {pattern}: {error}") from None
        if expressions:
            with self._asking("asking for topics"):
                everything = [str(name) for name in self._get(self._admin.listTopics().names())]
            names |= {n for n in everything if not n.startswith("__") and any(e.search(n) for e in expressions)}
        found, missing = [], []
        wanted = self.jvm.java.util.ArrayList()
        for name in sorted(names):
            wanted.add(name)
        futures = self._admin.describeTopics(wanted).topicNameValues()
        for name in sorted(names):
            try:
                described = self._get(futures.get(name))
            except JAVA_ERRORS as error:
                if "UnknownTopicOrPartitionException" in java_causes(error):
                    missing.append(name)
                    continue
                raise unavailable(error, f"Kafka at {self.brokers}: topic {name}") from None
            found.append(Topic(name, self._topic_id(described.topicId()), int(described.partitions().size())))
        return found, missing

    def _topic_id(self, topic_id: Any) -> str:
        if topic_id.getMostSignificantBits() == 0 and topic_id.getLeastSignificantBits() == 0:
            return NO_TOPIC_ID
        # Java writes the URL's alphabet of base64, librdkafka the ordinary one.
        return str(topic_id.toString()).replace("-", "+").replace("_", "/")

    def offsets(self, of: Iterable[Partition], where: str | int) -> dict[Partition, End]:
        """The first offset there is (`earliest`), the one after the last readable message (`latest`), or of the first
        message of a time in ms or later: where there is none, the latest."""
        wanted = sorted(set(of))
        if not wanted:
            return {}
        spec = self.jvm.org.apache.kafka.clients.admin.OffsetSpec
        chosen = spec.forTimestamp(where) if isinstance(where, int) else getattr(spec, where)()
        asked = self.jvm.java.util.HashMap()
        places = {}
        for topic, partition in wanted:
            places[topic, partition] = self.jvm.org.apache.kafka.common.TopicPartition(topic, partition)
            asked.put(places[topic, partition], chosen)
        committed = self.jvm.org.apache.kafka.common.IsolationLevel.READ_COMMITTED
        options = self.jvm.org.apache.kafka.clients.admin.ListOffsetsOptions(committed)
        with self._asking("asking for offsets"):
            answer = self._get(self._admin.listOffsets(asked, options).all())
        found: dict[Partition, End] = {}
        for place, java in places.items():
            info = answer.get(java)
            epoch = info.leaderEpoch()
            if info.offset() >= 0:
                found[place] = End(int(info.offset()), int(epoch.get()) if epoch.isPresent() else -1)
        later = [place for place in wanted if place not in found]
        if later and isinstance(where, int):
            found |= self.offsets(later, "latest")
        if len(found) != len(wanted):
            raise UnavailableError(
                f"Kafka at {self.brokers} returned offsets for only {len(found)} of {len(wanted)} partitions"
            )
        return found

    def commit_group(self, group: str, offsets: Mapping[Partition, int]) -> None:
        """A courtesy to tools that show lag; K2 reads it never."""
        given = self.jvm.java.util.HashMap()
        for (topic, partition), offset in offsets.items():
            given.put(
                self.jvm.org.apache.kafka.common.TopicPartition(topic, partition),
                self.jvm.org.apache.kafka.clients.consumer.OffsetAndMetadata(offset),
            )
        with self._asking(f"writing the offsets of group {group}"):
            self._get(self._admin.alterConsumerGroupOffsets(group, given).all())
