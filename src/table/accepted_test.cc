#include "table/accepted.h"

#include <gtest/gtest.h>

namespace k2::table {
namespace {

TEST(Accepted, IsReadAsItWasWritten) {
  Accepted accepted;
  accepted["market_data.bronze_trades"] = {
      .table_uuid = "u",
      .snapshot_id = 5'437'868'902'823'171'052,
      .sequence_number = 17,
      .sources = {{{.cluster = "c", .topic = "t", .topic_id = "i", .partition = 3}, {.end = 40, .messages = 31}}},
      .at = "2026-11-29T00:00:00Z"};
  accepted["market_data.silver_binance_trades"] = {.table_uuid = "v", .snapshot_id = 1, .sources = {}, .at = ""};
  iceberg::TableMetadata metadata;
  EXPECT_TRUE(ReadAccepted(metadata)->empty());
  metadata.properties[kAcceptedKey] = AcceptedToJson(accepted);
  const auto read = ReadAccepted(metadata);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, accepted);
}

TEST(Accepted, TellsWhatItCannotRead) {
  iceberg::TableMetadata metadata;
  metadata.properties[kAcceptedKey] = "{";
  EXPECT_EQ(ReadAccepted(metadata).error().kind, ErrorKind::kInvalidData);
  metadata.properties[kAcceptedKey] = R"({"version":2})";
  EXPECT_EQ(ReadAccepted(metadata).error().kind, ErrorKind::kOffsetMismatch);
  metadata.properties[kAcceptedKey] = R"({"version":1,"upstream":[{"table":"t","uuid":"u","snapshot":1,"sequence":1,
                                          "at":"","sources":[["c"]]}]})";
  EXPECT_EQ(ReadAccepted(metadata).error().kind, ErrorKind::kInvalidData);
}

}  // namespace
}  // namespace k2::table
