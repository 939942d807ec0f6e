#include <gtest/gtest.h>

#include "table/progress_json.h"

namespace k2::table {
namespace {

using iceberg::Snapshot;
using iceberg::TableMetadata;

constexpr std::string_view kUuid = "9c12d441-03fe-4693-9a96-a0705ddf69c1";
constexpr int64_t kBig = 9'007'199'254'740'993;  // 2^53 + 1: no double holds it

LayerProgress Sample(int64_t next_offset = 100) {
  LayerProgress progress;
  progress.positions[{"c", "market.crypto.trades.binance", "x1", 0}] = {.next_offset = next_offset, .leader_epoch = 4};
  progress.positions[{"c", "market.crypto.trades.binance", "x1", 1}] = {.next_offset = kBig};
  progress.positions[{"recording", "recording/kraken/ab", "ab", 0}] = {
      .next_offset = 7, .next_line = 9, .next_byte = 1234, .line_hash = "0011223344556677"};
  progress.upstream["market_data.bronze_trades"] = {"market_data.bronze_trades", "uuid-b", kBig};
  progress.rules_version = 2;
  progress.finished = {.table_uuid = "uuid-f", .generation = 7, .without = {{2, 3}, {5, 5}}};
  return progress;
}

// A chain of snapshots 1 to n on main without progress; snapshot n is the head.
TableMetadata Chain(int64_t count) {
  TableMetadata table;
  table.table_uuid = kUuid;
  table.location = "file:///t";
  for (int64_t id = 1; id <= count; ++id) {
    table.snapshots.push_back({.snapshot_id = id,
                               .parent_snapshot_id = id == 1 ? std::nullopt : std::optional(id - 1),
                               .sequence_number = id});
  }
  if (count > 0) table.current_snapshot_id = count;
  return table;
}

void Put(TableMetadata& table, int64_t id, const LayerProgress& progress, std::string_view uuid = kUuid) {
  for (Snapshot& snapshot : table.snapshots) {
    if (snapshot.snapshot_id == id) snapshot.summary[std::string(kOffsetsKey)] = ProgressToJson(progress, uuid);
  }
}

void Tag(TableMetadata& table, int64_t id) { table.refs[std::string(kOffsetsTag)] = {.snapshot_id = id}; }

void Expire(TableMetadata& table, int64_t id) {
  std::erase_if(table.snapshots, [&](const Snapshot& snapshot) { return snapshot.snapshot_id == id; });
}

ErrorKind KindOf(const Result<LayerProgress>& result) { return result ? ErrorKind::kInternal : result.error().kind; }

TEST(SourceKey, HasAText) { EXPECT_EQ((SourceKey{"c", "t", "x1", 3}.ToString()), "c/t/x1/3"); }

// The document is a contract with every other engine that writes these tables: the very bytes.
TEST(ProgressJson, IsCompact) {
  EXPECT_EQ(
      ProgressToJson(Sample(), kUuid),
      R"({"version":2,"table":"9c12d441-03fe-4693-9a96-a0705ddf69c1","rules":2,"sources":[)"
      R"({"cluster":"c","topic":"market.crypto.trades.binance","id":"x1","at":[[0,100,4],[1,9007199254740993,-1]]}],)"
      R"("recordings":{"kraken":[["ab",7,9,1234,"0011223344556677"]]},)"
      R"("finished":["uuid-f",7,[[2,3],[5,5]]],)"
      R"("upstream":{"market_data.bronze_trades":["uuid-b",9007199254740993]}})");
  EXPECT_EQ(ProgressToJson({}, "u"), R"({"version":2,"table":"u"})");
  LayerProgress progress;
  progress.positions[{"recording", "recording/binance/ab", "ab", 0}] = {.next_offset = 1};
  progress.positions[{"recording", "recording/kraken/ab", "ab", 0}] = {
      .next_offset = 2, .next_line = 3, .next_byte = 4, .line_hash = "5", .segment = 6};
  progress.positions[{"recording", "recording/kraken/cd", "another", 0}] = {
      .next_offset = 2, .next_line = 3, .next_byte = 4, .line_hash = "5", .segment = 6};
  progress.finished = {.table_uuid = "f", .generation = 1, .without = {}};
  EXPECT_EQ(
      ProgressToJson(progress, "u"),
      R"({"version":2,"table":"u","sources":[{"cluster":"recording","topic":"recording/kraken/cd","id":"another",)"
      R"("at":[[0,2,-1,3,4,"5",6]]}],"recordings":{"binance":[["ab",1]],"kraken":[["ab",2,3,4,"5",6]]},)"
      R"("finished":["f",1]})");
  EXPECT_EQ(ParseProgress(ProgressToJson(progress, "u"), "u").value(), progress);
}

TEST(ProgressJson, RoundTrips) {
  EXPECT_EQ(ParseProgress(ProgressToJson(Sample(), kUuid), kUuid).value(), Sample());
  EXPECT_EQ(ParseProgress(ProgressToJson({}, kUuid), kUuid).value(), LayerProgress{});
  EXPECT_EQ(ParseProgress(ProgressToJson(Sample(), "another table"), kUuid).value(), std::nullopt);
}

// Tables of before are read for ever.
TEST(ProgressJson, ReadsVersion1) {
  LayerProgress wanted = Sample();
  wanted.finished = {};
  const std::string_view text =
      R"({"version":1,"table":"9c12d441-03fe-4693-9a96-a0705ddf69c1","rules":2,"sources":[)"
      R"({"cluster":"c","topic":"market.crypto.trades.binance","id":"x1","at":[[0,100,4],[1,9007199254740993,-1]]},)"
      R"({"cluster":"recording","topic":"recording/kraken/ab","id":"ab","at":[[0,7,-1,9,1234,"0011223344556677"]]}],)"
      R"("upstream":{"market_data.bronze_trades":["uuid-b",9007199254740993]}})";
  EXPECT_EQ(ParseProgress(text, kUuid).value(), wanted);
}

TEST(ProgressJson, RefusesVersionsItDoesNotKnow) {
  const auto later = ParseProgress(fmt::format(R"({{"version":3,"table":"{}","sources":"new form"}})", kUuid), kUuid);
  ASSERT_FALSE(later.has_value());
  EXPECT_EQ(later.error().kind, ErrorKind::kOffsetMismatch);
  EXPECT_NE(later.error().message.find("version 3"), std::string::npos) << later.error().message;
  EXPECT_EQ(ParseProgress(R"({"version":3,"table":"another"})", kUuid).value(), std::nullopt);
}

TEST(ProgressJson, RefusesBrokenDocuments) {
  const auto with = [](std::string_view rest) {
    return ParseProgress(fmt::format(R"({{"version":2,"table":"{}"{}}})", kUuid, rest), kUuid);
  };
  ASSERT_TRUE(with(R"(,"sources":[{"cluster":"c","topic":"t","id":"x","at":[[0,1,2]]}])").has_value());
  for (const char* rest : {
           R"(,"sources":{})",
           R"(,"sources":[[]])",
           R"(,"sources":[{"cluster":"c","topic":"t","at":[[0,1,2]]}])",
           R"(,"sources":[{"cluster":"c","topic":"t","id":"x"}])",
           R"(,"sources":[{"cluster":"c","topic":"t","id":"x","at":[[0,1]]}])",
           R"(,"sources":[{"cluster":"c","topic":"t","id":"x","at":[[0,-1,2]]}])",
           R"(,"sources":[{"cluster":"c","topic":"t","id":"x","at":[[0,1.0,2]]}])",
           R"(,"sources":[{"cluster":"c","topic":"t","id":"x","at":[[-1,1,2]]}])",
           R"(,"sources":[{"cluster":"c","topic":"t","id":"x","at":[[0,1,5000000000]]}])",
           R"(,"sources":[{"cluster":"c","topic":"t","id":"x","at":[[0,1,2,3,4,5]]}])",
           R"(,"sources":[{"cluster":"c","topic":"t","id":"x","at":[[0,1,2],[0,5,2]]}])",
           R"(,"sources":[{"cluster":"c","topic":"t","id":"x","at":[[0,1,2,3,4,"5",-6]]}])",
           R"(,"recordings":[])",
           R"(,"recordings":{"kraken":{}})",
           R"(,"recordings":{"kraken":[["ab"]]})",
           R"(,"recordings":{"kraken":[["ab",1,2]]})",
           R"(,"recordings":{"kraken":[["ab",-1]]})",
           R"(,"recordings":{"kraken":[["ab",1,2,3,4]]})",
           R"(,"recordings":{"kraken":[["ab",1],["ab",2]]})",
           R"(,"finished":{})",
           R"(,"finished":["u"])",
           R"(,"finished":["u",0])",
           R"(,"finished":["u",3,2])",
           R"(,"finished":["u",3,[2]])",
           R"(,"finished":["u",3,[[2,1]]])",
           R"(,"upstream":[])",
           R"(,"upstream":{"t":["u"]})",
           R"(,"upstream":{"t":["u","1"]})",
           R"(,"rules":"2")",
       }) {
    ASSERT_FALSE(with(rest).has_value()) << rest;
    EXPECT_EQ(with(rest).error().kind, ErrorKind::kInvalidData) << rest;
  }
  for (const char* text : {"", "null", "[]", "{}", R"({"version":1})", R"({"table":"u"})"}) {
    EXPECT_EQ(ParseProgress(text, kUuid).error().kind, ErrorKind::kInvalidData) << text;
  }
}

TEST(ReadProgress, IsEmptyWhereThereNeverWasAny) {
  EXPECT_EQ(ReadProgress(Chain(0)).value(), LayerProgress{});
  EXPECT_EQ(ReadProgress(Chain(3)).value(), LayerProgress{});
}

TEST(ReadProgress, WalksPastCommitsOfOthers) {
  TableMetadata table = Chain(5);
  Put(table, 1, Sample(1));
  Put(table, 2, Sample(2));
  Tag(table, 2);
  EXPECT_EQ(ReadProgress(table).value(), Sample(2));
  // A document of another table, copied in with its snapshots, is not ours.
  Put(table, 4, Sample(4), "another");
  EXPECT_EQ(ReadProgress(table).value(), Sample(2));
}

TEST(ReadProgress, TakesTheTagWhereTheChainIsBroken) {
  TableMetadata table = Chain(6);
  Put(table, 2, Sample(2));
  Tag(table, 2);
  Expire(table, 3);
  EXPECT_EQ(ReadProgress(table).value(), Sample(2));
  // Without the tag nobody knows how far it was: not from the beginning, in silence.
  table.refs.clear();
  EXPECT_EQ(KindOf(ReadProgress(table)), ErrorKind::kOffsetMismatch);
}

// PyIceberg's expiry takes the parent from snapshots whose parent it removes.
TEST(ReadProgress, TakesTheTagWhereAParentWasTakenAway) {
  TableMetadata table = Chain(4);
  Put(table, 2, Sample());
  Tag(table, 2);
  Expire(table, 3);
  table.snapshots.back().parent_snapshot_id.reset();
  EXPECT_EQ(ReadProgress(table), Sample());
  table.refs.clear();
  EXPECT_EQ(KindOf(ReadProgress(table)), ErrorKind::kOffsetMismatch) << "not a table that never had any";
}

// CREATE OR REPLACE TABLE: the rows that the offsets speak of are gone.
TEST(ReadProgress, StopsWhereTheTableWasReplaced) {
  TableMetadata table = Chain(3);
  Put(table, 2, Sample());
  Tag(table, 2);
  table.snapshots.back().parent_snapshot_id.reset();
  EXPECT_EQ(KindOf(ReadProgress(table)), ErrorKind::kOffsetMismatch);
}

TEST(ReadProgress, StopsWhereTheTagWasRolledAway) {
  TableMetadata table = Chain(4);
  Put(table, 2, Sample(2));
  Put(table, 4, Sample(4));
  Tag(table, 4);
  EXPECT_EQ(ReadProgress(table).value(), Sample(4));

  table.current_snapshot_id = 2;  // to a snapshot with older progress
  const auto older = ReadProgress(table);
  ASSERT_EQ(KindOf(older), ErrorKind::kOffsetMismatch);
  EXPECT_NE(older.error().message.find("rolled back"), std::string::npos);
  EXPECT_NE(older.error().message.find("k2 offsets set"), std::string::npos);

  table.current_snapshot_id = 1;  // to one before any progress
  EXPECT_EQ(KindOf(ReadProgress(table)), ErrorKind::kOffsetMismatch);

  // Rolled back, and a foreign append on top of it.
  table.snapshots.push_back({.snapshot_id = 9, .parent_snapshot_id = 3, .sequence_number = 5});
  table.current_snapshot_id = 9;
  EXPECT_EQ(KindOf(ReadProgress(table)), ErrorKind::kOffsetMismatch);

  // The same where the history before the rollback is expired.
  Expire(table, 2);
  EXPECT_EQ(KindOf(ReadProgress(table)), ErrorKind::kOffsetMismatch);

  table.current_snapshot_id.reset();  // main is gone altogether
  EXPECT_EQ(KindOf(ReadProgress(table)), ErrorKind::kOffsetMismatch);
}

TEST(ReadProgress, TakesATagThatStayedBehind) {
  TableMetadata table = Chain(4);
  Put(table, 2, Sample(2));
  Put(table, 4, Sample(4));
  Tag(table, 2);
  EXPECT_EQ(ReadProgress(table).value(), Sample(4));
  table.refs.clear();
  EXPECT_EQ(ReadProgress(table).value(), Sample(4)) << "a tag that was removed is no harm while the chain holds";
  Tag(table, 1);
  EXPECT_EQ(ReadProgress(table).value(), Sample(4)) << "a tag on a snapshot without progress says nothing";
}

TEST(ReadProgress, TellsWhichSnapshotIsBroken) {
  TableMetadata table = Chain(3);
  table.snapshots[1].summary[std::string(kOffsetsKey)] = "{";
  const auto progress = ReadProgress(table);
  ASSERT_EQ(KindOf(progress), ErrorKind::kInvalidData);
  EXPECT_NE(progress.error().message.find("snapshot 2"), std::string::npos) << progress.error().message;
  table.snapshots[1].summary[std::string(kOffsetsKey)] = fmt::format(R"({{"version":9,"table":"{}"}})", kUuid);
  EXPECT_EQ(KindOf(ReadProgress(table)), ErrorKind::kOffsetMismatch);
}

TEST(ReadProgress, EndsOnParentsThatFormARing) {
  TableMetadata table = Chain(3);
  table.snapshots[0].parent_snapshot_id = 3;
  EXPECT_EQ(KindOf(ReadProgress(table)), ErrorKind::kInvalidData);
}

}  // namespace
}  // namespace k2::table
