#include "source/schema_source.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "trade/trade_schema.h"

namespace k2 {
namespace {

TEST(FileSchemaSource, KnowsItsOwnSchemasAndThoseOfAFolder) {
  const auto folder = std::filesystem::temp_directory_path() / fmt::format("k2_schemas_{}", getpid());
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "17.avsc") << "\"string\"";
  FileSchemaSource source(folder);
  EXPECT_EQ(source.SchemaJson(kTradeV2SchemaId).value(), kTradeV2SchemaJson);
  EXPECT_EQ(source.SchemaJson(kRejectedFrameSchemaId).value(), kRejectedFrameSchemaJson);
  EXPECT_EQ(source.SchemaJson(17).value(), "\"string\"");
  EXPECT_EQ(source.SchemaJson(18).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(source.SchemaJson(-1).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(FileSchemaSource().SchemaJson(17).error().kind, ErrorKind::kNotFound);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace k2
