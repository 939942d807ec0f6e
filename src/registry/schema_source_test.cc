#include "registry/schema_source.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "trade/trade_schema.h"

namespace k2::registry {
namespace {

TEST(FileSchemaSource, KnowsItsOwnSchemasAndThoseOfAFolder) {
  const auto folder = std::filesystem::temp_directory_path() / fmt::format("k2_schemas_{}", getpid());
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "17.avsc") << "\"string\"";
  FileSchemaSource source(folder);
  EXPECT_EQ(source.SchemaJson(trade::kTradeV2SchemaId).value(), trade::kTradeV2SchemaJson);
  EXPECT_EQ(source.SchemaJson(trade::kRejectedFrameSchemaId).value(), trade::kRejectedFrameSchemaJson);
  EXPECT_EQ(source.SchemaJson(17).value(), "\"string\"");
  EXPECT_EQ(source.SchemaJson(18).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(source.SchemaJson(-1).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(source.SchemaJson(trade::SchemaRef(trade::SchemaRef::Kind::kContentId, 17)).error().kind,
            ErrorKind::kNotFound);
  EXPECT_EQ(FileSchemaSource().SchemaJson(17).error().kind, ErrorKind::kNotFound);
  std::filesystem::remove_all(folder);
}

// Its messages would be read as what they are not.
TEST(FileSchemaSource, AFileThatHasAnIdOfOurOwnIsToHoldThatSchema) {
  const auto folder = std::filesystem::temp_directory_path() / fmt::format("k2_own_schemas_{}", getpid());
  std::filesystem::create_directories(folder);
  EXPECT_TRUE(FileSchemaSource().CheckFolder());
  EXPECT_TRUE(FileSchemaSource(folder).CheckFolder());
  std::ofstream(folder / "3.avsc") << nlohmann::json::parse(trade::kTradeV3SchemaJson).dump();
  EXPECT_TRUE(FileSchemaSource(folder).CheckFolder()) << "the same, written otherwise";
  for (const char* other : {"\"string\"", "no JSON"}) {
    std::ofstream(folder / "3.avsc") << other;
    const Status checked = FileSchemaSource(folder).CheckFolder();
    ASSERT_FALSE(checked);
    EXPECT_EQ(checked.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_NE(checked.error().message.find("3.avsc is not the schema that k2 has under the id 3 (TradeV3)"),
              std::string::npos)
        << checked.error().message;
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace k2::registry
