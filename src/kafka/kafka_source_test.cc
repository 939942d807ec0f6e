#include "kafka/kafka_source.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>

#include "base/time.h"
#include "kafka/kafka_consumer.h"
#include "kafka/kafka_mock_for_tests.h"

namespace k2::kafka {
namespace {

constexpr char kTopic[] = "market.crypto.trades.binance";
constexpr source::ReadLimits kAllOfTopic{.max_messages = 1'000'000, .max_bytes = 1 << 28, .max_wait_us = 20'000};
constexpr int64_t kPatienceUs = 15'000'000;

std::unique_ptr<KafkaSource> Open(const KafkaMock& kafka, const std::vector<std::string>& topics = {kTopic}) {
  auto source = KafkaSource::Open(kafka.options(), topics);
  EXPECT_TRUE(source) << source.error().message;
  return source ? std::move(*source) : nullptr;
}

// Reads until `count` messages came, or an error, or nothing comes any more.
Result<std::vector<std::string>> ReadSome(KafkaPartitionReader& reader, size_t count,
                                          const source::ReadLimits& limits = kAllOfTopic) {
  std::vector<std::string> values;
  const int64_t deadline = MonotonicMicros() + kPatienceUs;
  while (values.size() < count && MonotonicMicros() < deadline) {
    K2_ASSIGN(const source::RawBatch batch, reader.Read(limits));
    EXPECT_EQ(batch.size(), batch.payloads.size());
    for (size_t i = 0; i < batch.size(); ++i) values.emplace_back(batch.payloads[i]);
  }
  return values;
}

// Whether it becomes true in time.
bool Within(const std::function<bool()>& condition) {
  const int64_t deadline = MonotonicMicros() + kPatienceUs;
  while (!condition()) {
    if (MonotonicMicros() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// The error that reading ends in.
std::optional<Error> ReadToError(KafkaPartitionReader& reader) {
  const int64_t deadline = MonotonicMicros() + kPatienceUs;
  while (MonotonicMicros() < deadline) {
    if (const auto batch = reader.Read(kAllOfTopic); !batch) return batch.error();
  }
  return std::nullopt;
}

bool ReadToEnd(KafkaPartitionReader& reader) {
  const int64_t deadline = MonotonicMicros() + kPatienceUs;
  while (!reader.CaughtUp() && MonotonicMicros() < deadline) {
    if (!reader.Read(kAllOfTopic)) return false;
  }
  return reader.CaughtUp();
}

void ProduceNumbers(KafkaMock& kafka, int from, int to, int32_t partition = 0) {
  for (int i = from; i < to; ++i) kafka.Produce(kTopic, partition, "k", std::to_string(i));
  kafka.Flush();
}

TEST(Kafka, FarTimesGiveWayToTheTimeOfReceipt) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 1);
  const std::vector<int64_t> times_ms = {1'700'000'000'000, 1'700'000'000'000'000'000, INT64_MAX, kRealTimeEndUs / 1000,
                                         kRealTimeEndUs / 1000 - 1};
  for (const int64_t time_ms : times_ms) kafka.Produce(kTopic, 0, "k", "v", time_ms);
  kafka.Flush();
  const auto source = Open(kafka);
  KafkaPartitionReader& reader = *source->readers()[0];
  ASSERT_TRUE(reader.Seek({}));
  std::vector<int64_t> read_us;
  while (!reader.CaughtUp()) {
    const auto batch = reader.Read(kAllOfTopic);
    ASSERT_TRUE(batch) << batch.error().message;
    for (size_t row = 0; row < batch->size(); ++row) {
      const int64_t time_us = batch->kafka_timestamps_us[row];
      read_us.push_back(time_us == batch->ingestion_timestamps_us[row] ? -1 : time_us);
    }
  }
  EXPECT_EQ(read_us, (std::vector<int64_t>{times_ms[0] * 1000, -1, -1, -1, times_ms[4] * 1000}));
}

TEST(Kafka, ReadsEveryPartitionAsItStands) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 3);
  for (int i = 0; i < 900; ++i) {
    const std::optional<std::string> key = i % 7 == 0 ? std::nullopt : std::optional("S" + std::to_string(i));
    const std::optional<std::string> value =
        i % 11 == 0 ? std::nullopt : std::optional("v" + std::string(1, '\0') + std::to_string(i));
    kafka.Produce(kTopic, i % 3, key, value, 1'700'000'000'000 + i);
  }
  kafka.Flush();
  const auto source = Open(kafka);
  ASSERT_EQ(source->readers().size(), 3U);
  for (int32_t partition = 0; partition < 3; ++partition) {
    KafkaPartitionReader& reader = *source->readers()[static_cast<size_t>(partition)];
    EXPECT_EQ(reader.key().cluster, source->cluster_id());
    EXPECT_FALSE(source->cluster_id().empty());
    EXPECT_EQ(reader.key().topic, kTopic);
    EXPECT_GT(reader.key().topic_id.size(), 8U);
    EXPECT_EQ(reader.key().partition, partition);
    ASSERT_TRUE(reader.Seek({}));
    int64_t next = 0;
    const int64_t began = NowMicros();
    while (!reader.CaughtUp()) {
      const auto batch = reader.Read(kAllOfTopic);
      ASSERT_TRUE(batch) << batch.error().message;
      EXPECT_EQ(batch->begin.next_offset, next);
      for (size_t row = 0; row < batch->size(); ++row) {
        const int64_t i = next * 3 + partition;
        EXPECT_EQ(batch->offsets[row], next++);
        EXPECT_EQ(batch->kafka_timestamps_us[row], (1'700'000'000'000 + i) * 1000);
        EXPECT_GE(batch->ingestion_timestamps_us[row], began);
        if (i % 7 == 0) {
          EXPECT_TRUE(batch->keys.nulls.at(row));
        } else {
          EXPECT_EQ(batch->keys[row], "S" + std::to_string(i));
        }
        if (i % 11 == 0) {
          EXPECT_TRUE(batch->payloads.nulls.at(row));
        } else {
          EXPECT_EQ(batch->payloads[row], "v" + std::string(1, '\0') + std::to_string(i));
        }
      }
      EXPECT_EQ(batch->end.next_offset, next);
      if (batch->size() > 0) {
        EXPECT_GE(batch->end.leader_epoch, 0);
      }
    }
    EXPECT_EQ(next, 300);
    EXPECT_EQ(reader.watermarks().high, 300);
    EXPECT_EQ(reader.counts().messages, 300);
  }
}

TEST(Kafka, HeadersAreThoseOfTheirMessages) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 1);
  const std::string bytes("\0\xff", 2);
  kafka.Produce(kTopic, 0, "k", "v");
  kafka.Produce(kTopic, 0, "k", "v", 1, {{"a", bytes}, {"a", std::nullopt}, {"", ""}});
  kafka.Produce(kTopic, 0, "k", "v");
  kafka.Produce(kTopic, 0, std::nullopt, std::nullopt, 1, {{"b", "last"}});
  kafka.Flush();
  const auto source = Open(kafka);
  KafkaPartitionReader& reader = *source->readers()[0];
  ASSERT_TRUE(reader.Seek({}));
  std::vector<std::vector<std::string>> read;
  while (!reader.CaughtUp()) {
    const auto batch = reader.Read({.max_messages = 2, .max_bytes = 1 << 20, .max_wait_us = 50'000});
    ASSERT_TRUE(batch) << batch.error().message;
    const source::HeaderColumn& headers = batch->headers;
    ASSERT_TRUE(headers.empty() || headers.ends.size() == batch->size());
    size_t header = 0;
    for (size_t row = 0; row < batch->size(); ++row) {
      read.emplace_back();
      for (; !headers.empty() && header < static_cast<size_t>(headers.ends[row]); ++header) {
        const bool null = !headers.values.nulls.empty() && headers.values.nulls[header];
        read.back().push_back(fmt::format("{}={}", headers.keys[header], null ? "null" : headers.values[header]));
      }
    }
  }
  EXPECT_EQ(read, (std::vector<std::vector<std::string>>{{}, {"a=" + bytes, "a=null", "="}, {}, {"b=last"}}));
}

// A full queue says so, however few its messages are, and takes more when some of them were read.
TEST(Kafka, TellsThatAQueueIsFull) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 2);
  constexpr int kMessages = 4'000;
  const std::string value(1'000, 'v');
  for (int i = 0; i < kMessages; ++i) kafka.Produce(kTopic, 0, "k", value);
  kafka.Flush();
  KafkaOptions options = kafka.options();
  options.queued_bytes = 1 << 20;
  const auto source = KafkaSource::Open(options, {kTopic});
  ASSERT_TRUE(source) << source.error().message;
  EXPECT_FALSE((*source)->QueueFull());
  for (const auto& reader : (*source)->readers()) ASSERT_TRUE(reader->Seek({}));
  KafkaPartitionReader& reader = *(*source)->readers()[0];
  ASSERT_EQ(ReadSome(reader, 10, {.max_messages = 10, .max_bytes = 1 << 20, .max_wait_us = 20'000})->size(), 10U);
  EXPECT_TRUE(Within([&] { return (*source)->QueueFull(); }));
  EXPECT_LT((*source)->queued_messages(), kMessages - 10);
  EXPECT_EQ(ReadSome(reader, kMessages - 10)->size(), kMessages - 10U);
  EXPECT_FALSE((*source)->QueueFull());
}

TEST(Kafka, GoesWhereItIsSent) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 1);
  ProduceNumbers(kafka, 0, 100);
  const auto source = Open(kafka);
  KafkaPartitionReader& reader = *source->readers()[0];
  EXPECT_TRUE(reader.Read(kAllOfTopic)->size() == 0);  // not placed
  ASSERT_TRUE(reader.Seek({.next_offset = 40}));
  EXPECT_EQ(ReadSome(reader, 60)->front(), "40");
  EXPECT_TRUE(ReadToEnd(reader));
  const table::SourcePosition end = reader.position();
  EXPECT_EQ(end.next_offset, 100);
  ASSERT_TRUE(reader.Seek({.next_offset = 7, .leader_epoch = end.leader_epoch}));
  EXPECT_FALSE(reader.CaughtUp());
  const auto again = ReadSome(reader, 93);
  ASSERT_EQ(again->size(), 93U);
  EXPECT_EQ(again->front(), "7");
  EXPECT_EQ(again->back(), "99");
  // From the end on, only what is new.
  ASSERT_TRUE(reader.Seek(end));
  EXPECT_TRUE(ReadToEnd(reader));
  ProduceNumbers(kafka, 100, 103);
  EXPECT_EQ(*ReadSome(reader, 3), (std::vector<std::string>{"100", "101", "102"}));
}

TEST(Kafka, LimitsHoldAndNothingIsLostAtThem) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 1);
  ProduceNumbers(kafka, 0, 1000);
  const auto source = Open(kafka);
  KafkaPartitionReader& reader = *source->readers()[0];
  ASSERT_TRUE(reader.Seek({}));
  std::vector<std::string> values;
  while (values.size() < 1000) {
    const auto batch = reader.Read({.max_messages = 7, .max_bytes = 1 << 20, .max_wait_us = 100'000});
    ASSERT_TRUE(batch);
    ASSERT_LE(batch->size(), 7U);
    for (size_t i = 0; i < batch->size(); ++i) values.emplace_back(batch->payloads[i]);
  }
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], std::to_string(i));
  ASSERT_TRUE(reader.Seek({}));
  size_t rows = 0;
  while (rows < 1000) {
    const auto batch = reader.Read({.max_messages = 1000, .max_bytes = 100, .max_wait_us = 100'000});
    ASSERT_TRUE(batch);
    ASSERT_LE(batch->size(), 3U);  // 32 bytes and the message's own count for each
    rows += batch->size();
  }
}

TEST(Kafka, AMessageWakesWhoWaits) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 4);
  const auto source = Open(kafka);
  for (const auto& reader : source->readers()) {
    ASSERT_TRUE(reader->Seek({}));
    ASSERT_TRUE(ReadToEnd(*reader));
  }
  EXPECT_FALSE(source->WaitForMessages(50'000));
  std::thread late([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    ProduceNumbers(kafka, 0, 1, 2);
  });
  const int64_t began = MonotonicMicros();
  EXPECT_TRUE(source->WaitForMessages(kPatienceUs));
  EXPECT_LT(MonotonicMicros() - began, kPatienceUs / 2);
  late.join();
  EXPECT_EQ(ReadSome(*source->readers()[2], 1)->size(), 1U);
}

TEST(Kafka, DeletedMessagesAreAnErrorNotASkip) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 1);
  ProduceNumbers(kafka, 0, 100);
  rd_kafka_mock_partition_delete_records(kafka.cluster(), kTopic, 0, 30);
  const auto source = Open(kafka);
  KafkaPartitionReader& reader = *source->readers()[0];
  ASSERT_TRUE(reader.Seek({.next_offset = 10, .leader_epoch = 0}));
  const auto error = ReadToError(reader);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind, ErrorKind::kOffsetMismatch);
  EXPECT_NE(error->message.find("accept-loss"), std::string::npos) << error->message;
  EXPECT_NE(error->message.find("20 messages were deleted"), std::string::npos) << error->message;
  EXPECT_FALSE(reader.Read(kAllOfTopic));  // it stays
  ASSERT_TRUE(reader.Seek({.next_offset = 30}));
  EXPECT_EQ(ReadSome(reader, 70)->front(), "30");
}

