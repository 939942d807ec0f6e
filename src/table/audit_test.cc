// Who has committed, and the record of what took rows away.
#include "table/audit.h"

#include <nlohmann/json.hpp>

#include "base/this_process.h"
#include "base/version.h"
#include "table/accepted.h"
#include "table/commit_fixture.h"
#include "table/progress_json.h"

namespace k2::table {
namespace {

class AuditTest : public CommitTest {
 protected:
  void SetUp() override {
    SetThisProcessForTests({.host = "host-1", .process = "17/0123abcd run"});
    CommitTest::SetUp();
  }
  std::vector<AuditEvent> Events() {
    auto events = ReadAudit(Load().metadata());
    EXPECT_TRUE(events) << events.error().message;
    return events.value_or(std::vector<AuditEvent>{});
  }
  std::string Property() {
    const Table table = Load();
    const auto found = table.metadata().properties.find(kAuditKey);
    return found == table.metadata().properties.end() ? "" : found->second;
  }
  void Append(int64_t from, int64_t to) { EXPECT_COMMITTED(Load().Commit(Move(0, from, to))); }
  void Remove(const iceberg::DataFile& file, const std::string& key) {
    LayerCommit commit;
    commit.operation = "delete";
    commit.removed = {file};
    commit.summary[key] = "older than 7d at now: day=1 (10 rows)";
    EXPECT_COMMITTED(Load().Commit(std::move(commit)));
  }
};

TEST_F(AuditTest, EachCommitNamesItsProcess) {
  Append(0, 5);
  const Table table = Load();
  const auto& summary = table.metadata().CurrentSnapshot()->summary;
  EXPECT_EQ(summary.at("engine-name"), "k2");
  EXPECT_EQ(summary.at("engine-version"), kVersion);
  EXPECT_EQ(summary.at(kVersionKey), kVersion);
  EXPECT_EQ(summary.at(kHostKey), "host-1");
  EXPECT_EQ(summary.at(kProcessKey), "17/0123abcd run");
  EXPECT_TRUE(Events().empty());
  EXPECT_EQ(Property(), "");
}

TEST_F(AuditTest, AnEventIsRecordedWithItsCommitAndOutlivesItsSnapshot) {
  LayerCommit first = Move(0, 0, 10);
  const iceberg::DataFile file = first.added.front();
  EXPECT_COMMITTED(Load().Commit(std::move(first)));
  Remove(file, kRetentionKey);
  ASSERT_NE(Property(), "");
  const std::vector<AuditEvent> before = Events();
  ASSERT_EQ(before.size(), 1U);
  EXPECT_EQ(before[0].event, "retention");
  EXPECT_EQ(before[0].rows, 10);
  EXPECT_EQ(before[0].detail, "older than 7d at now: day=1 (10 rows)");
  EXPECT_EQ(before[0].engine, "k2");
  EXPECT_EQ(before[0].host, "host-1");
  for (int64_t at = 10; at < 30; ++at) Append(at, at + 1);  // the table keeps six snapshots
  EXPECT_EQ(Load().metadata().FindSnapshot(before[0].snapshot_id), nullptr);
  EXPECT_EQ(Events(), before);
}

TEST_F(AuditTest, WhatOtherEnginesDeletedIsRecordedByTheNextCommit) {
  LayerCommit first = Move(0, 0, 10);
  const iceberg::DataFile file = first.added.front();
  EXPECT_COMMITTED(Load().Commit(std::move(first)));
  ForeignSnapshot("append", {NewFile(3)});
  ForeignSnapshot("delete", {}, {file});
  std::vector<AuditEvent> events = Events();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].event, "delete");
  EXPECT_EQ(events[0].rows, 10);
  EXPECT_EQ(events[0].engine, "another engine");
  EXPECT_EQ(Property(), "");
  Append(10, 11);
  EXPECT_NE(Property(), "");
  ForeignExpiry();
  EXPECT_EQ(Events(), events);
  Append(11, 12);  // and once alone
  EXPECT_EQ(Events(), events);
}

