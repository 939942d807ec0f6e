#include "iceberg/name_mapping.h"

#include <gtest/gtest.h>

namespace k2::iceberg {
namespace {

// The example of the specification.
constexpr std::string_view kExample = R"([
  {"field-id": 1, "names": ["id", "record_id"]},
  {"field-id": 2, "names": ["data"]},
  {"field-id": 3, "names": ["location"], "fields": [
    {"field-id": 4, "names": ["latitude", "lat"]},
    {"field-id": 5, "names": ["longitude", "long"]}]},
  {"names": ["unmapped"]}])";

TEST(NameMapping, FindsNestedFieldsByAnyName) {
  const auto mapping = ParseNameMapping(kExample);
  ASSERT_TRUE(mapping) << mapping.error().message;
  EXPECT_EQ(FindMapped(*mapping, "record_id")->field_id, 1);
  EXPECT_EQ(FindMapped(FindMapped(*mapping, "location")->fields, "lat")->field_id, 4);
  EXPECT_EQ(FindMapped(*mapping, "unmapped")->field_id, std::nullopt);
  EXPECT_EQ(FindMapped(*mapping, "lat"), nullptr);
}

TEST(NameMapping, RefusesWhatIsNone) {
  for (const char* text : {"", "{}", "[1]", R"([{"field-id": 1}])", R"([{"field-id": "1", "names": ["a"]}])",
                           R"([{"field-id": -1, "names": ["a"]}])", R"([{"names": [1]}])",
                           R"([{"names": ["a"]}, {"names": ["b", "a"]}])", R"([{"names": ["a"], "fields": {}}])"}) {
    const auto mapping = ParseNameMapping(text);
    ASSERT_FALSE(mapping) << text;
    EXPECT_EQ(mapping.error().kind, ErrorKind::kInvalidData) << text;
  }
}

}  // namespace
}  // namespace k2::iceberg