TEST(Kafka, AnOffsetBeyondTheEndIsAnError) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 1);
  ProduceNumbers(kafka, 0, 100);
  const auto source = Open(kafka);
  KafkaPartitionReader& reader = *source->readers()[0];
  ASSERT_TRUE(reader.Seek({.next_offset = 101}));
  EXPECT_EQ(ReadToError(reader)->kind, ErrorKind::kOffsetMismatch);
  // The same with a leader epoch, whose end the broker is asked for.
  ASSERT_TRUE(reader.Seek({}));
  ASSERT_TRUE(ReadToEnd(reader));
  const int32_t epoch = reader.position().leader_epoch;
  ASSERT_GE(epoch, 0);
  ASSERT_TRUE(reader.Seek({.next_offset = 150, .leader_epoch = epoch}));
  const auto error = ReadToError(reader);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind, ErrorKind::kOffsetMismatch);
}

TEST(Kafka, ARecreatedTopicIsNoticedBeforeACommit) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 1);
  ProduceNumbers(kafka, 0, 10);
  const auto source = Open(kafka);
  KafkaPartitionReader& reader = *source->readers()[0];
  ASSERT_TRUE(reader.Seek({}));
  ASSERT_TRUE(ReadToEnd(reader));
  const table::SourcePositions committed = {{reader.key(), reader.position()}};
  ASSERT_TRUE(source->ConfirmTopics(committed, kPatienceUs));
  EXPECT_TRUE(source->OthersThan(committed).empty());
  EXPECT_TRUE(source->OthersThan({}).empty());

  ASSERT_EQ(rd_kafka_mock_topic_delete(kafka.cluster(), kTopic), RD_KAFKA_RESP_ERR_NO_ERROR);
  kafka.CreateTopic(kTopic, 1);
  const Status confirmed = source->ConfirmTopics(committed, kPatienceUs);
  ASSERT_FALSE(confirmed);
  EXPECT_EQ(confirmed.error().kind, ErrorKind::kOffsetMismatch);
  EXPECT_NE(confirmed.error().message.find("was recreated"), std::string::npos);
  EXPECT_TRUE(source->TakeNew());
  EXPECT_TRUE(source->StoppedTopics().contains(kTopic));

  const auto later = Open(kafka);
  const auto others = later->OthersThan(committed);
  ASSERT_TRUE(others.contains(kTopic));
  EXPECT_EQ(others.at(kTopic).kind, ErrorKind::kOffsetMismatch);
  table::SourcePositions accepted = committed;
  accepted[later->readers()[0]->key()] = {};
  EXPECT_TRUE(later->OthersThan(accepted).empty());
  table::SourceKey elsewhere = reader.key();
  elsewhere.cluster = "another";
  EXPECT_TRUE(later->OthersThan({{elsewhere, {}}}).contains(kTopic));
}