TEST_F(AuditTest, TheRecordIsBoundedAndKeepsWhatANewerVersionWrote) {
  nlohmann::json events = nlohmann::json::array();
  for (size_t i = 0; i < kAuditEventsMax; ++i) {
    events.push_back({{"at", "2020-01-01T00:00:00.000000Z"}, {"event", "retention"}, {"snapshot", i + 1}, {"new", i}});
  }
  const std::string text = nlohmann::json{{"version", 1}, {"events", events}}.dump();
  Table table = Load();
  ASSERT_TRUE(table.Update([&](const auto&) -> Result<std::vector<iceberg::TableUpdate>> {
    return std::vector<iceberg::TableUpdate>{iceberg::SetProperties{{{kAuditKey, text}}}};
  }));
  LayerCommit commit;
  commit.summary[kOffsetsSetKey] = std::string(1000, 'x');
  EXPECT_COMMITTED(Load().Commit(std::move(commit)));
  const auto written = nlohmann::json::parse(Property());
  EXPECT_EQ(written["events"].size(), kAuditEventsMax);
  EXPECT_EQ(written["events"][0]["new"], 1);
  EXPECT_EQ(written["events"].back()["event"], "offsets set");
  EXPECT_LT(written["events"].back()["detail"].get<std::string>().size(), 410U);
}

TEST_F(AuditTest, WhatHasLeftTheRecordDoesNotComeBack) {
  constexpr size_t kMore = 7;
  for (size_t i = 0; i < kAuditEventsMax + kMore; ++i) ForeignSnapshot("delete", {});
  iceberg::TableMetadata metadata = Load().metadata();
  std::vector<int64_t> ids;
  for (const iceberg::Snapshot& snapshot : metadata.snapshots) ids.push_back(snapshot.snapshot_id);
  const auto first = AuditAfter(metadata, nullptr, {});
  ASSERT_TRUE(first);
  const auto written = nlohmann::json::parse(*first);
  EXPECT_EQ(written["events"].size(), kAuditEventsMax);
  EXPECT_EQ(written["events"].back()["snapshot"], ids.back());
  metadata.properties[kAuditKey] = *first;
  EXPECT_FALSE(AuditAfter(metadata, nullptr, ids));
}

TEST_F(AuditTest, APropertyThatCannotBeReadStopsNoCommit) {
  for (const char* text : {"no JSON", "[]", R"({"version":2,"events":[]})", R"({"version":1,"events":[1]})"}) {
    Table table = Load();
    ASSERT_TRUE(table.Update([&](const auto&) -> Result<std::vector<iceberg::TableUpdate>> {
      return std::vector<iceberg::TableUpdate>{iceberg::SetProperties{{{kAuditKey, text}}}};
    }));
    LayerCommit commit;
    commit.summary[kOffsetsSetKey] = "there";
    EXPECT_COMMITTED(Load().Commit(std::move(commit)));
    EXPECT_EQ(Property(), text);
    const auto events = ReadAudit(Load().metadata());
    ASSERT_FALSE(events);
    EXPECT_EQ(events.error().kind, ErrorKind::kInvalidData);
  }
}

TEST_F(AuditTest, EventsOfOtherBranchesAreNone) {
  iceberg::TableMetadata metadata = Load().metadata();
  metadata.snapshots.push_back({.snapshot_id = 5, .sequence_number = 99, .operation = "delete"});
  metadata.refs["side"] = {.snapshot_id = 5, .is_branch = true};
  const auto events = ReadAudit(metadata);
  ASSERT_TRUE(events);
  EXPECT_TRUE(events->empty());
  EXPECT_FALSE(AuditAfter(metadata, nullptr, {5}));
}

TEST(AuditEventTest, KindsAndWords) {
  const auto kind = [](std::string operation, std::map<std::string, std::string> summary) {
    const auto event = EventOf({.operation = std::move(operation), .summary = std::move(summary)});
    return event ? event->event + ": " + event->detail : std::string("none");
  };
  EXPECT_EQ(kind("append", {{"added-records", "4"}}), "none");
  EXPECT_EQ(kind("replace", {{"deleted-records", "4"}}), "none");
  EXPECT_EQ(kind("append", {{kOffsetsSetKey, "t/0 from 1 to 5"}}), "offsets set: t/0 from 1 to 5");
  EXPECT_EQ(kind("append", {{kOffsetsAcceptedKey, "snapshot 7"}}), "offsets accept: snapshot 7");
  EXPECT_EQ(kind("delete", {{kRetentionKey, "older"}, {"k2.dropped-unread", "3"}}),
            "retention: 3 rows that the downstream layer had not read; older");
  EXPECT_EQ(kind("overwrite", {{std::string(kRebuiltKey), "1"}, {"deleted-data-files", "2"}, {"deleted-records", "9"}}),
            "rebuild: 2 files with 9 rows removed, 0 with 0 added");
  EXPECT_EQ(kind("overwrite", {{"added-position-deletes", "2"}}),
            "overwrite: 0 files with 0 rows removed, 0 with 0 added; 2 rows deleted by position");
}

}  // namespace
}  // namespace k2::table
