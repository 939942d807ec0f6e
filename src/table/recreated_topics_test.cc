#include "table/recreated_topics.h"

#include <gtest/gtest.h>

namespace k2::table {
namespace {

const SourceKey kFirst{.cluster = "c", .topic = "t.binance", .topic_id = "one", .partition = 0};
const SourceKey kSecond{.cluster = "c", .topic = "t.binance", .topic_id = "two", .partition = 0};
const SourceKey kRecording{
    .cluster = kRecordingCluster, .topic = "recording/binance/00ff", .topic_id = "00ff", .partition = 0};
const SourcePositions kSources = {{kFirst, {}}, {kSecond, {}}, {kRecording, {}}};
const RecreatedTopics kRecreated = {{"two", {.cluster = "c", .topic = "t.binance", .at = "then"}}};

TEST(RecreatedTopics, ARowIsOfTheTopicWhoseIdItHas) {
  EXPECT_EQ(*SourceOfRow(kSources, kRecreated, "t.binance", "one", 0), kFirst);
  EXPECT_EQ(*SourceOfRow(kSources, kRecreated, "t.binance", "two", 0), kSecond);
  EXPECT_EQ(SourceOfRow(kSources, kRecreated, "t.binance", "three", 0), nullptr);
  EXPECT_EQ(SourceOfRow(kSources, kRecreated, "t.binance", "two", 1), nullptr);
}

TEST(RecreatedTopics, ARowWithoutAnIdIsOfTheTopicThatWasThereFirst) {
  EXPECT_EQ(*SourceOfRow(kSources, kRecreated, "t.binance", "", 0), kFirst);
  EXPECT_EQ(*SourceOfRow(kSources, kRecreated, "recording/binance/00ff", "", 0), kRecording);
  // Whatever the ids' order is.
  const RecreatedTopics other = {{"one", {.cluster = "c", .topic = "t.binance", .at = "then"}}};
  EXPECT_EQ(*SourceOfRow(kSources, other, "t.binance", "", 0), kSecond);
}

TEST(RecreatedTopics, ArePropertiesOfBronze) {
  iceberg::TableMetadata metadata;
  EXPECT_EQ(*ReadRecreatedTopics(metadata), RecreatedTopics{});
  metadata.properties[kRecreatedTopicsKey] = RecreatedTopicsToJson(kRecreated);
  EXPECT_EQ(*ReadRecreatedTopics(metadata), kRecreated);
  metadata.properties[kRecreatedTopicsKey] = R"({"version": 2, "topics": []})";
  EXPECT_EQ(ReadRecreatedTopics(metadata).error().kind, ErrorKind::kOffsetMismatch);
  for (const char* broken : {"", "[]", R"({"version": 1, "topics": [{"id": 1}]})", R"({"topics": []})"}) {
    metadata.properties[kRecreatedTopicsKey] = broken;
    EXPECT_EQ(ReadRecreatedTopics(metadata).error().kind, ErrorKind::kInvalidData) << broken;
  }
}

}  // namespace
}  // namespace k2::table