TEST(Kafka, ATopicThatIsGoneStopsAlone) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 1);
  kafka.CreateTopic("market.crypto.trades.kraken", 1);
  const auto source = Open(kafka, {kTopic, "market.crypto.trades.kraken"});
  table::SourcePositions read;
  for (const auto& reader : source->readers()) read[reader->key()] = {};
  ASSERT_EQ(rd_kafka_mock_topic_delete(kafka.cluster(), kTopic), RD_KAFKA_RESP_ERR_NO_ERROR);
  const Status confirmed = source->ConfirmTopics(read, kPatienceUs);
  ASSERT_FALSE(confirmed);
  EXPECT_EQ(confirmed.error().kind, ErrorKind::kOffsetMismatch);
  EXPECT_NE(confirmed.error().message.find("no longer exists"), std::string::npos) << confirmed.error().message;
  std::erase_if(read, [](const auto& one) { return one.first.topic == kTopic; });
  EXPECT_TRUE(source->ConfirmTopics(read, kPatienceUs));
}

TEST(Kafka, PatternsFindTopicsThatComeLater) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 2);
  kafka.CreateTopic("another", 2);
  const auto source = Open(kafka, {R"(^market\.crypto\.trades\..*)"});
  EXPECT_EQ(source->readers().size(), 2U);
  kafka.CreateTopic("market.crypto.trades.kraken", 3);
  const int64_t deadline = MonotonicMicros() + kPatienceUs;
  std::vector<KafkaPartitionReader*> added;
  while (added.empty() && MonotonicMicros() < deadline) {
    auto found = source->TakeNew();
    ASSERT_TRUE(found);
    added = *found;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ASSERT_EQ(added.size(), 3U);
  EXPECT_EQ(source->readers().size(), 5U);
  EXPECT_EQ(added[0]->key().topic, "market.crypto.trades.kraken");
  kafka.Produce("market.crypto.trades.kraken", 0, "k", "new");
  kafka.Flush();
  ASSERT_TRUE(added[0]->Seek({}));
  EXPECT_EQ(*ReadSome(*added[0], 1), std::vector<std::string>{"new"});
  EXPECT_TRUE(source->TakeNew()->empty());
  ASSERT_TRUE(source->ConfirmTopics({}, kPatienceUs));
}

