#include "iceberg/table_update.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "iceberg/metadata_samples.h"

namespace k2::iceberg {
namespace {

TableMetadata Sample(int64_t snapshots) {
  auto table = SampleTableWithSnapshots(snapshots);
  EXPECT_TRUE(table.has_value()) << table.error().message;
  return table.value_or(TableMetadata{});
}

ErrorKind KindOf(const Result<TableMetadata>& result) { return result ? ErrorKind::kInternal : result.error().kind; }

TEST(ApplyUpdates, MakesANewTable) {
  const TableMetadata table = Sample(0);
  EXPECT_EQ(table.format_version, 2);
  EXPECT_EQ(table.last_column_id, 8);
  EXPECT_EQ(table.DefaultSpec().fields.at(0).field_id, 1000);
  EXPECT_EQ(table.last_partition_id, 1000);
  EXPECT_EQ(table.default_sort_order_id, 1) << "0 is the unsorted order";
  EXPECT_EQ(table.last_updated_ms, kSampleTimeMs);
  const auto plain = NewTableMetadata("u", "file:///t/", SampleSchema(), {}, {}, {}, 1);
  ASSERT_TRUE(plain.has_value()) << plain.error().message;
  EXPECT_EQ(plain->default_sort_order_id, 0);
  EXPECT_EQ(plain->last_partition_id, 999);
  EXPECT_EQ(plain->location, "file:///t");
}

TEST(ApplyUpdates, MainMovesWithTheLog) {
  const TableMetadata table = Sample(3);
  EXPECT_EQ(table.current_snapshot_id, kSampleIdBase + 3);
  EXPECT_EQ(table.last_sequence_number, 3);
  ASSERT_EQ(table.snapshot_log.size(), 3U);
  EXPECT_EQ(table.snapshot_log[2], (SnapshotLogEntry{kSampleTimeMs + 3000, kSampleIdBase + 3}));
  EXPECT_EQ(table.FindRef("k2-offsets")->snapshot_id, kSampleIdBase + 3);

  // Back to an older one: now, not when that one was made.
  const auto back = ApplyUpdates(table, {SetSnapshotRef{"main", {.snapshot_id = kSampleIdBase + 1, .is_branch = true}}},
                                 kSampleTimeMs + 9000);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->current_snapshot_id, kSampleIdBase + 1);
  EXPECT_EQ(back->snapshot_log.back(), (SnapshotLogEntry{kSampleTimeMs + 9000, kSampleIdBase + 1}));
}

TEST(ApplyUpdates, LeavesSnapshotsBetweenOutOfTheLog) {
  TableMetadata table = Sample(1);
  std::vector<TableUpdate> updates = SampleAppend(table, 2);
  for (TableUpdate& update : SampleAppend(table, 3)) updates.push_back(std::move(update));
  const auto both = ApplyUpdates(table, updates, kSampleTimeMs + 3000);
  ASSERT_TRUE(both.has_value()) << both.error().message;
  ASSERT_EQ(both->snapshot_log.size(), 2U);
  EXPECT_EQ(both->snapshot_log[1].snapshot_id, kSampleIdBase + 3);
  EXPECT_EQ(both->snapshots.size(), 3U);
}

TEST(ApplyUpdates, TimeNeverGoesBack) {
  const TableMetadata table = Sample(3);
  const auto later = ApplyUpdates(table, {SetProperties{{{"a", "b"}}}}, 5);
  ASSERT_TRUE(later.has_value());
  EXPECT_EQ(later->last_updated_ms, table.last_updated_ms);
  const auto untouched = ApplyUpdates(table, {}, table.last_updated_ms + 1000);
  EXPECT_EQ(untouched.value(), table);
  auto updates = SampleAppend(table, 4);
  std::get<AddSnapshot>(updates[0]).snapshot.timestamp_ms = table.last_updated_ms - 60'001;
  EXPECT_EQ(KindOf(ApplyUpdates(table, updates, 0)), ErrorKind::kInvalidArgument);
  std::get<AddSnapshot>(updates[0]).snapshot.timestamp_ms = table.last_updated_ms + 77;
  EXPECT_EQ(ApplyUpdates(table, updates, 0)->last_updated_ms, table.last_updated_ms + 77);
}

TEST(ApplyUpdates, RefusesSnapshotsThatBreakARule) {
  const TableMetadata table = Sample(2);
  const auto refused = [&](auto&& spoil) {
    auto updates = SampleAppend(table, 3);
    spoil(std::get<AddSnapshot>(updates[0]).snapshot);
    return KindOf(ApplyUpdates(table, updates, 0)) == ErrorKind::kInvalidArgument;
  };
  EXPECT_FALSE(refused([](Snapshot&) {}));
  EXPECT_TRUE(refused([](Snapshot& s) { s.snapshot_id = kSampleIdBase + 1; }));
  EXPECT_TRUE(refused([](Snapshot& s) { s.snapshot_id = -1; }));
  EXPECT_TRUE(refused([](Snapshot& s) { s.sequence_number = 2; }));
  EXPECT_TRUE(refused([](Snapshot& s) { s.sequence_number = 4; }));
  EXPECT_TRUE(refused([](Snapshot& s) { s.parent_snapshot_id = 4; }));
  EXPECT_TRUE(refused([](Snapshot& s) { s.schema_id = 4; }));
  EXPECT_TRUE(refused([](Snapshot& s) { s.operation = "insert"; }));
  EXPECT_TRUE(refused([](Snapshot& s) { s.manifest_list.clear(); }));
}

TEST(ApplyUpdates, RefusesReferencesThatBreakARule) {
  const TableMetadata table = Sample(2);
  const int64_t there = kSampleIdBase + 1;
  const auto kind = [&](TableUpdate update) { return KindOf(ApplyUpdates(table, {std::move(update)}, 0)); };
  const auto good = ErrorKind::kInternal;  // no error
  EXPECT_EQ(kind(SetSnapshotRef{"audit", {.snapshot_id = there, .is_branch = true}}), good);
  EXPECT_EQ(kind(SetSnapshotRef{"keep", {.snapshot_id = there, .max_ref_age_ms = 5}}), good);
  EXPECT_EQ(kind(SetSnapshotRef{"keep", {.snapshot_id = 5}}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind(SetSnapshotRef{"", {.snapshot_id = there}}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind(SetSnapshotRef{"main", {.snapshot_id = there}}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind(SetSnapshotRef{"k2-offsets", {.snapshot_id = there, .is_branch = true}}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind(SetSnapshotRef{"keep", {.snapshot_id = there, .min_snapshots_to_keep = 5}}),
            ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind(SetSnapshotRef{"main", {.snapshot_id = there, .is_branch = true, .min_snapshots_to_keep = 0}}),
            ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind(RemoveSnapshots{{kSampleIdBase + 2}}), ErrorKind::kInvalidArgument) << "main names it";
  EXPECT_EQ(kind(RemoveSnapshots{{12345}}), good);
  EXPECT_EQ(kind(AssignUuid{"another"}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind(UpgradeFormatVersion{1}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind(UpgradeFormatVersion{3}), ErrorKind::kUnsupported);
  EXPECT_EQ(kind(SetLocation{""}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind(SetCurrentSchema{}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind(SetCurrentSchema{4}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind(SetDefaultSpec{4}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind(SetDefaultSortOrder{4}), ErrorKind::kInvalidArgument);

  const auto none = ApplyUpdates(table, {RemoveSnapshotRef{"main"}}, 0);
  ASSERT_TRUE(none.has_value());
  EXPECT_EQ(none->CurrentSnapshot(), nullptr);
}

TEST(ApplyUpdates, ExpiringDropsTheLogBeforeTheGap) {
  const TableMetadata table = Sample(5);
  const auto expired = ApplyUpdates(table, {RemoveSnapshots{{kSampleIdBase + 3}}}, 0);
  ASSERT_TRUE(expired.has_value()) << expired.error().message;
  EXPECT_EQ(expired->snapshots.size(), 4U);
  ASSERT_EQ(expired->snapshot_log.size(), 2U);
  EXPECT_EQ(expired->snapshot_log[0].snapshot_id, kSampleIdBase + 4);
}

TEST(ApplyUpdates, EvolvesTheSchema) {
  const TableMetadata table = Sample(1);
  Schema wider = SampleSchema();
  wider.fields.push_back({.id = 9, .name = "note", .type = Type::Primitive(TypeId::kString)});
  const auto evolved = ApplyUpdates(table, {AddSchema{wider, 9}, SetCurrentSchema{}}, 0);
  ASSERT_TRUE(evolved.has_value()) << evolved.error().message;
  EXPECT_EQ(evolved->current_schema_id, 1);
  EXPECT_EQ(evolved->CurrentSchema().schema_id, 1);
  EXPECT_EQ(evolved->last_column_id, 9);
  // Back to the first one: it is found, not written again, and the id 9 stays taken.
  const auto back = ApplyUpdates(*evolved, {AddSchema{SampleSchema()}, SetCurrentSchema{}}, 0);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->current_schema_id, 0);
  EXPECT_EQ(back->schemas.size(), 2U);
  EXPECT_EQ(back->last_column_id, 9);
  EXPECT_EQ(KindOf(ApplyUpdates(*evolved, {AddSchema{wider, 8}}, 0)), ErrorKind::kInvalidArgument);
  // The default spec is of field 2: a schema without it cannot become current.
  Schema narrow = SampleSchema();
  narrow.fields.erase(narrow.fields.begin() + 1);
  EXPECT_EQ(KindOf(ApplyUpdates(table, {AddSchema{narrow}, SetCurrentSchema{}}, 0)), ErrorKind::kInvalidArgument);
}

TEST(ApplyUpdates, EvolvesThePartitionSpec) {
  const TableMetadata table = Sample(1);
  const PartitionSpec hourly{.fields = {{.source_id = 2, .name = "timestamp_day", .transform = "day"},
                                        {.source_id = 2, .name = "timestamp_hour", .transform = "hour"}}};
  const auto evolved = ApplyUpdates(table, {AddSpec{hourly}, SetDefaultSpec{}}, 0);
  ASSERT_TRUE(evolved.has_value()) << evolved.error().message;
  EXPECT_EQ(evolved->default_spec_id, 1);
  EXPECT_EQ(evolved->DefaultSpec().fields[0].field_id, 1000) << "the same field keeps its id";
  EXPECT_EQ(evolved->DefaultSpec().fields[1].field_id, 1001);
  EXPECT_EQ(evolved->last_partition_id, 1001);
  const auto again = ApplyUpdates(*evolved, {AddSpec{hourly}, SetDefaultSpec{}}, 0);
  EXPECT_EQ(again->partition_specs.size(), 2U);
  const auto refused = [&](PartitionField field) {
    return KindOf(ApplyUpdates(table, {AddSpec{PartitionSpec{.fields = {std::move(field)}}}}, 0));
  };
  EXPECT_EQ(refused({.source_id = 99, .name = "x", .transform = "day"}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(refused({.source_id = 1, .name = "x", .transform = "day"}), ErrorKind::kInvalidArgument);
  EXPECT_EQ(refused({.source_id = 1, .field_id = 1000, .name = "x", .transform = "identity"}),
            ErrorKind::kInvalidArgument);
  EXPECT_EQ(refused({.source_id = 1, .field_id = 12, .name = "x", .transform = "identity"}),
            ErrorKind::kInvalidArgument);
  EXPECT_EQ(refused({.source_id = 1, .name = "", .transform = "identity"}), ErrorKind::kInvalidArgument);
}

TEST(MetadataLog, KeepsTheNewest) {
  TableMetadata table = Sample(0);
  table.properties["write.metadata.previous-versions-max"] = "2";
  EXPECT_TRUE(AddToMetadataLog(table, "a", 1).empty());
  EXPECT_TRUE(AddToMetadataLog(table, "b", 2).empty());
  EXPECT_EQ(AddToMetadataLog(table, "c", 3), std::vector<std::string>{"a"});
  table.properties["write.metadata.previous-versions-max"] = "0";
  EXPECT_EQ(AddToMetadataLog(table, "d", 4), (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(table.metadata_log, (std::vector<MetadataLogEntry>{{4, "d"}}));
}

TEST(Requirements, Hold) {
  const TableMetadata table = Sample(1);
  const std::vector<TableRequirement> good = {AssertTableUuid{std::string(kSampleUuid)},
                                              AssertRefSnapshotId{"main", kSampleIdBase + 1},
                                              AssertRefSnapshotId{"absent", std::nullopt},
                                              AssertLastAssignedFieldId{8},
                                              AssertCurrentSchemaId{0},
                                              AssertDefaultSpecId{0}};
  EXPECT_TRUE(CheckRequirements(&table, good).has_value());
  EXPECT_TRUE(CheckRequirements(nullptr, {AssertCreate{}}).has_value());
  const std::vector<TableRequirement> bad = {AssertCreate{},
                                             AssertTableUuid{"other"},
                                             AssertRefSnapshotId{"main", kSampleIdBase},
                                             AssertRefSnapshotId{"main", std::nullopt},
                                             AssertRefSnapshotId{"absent", 1},
                                             AssertLastAssignedFieldId{7},
                                             AssertCurrentSchemaId{1},
                                             AssertDefaultSpecId{1}};
  for (const TableRequirement& requirement : bad) {
    std::vector<TableRequirement> all = good;
    all.push_back(requirement);
    EXPECT_EQ(CheckRequirements(&table, all).error().kind, ErrorKind::kConflict) << requirement.index();
  }
  EXPECT_EQ(CheckRequirements(nullptr, good).error().kind, ErrorKind::kConflict);
}

// The forms of rest-catalog-open-api.yaml; that PyIceberg reads them too is in metadata_judge_test.cc.
TEST(UpdatesToJson, WritesTheOpenApiForms) {
  EXPECT_EQ(
      RequirementsToJson({AssertCreate{}, AssertTableUuid{"u"}, AssertRefSnapshotId{"main", kSampleIdBase},
                          AssertRefSnapshotId{"b", std::nullopt}, AssertLastAssignedFieldId{7},
                          AssertCurrentSchemaId{1}, AssertDefaultSpecId{2}}),
      R"([{"type":"assert-create"},{"type":"assert-table-uuid","uuid":"u"},)"
      R"({"type":"assert-ref-snapshot-id","ref":"main","snapshot-id":9007199254740993},)"
      R"({"type":"assert-ref-snapshot-id","ref":"b","snapshot-id":null},)"
      R"({"type":"assert-last-assigned-field-id","last-assigned-field-id":7},)"
      R"({"type":"assert-current-schema-id","current-schema-id":1},{"type":"assert-default-spec-id","default-spec-id":2}])");
  EXPECT_EQ(UpdatesToJson({SetSnapshotRef{"t", {.snapshot_id = 5, .max_ref_age_ms = 6}}, RemoveSnapshots{{1, 2}},
                           SetProperties{{{"a", "b"}}}, RemoveProperties{{"c"}}, SetDefaultSpec{}}),
            R"([{"action":"set-snapshot-ref","ref-name":"t","snapshot-id":5,"type":"tag","max-ref-age-ms":6},)"
            R"({"action":"remove-snapshots","snapshot-ids":[1,2]},{"action":"set-properties","updates":{"a":"b"}},)"
            R"({"action":"remove-properties","removals":["c"]},{"action":"set-default-spec","spec-id":-1}])");
}

}  // namespace
}  // namespace k2::iceberg
