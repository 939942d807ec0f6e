#include "iceberg/table_metadata.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "iceberg/metadata_samples.h"

namespace k2::iceberg {
namespace {

using Json = nlohmann::json;

Json SampleJson(int64_t snapshots = 3) {
  const auto table = SampleTableWithSnapshots(snapshots);
  EXPECT_TRUE(table.has_value()) << table.error().message;
  return Json::parse(TableMetadataToJson(*table));
}

TEST(TableMetadata, RoundTrips) {
  const auto table = SampleTableWithSnapshots(3);
  ASSERT_TRUE(table.has_value()) << table.error().message;
  const auto again = ParseTableMetadata(TableMetadataToJson(*table));
  ASSERT_TRUE(again.has_value()) << again.error().message;
  EXPECT_EQ(*again, *table);
  EXPECT_EQ(again->CurrentSnapshot()->snapshot_id, kSampleIdBase + 3) << "ids must not pass through a double";
  EXPECT_EQ(again->CurrentSnapshot()->parent_snapshot_id, kSampleIdBase + 2);
}

TEST(TableMetadata, WritesWhatOtherReadersAskFor) {
  const Json json = SampleJson(0);
  for (const char* key : {"format-version",
                          "table-uuid",
                          "location",
                          "last-sequence-number",
                          "last-updated-ms",
                          "last-column-id",
                          "schemas",
                          "current-schema-id",
                          "partition-specs",
                          "default-spec-id",
                          "last-partition-id",
                          "sort-orders",
                          "default-sort-order-id",
                          "properties",
                          "snapshots",
                          "snapshot-log",
                          "metadata-log",
                          "refs",
                          "statistics",
                          "partition-statistics"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json["current-snapshot-id"], -1);
  EXPECT_FALSE(json.contains("schema")) << "version 1 alone";
  EXPECT_EQ(SampleJson(1)["snapshots"][0]["summary"]["operation"], "append");
}

TEST(TableMetadata, TakesEveryFormOfNoSnapshot) {
  for (const Json& none : {Json(-1), Json(nullptr)}) {
    Json json = SampleJson(0);
    json["current-snapshot-id"] = none;
    const auto table = ParseTableMetadata(json.dump());
    ASSERT_TRUE(table.has_value());
    EXPECT_EQ(table->CurrentSnapshot(), nullptr);
  }
  Json json = SampleJson(0);
  for (const char* optional : {"current-snapshot-id", "snapshots", "refs", "snapshot-log", "metadata-log", "statistics",
                               "partition-statistics", "properties"}) {
    json.erase(optional);
  }
  EXPECT_TRUE(ParseTableMetadata(json.dump()).has_value());
}

TEST(TableMetadata, MainFollowsTheCurrentSnapshotWhereThereAreNoRefs) {
  Json json = SampleJson(2);
  json.erase("refs");
  const auto table = ParseTableMetadata(json.dump());
  ASSERT_TRUE(table.has_value());
  ASSERT_NE(table->FindRef("main"), nullptr);
  EXPECT_EQ(table->FindRef("main")->snapshot_id, kSampleIdBase + 2);
  EXPECT_TRUE(table->FindRef("main")->is_branch);
}

TEST(TableMetadata, KeepsWhatOtherWritersPutThere) {
  Json json = SampleJson(2);
  json["statistics"] = Json::parse(R"([{"snapshot-id":9007199254740995,"statistics-path":"s3://b/x.puffin",
      "file-size-in-bytes":9007199254740997,"file-footer-size-in-bytes":42,"blob-metadata":[{"type":"t","snapshot-id":1,
      "sequence-number":1,"fields":[1],"properties":{"ndv":"7"}}]}])");
  json["partition-statistics"] =
      Json::parse(R"([{"snapshot-id":9007199254740994,"statistics-path":"p","file-size-in-bytes":1}])");
  json["some-future-field"] = {{"a", {1, 2.5, "three"}}};
  json["schemas"][0]["fields"][1]["write-default"] = "2024-01-01T00:00:00+00:00";
  const auto table = ParseTableMetadata(json.dump());
  ASSERT_TRUE(table.has_value()) << table.error().message;
  const Json again = Json::parse(TableMetadataToJson(*table));
  EXPECT_EQ(again, json);