TEST(Kafka, BeginsWhereItIsTold) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 2);
  ProduceNumbers(kafka, 0, 50, 0);
  rd_kafka_mock_partition_delete_records(kafka.cluster(), kTopic, 0, 20);
  const auto source = Open(kafka);
  std::vector<table::SourceKey> keys;
  for (const auto& reader : source->readers()) keys.push_back(reader->key());
  const auto earliest = source->ResolveStart({.from = KafkaStart::From::kEarliest}, keys);
  ASSERT_TRUE(earliest) << earliest.error().message;
  EXPECT_EQ(earliest->at(keys[0]).next_offset, 20);
  EXPECT_EQ(earliest->at(keys[1]).next_offset, 0);
  const auto latest = source->ResolveStart({.from = KafkaStart::From::kLatest}, keys);
  ASSERT_TRUE(latest);
  EXPECT_EQ(latest->at(keys[0]).next_offset, 50);
  EXPECT_EQ(ParseKafkaStart("2024-01-02T00:00:00Z")->time_us, 1'704'153'600'000'000);
  EXPECT_EQ(ParseKafkaStart("earliest")->from, KafkaStart::From::kEarliest);
  EXPECT_EQ(ParseKafkaStart("sometime").error().kind, ErrorKind::kInvalidArgument);
}

TEST(Kafka, ABrokerThatIsAwayIsWaitedFor) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 1);
  ProduceNumbers(kafka, 0, 10);
  const auto source = Open(kafka);
  KafkaPartitionReader& reader = *source->readers()[0];
  ASSERT_TRUE(reader.Seek({}));
  ASSERT_TRUE(ReadToEnd(reader));
  rd_kafka_mock_broker_set_down(kafka.cluster(), 1);
  const Status confirmed = source->ConfirmTopics({}, 300'000);
  ASSERT_FALSE(confirmed);
  EXPECT_EQ(confirmed.error().kind, ErrorKind::kUnavailable);
  // librdkafka tells of it in its own time.
  EXPECT_TRUE(Within([&] { return reader.Read(kAllOfTopic).has_value() && !source->health().ok; }));
  EXPECT_FALSE(source->health().last_error.empty());
  rd_kafka_mock_broker_set_up(kafka.cluster(), 1);
  ProduceNumbers(kafka, 10, 20);
  EXPECT_EQ(ReadSome(reader, 10)->size(), 10U);
  EXPECT_TRUE(source->ConfirmTopics({}, kPatienceUs));
  EXPECT_TRUE(Within([&] { return source->health().ok; }));
}

TEST(Kafka, FollowsTheLeader) {
  KafkaMock kafka(3);
  kafka.CreateTopic(kTopic, 1, 3);
  const auto source = Open(kafka);
  KafkaPartitionReader& reader = *source->readers()[0];
  ASSERT_TRUE(reader.Seek({}));
  std::vector<std::string> values;
  for (int round = 0; round < 4; ++round) {
    rd_kafka_mock_partition_set_leader(kafka.cluster(), kTopic, 0, round % 3 + 1);
    ProduceNumbers(kafka, round * 50, round * 50 + 50);
    const auto some = ReadSome(reader, 50);
    ASSERT_TRUE(some) << some.error().message;
    values.insert(values.end(), some->begin(), some->end());
  }
  ASSERT_EQ(values.size(), 200U);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], std::to_string(i));
}