  const auto expired = ApplyUpdates(*table, {RemoveSnapshots{{kSampleIdBase + 1}}}, 0);
  ASSERT_TRUE(expired.has_value()) << expired.error().message;
  EXPECT_EQ(expired->partition_statistics.size(), 0U) << "the snapshot they speak of is gone";
  EXPECT_EQ(expired->statistics.size(), 1U);
}

TEST(TableMetadata, ReadsTheOldFormsOfVersion1) {
  Json json = SampleJson(2);
  json["format-version"] = 1;
  json["schema"] = json["schemas"][0];
  json["schema"].erase("schema-id");
  json["partition-spec"] = Json::parse(R"([{"source-id":2,"name":"d","transform":"day"}])");
  for (const char* absent :
       {"table-uuid", "schemas", "current-schema-id", "partition-specs", "default-spec-id", "last-partition-id",
        "sort-orders", "default-sort-order-id", "last-sequence-number", "refs"}) {
    json.erase(absent);
  }
  for (Json& snapshot : json["snapshots"]) snapshot.erase("sequence-number");
  const auto table = ParseTableMetadata(json.dump());
  ASSERT_TRUE(table.has_value()) << table.error().message;
  EXPECT_EQ(table->DefaultSpec().fields.at(0).field_id, 1000);
  EXPECT_EQ(table->last_partition_id, 1000);
  EXPECT_EQ(table->sort_orders.size(), 1U);
  EXPECT_EQ(table->CurrentSnapshot()->sequence_number, 0);
  EXPECT_EQ(ParseTableMetadata(TableMetadataToJson(*table)).value(), *table);

  // Version 2 may not leave them out.
  json["format-version"] = 2;
  EXPECT_FALSE(ParseTableMetadata(json.dump()).has_value());

  const auto append = SampleAppend(*table, 1);
  EXPECT_EQ(ApplyUpdates(*table, append, 0).error().kind, ErrorKind::kUnsupported);
  const auto upgraded = ApplyUpdates(*table, {AssignUuid{std::string(kSampleUuid)}, UpgradeFormatVersion{2}}, 0);
  ASSERT_TRUE(upgraded.has_value()) << upgraded.error().message;
  EXPECT_EQ(ParseTableMetadata(TableMetadataToJson(*upgraded)).value(), *upgraded);
}

TEST(TableMetadata, RefusesLaterVersionsClearly) {
  Json json = SampleJson(0);
  json["format-version"] = 3;
  const auto table = ParseTableMetadata(json.dump());
  EXPECT_EQ(table.error().kind, ErrorKind::kUnsupported);
  EXPECT_NE(table.error().message.find("version 3"), std::string::npos) << table.error().message;
  EXPECT_EQ(ParseTableMetadata("\x1f\x8b\x08").error().kind, ErrorKind::kUnsupported);
}

TEST(TableMetadata, RefusesReferencesThatDoNotResolve) {
  const Json good = SampleJson(3);
  ASSERT_TRUE(ParseTableMetadata(good.dump()).has_value());
  const std::vector<std::pair<std::string, Json>> changes = {
      {"/current-schema-id", 5},
      {"/default-spec-id", 5},
      {"/default-sort-order-id", 5},
      {"/current-snapshot-id", 5},
      {"/current-snapshot-id", kSampleIdBase + 1},
      {"/current-snapshot-id", -1},
      {"/refs/k2-offsets/snapshot-id", 5},
      {"/refs/main/type", "tag"},
      {"/refs/main/type", "trunk"},
      {"/partition-specs/0/fields/0/source-id", 99},
      {"/sort-orders/0/fields/0/source-id", 99},
      {"/sort-orders/0/fields/0/direction", "up"},
      {"/snapshots/0/snapshot-id", kSampleIdBase + 2},
      {"/snapshots/0/sequence-number", 100},
      {"/snapshots/0/timestamp-ms", 1e30},
      {"/snapshots/0/snapshot-id", 18446744073709551615ULL},
      {"/snapshots/0/summary/operation", nullptr},
      {"/snapshots", 7},
      {"/properties", Json::array()},
      {"/location", nullptr},
      {"/table-uuid", nullptr},
      {"/last-column-id", "8"},
      {"/last-column-id", 2147483647},
      {"/last-partition-id", 2147483647},
      {"/last-sequence-number", 9223372036854775807},
      {"/last-updated-ms", -1},
      {"/schemas/0/schema-id", -1},
      {"/sort-orders/0/order-id", 2147483647},
  };
  for (const auto& [where, value] : changes) {
    Json json = good;
    json[Json::json_pointer(where)] = value;
    const auto table = ParseTableMetadata(json.dump());
    ASSERT_FALSE(table.has_value()) << where << " = " << value;
    EXPECT_EQ(table.error().kind, ErrorKind::kInvalidData) << where << ": " << table.error().message;
  }
}

TEST(TableMetadata, RefusesWhatIsNotJson) {
  for (const std::string& text : {std::string(), std::string("null"), std::string("[]"), std::string("{"),
                                  std::string("{\"a\":\"\xff\"}"), std::string(10'000'000, '[')}) {
    EXPECT_EQ(ParseTableMetadata(text).error().kind, ErrorKind::kInvalidData) << text.substr(0, 20);
  }
}

TEST(TableMetadata, WritesAnyBytes) {
  auto table = SampleTable();
  ASSERT_TRUE(table.has_value());
  table->properties["text"] = "quote \" back \\ line \n tab \t nul \x01 euro \u20ac";
  EXPECT_EQ(ParseTableMetadata(TableMetadataToJson(*table)).value(), *table);
  table->properties["text"] = "broken \xff";
  EXPECT_EQ(ParseTableMetadata(TableMetadataToJson(*table))->properties["text"], "broken \ufffd");
}

TEST(TableMetadata, ReadsNumbersOfProperties) {
  TableMetadata table;
  table.properties = {{"a", "12"}, {"b", "12x"}, {"c", ""}, {"d", "-3"}};
  EXPECT_EQ(table.PropertyOr("a", 5), 12);
  EXPECT_EQ(table.PropertyOr("b", 5), 5);
  EXPECT_EQ(table.PropertyOr("c", 5), 5);
  EXPECT_EQ(table.PropertyOr("d", 5), -3);
  EXPECT_EQ(table.PropertyOr("e", 5), 5);
}

}  // namespace
}  // namespace k2::iceberg