TEST(Kafka, ErrorsOfFetchesThatPassDoNoHarm) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 1);
  ProduceNumbers(kafka, 0, 20);
  constexpr int16_t kFetch = 1;
  rd_kafka_mock_push_request_errors(kafka.cluster(), kFetch, 4, RD_KAFKA_RESP_ERR_NOT_LEADER_OR_FOLLOWER,
                                    RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR, RD_KAFKA_RESP_ERR__TRANSPORT,
                                    RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH);
  const auto source = Open(kafka);
  KafkaPartitionReader& reader = *source->readers()[0];
  ASSERT_TRUE(reader.Seek({}));
  const auto values = ReadSome(reader, 20);
  ASSERT_TRUE(values) << values.error().message;
  EXPECT_EQ(values->size(), 20U);
}

TEST(Kafka, RightsThatAreMissingAreSaid) {
  KafkaMock kafka;
  kafka.CreateTopic(kTopic, 1);
  const auto source = Open(kafka);
  constexpr int16_t kFetch = 1;
  for (int i = 0; i < 5; ++i) {
    rd_kafka_mock_partition_push_request_errors(kafka.cluster(), kTopic, 0, kFetch, 1,
                                                RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
  }
  KafkaPartitionReader& reader = *source->readers()[0];
  ASSERT_TRUE(reader.Seek({}));
  const auto error = ReadToError(reader);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind, ErrorKind::kPermission);
}

TEST(Kafka, WhatCannotBeOpenedSaysWhy) {
  KafkaMock kafka;
  kafka.CreateTopic("one", 1);
  EXPECT_EQ(KafkaSource::Open(kafka.options(), {"recording/x"}).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(KafkaSource::Open(kafka.options(), {}).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(KafkaSource::Open(kafka.options(), {"^nothing"}).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(KafkaSource::Open(kafka.options(), {"^["}).error().kind, ErrorKind::kInvalidArgument);
  KafkaOptions nowhere = kafka.options();
  nowhere.brokers = "127.0.0.1:1";
  nowhere.request_timeout_us = 1'000'000;
  const auto refused = KafkaSource::Open(nowhere, {"one"});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnavailable);
  EXPECT_NE(refused.error().message.find("refused"), std::string::npos) << refused.error().message;
}

TEST(Kafka, ASeekThatTimesOutIsTriedAgain) {
  EXPECT_EQ(PlaceErrorKind(RD_KAFKA_RESP_ERR__TIMED_OUT), ErrorKind::kUnavailable);
  EXPECT_EQ(PlaceErrorKind(RD_KAFKA_RESP_ERR__STATE), ErrorKind::kUnavailable);
  EXPECT_EQ(PlaceErrorKind(RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS), ErrorKind::kUnavailable);
  EXPECT_EQ(PlaceErrorKind(RD_KAFKA_RESP_ERR__INVALID_ARG), ErrorKind::kInternal);
}

TEST(Kafka, SettingsOfK2CannotBeSetFromOutside) {
  KafkaOptions options;
  options.brokers = "x:1";
  EXPECT_TRUE(CheckKafkaOptions(options));
  options.settings = {{"auto.offset.reset", "latest"}};
  EXPECT_EQ(CheckKafkaOptions(options).error().kind, ErrorKind::kInvalidArgument);
  options.settings = {{"no.such.setting", "1"}};
  EXPECT_EQ(CheckKafkaOptions(options).error().kind, ErrorKind::kInvalidArgument);
  options.settings = {{"security.protocol", "sasl_ssl"}, {"sasl.mechanism", "SCRAM-SHA-512"}};
  EXPECT_TRUE(CheckKafkaOptions(options));
  for (const char* mechanism : {"PLAIN", "SCRAM-SHA-256", "OAUTHBEARER"}) {
    options.settings["sasl.mechanism"] = mechanism;
    EXPECT_TRUE(CheckKafkaOptions(options)) << mechanism;
  }
  options.brokers.clear();
  EXPECT_FALSE(CheckKafkaOptions(options));
}

}  // namespace
}  // namespace k2::kafka
