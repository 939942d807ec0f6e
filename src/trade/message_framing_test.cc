#include "trade/message_framing.h"

#include <gtest/gtest.h>

#include <vector>

namespace k2::trade {
namespace {

using Kind = SchemaRef::Kind;

constexpr std::string_view kGuidBytes("\x01\x89\x79\x1e\x5c\x4b\x6a\x4d\x21\x9f\x60\x00\xab\xcd\xef\xff\x02", 17);
constexpr std::string_view kGuidText = "GUID 89791e5c-4b6a-4d21-9f60-00abcdefff02";
constexpr std::string_view kIdBytes("\x00\x00\x00\x01\x02", 5);
constexpr std::string_view kLong("\x00\x00\x00\x01\x00\x00\x00\x07", 8);

std::string Shown(const std::vector<MessageHeader>& headers, std::string_view value) {
  const auto framing = FramingOf(headers, value);
  return framing ? ToString(framing->schema) + " at " + std::to_string(framing->body) : "none";
}

TEST(MessageFramingTest, Prefixes) {
  EXPECT_EQ(Shown({}, std::string(kIdBytes) + "body"), "id 258 at 5");
  EXPECT_EQ(Shown({}, kIdBytes), "id 258 at 5");
  EXPECT_EQ(Shown({}, std::string(kGuidBytes) + "body"), std::string(kGuidText) + " at 17");
  EXPECT_EQ(Shown({}, kGuidBytes.substr(0, 16)), "none");
  EXPECT_EQ(Shown({}, kIdBytes.substr(0, 4)), "none");
  EXPECT_EQ(Shown({}, "\x02 something else entirely"), "none");
  EXPECT_EQ(Shown({}, ""), "none");
  EXPECT_EQ(Shown({}, std::string_view("\0\xff\xff\xff\xff", 5)), "id -1 at 5");
}

TEST(MessageFramingTest, Headers) {
  EXPECT_EQ(Shown({{"__value_schema_id", kGuidBytes}}, "body"), std::string(kGuidText) + " at 0");
  EXPECT_EQ(Shown({{"__value_schema_id", kIdBytes}}, "body"), "id 258 at 0");
  EXPECT_EQ(Shown({{"apicurio.value.contentId", kLong}}, "body"), "content id 4294967303 at 0");
  EXPECT_EQ(Shown({{"apicurio.value.globalId", kLong}}, "body"), "global id 4294967303 at 0");
  // A header comes before the prefix, the last one of a key before the others; a key's is not a value's.
  EXPECT_EQ(Shown({{"__value_schema_id", kGuidBytes}, {"__value_schema_id", kIdBytes}}, kGuidBytes), "id 258 at 0");
  EXPECT_EQ(Shown({{"__key_schema_id", kGuidBytes}, {"apicurio.key.globalId", kLong}}, kIdBytes), "id 258 at 5");
  EXPECT_EQ(Shown({{"apicurio.value.globalId", kLong}, {"__value_schema_id", kIdBytes}}, ""), "id 258 at 0");
}

TEST(MessageFramingTest, HeadersThatAreNoIds) {
  const std::string long_guid = std::string(kGuidBytes) + "x";
  for (const std::string_view bad : {std::string_view(), std::string_view("7"), std::string_view(long_guid),
                                     kGuidBytes.substr(0, 16), std::string_view("\x02\x00\x00\x00\x07", 5)}) {
    EXPECT_EQ(Shown({{"__value_schema_id", bad}}, std::string(kIdBytes) + "b"), "id 258 at 5") << bad.size();
    EXPECT_EQ(Shown({{"apicurio.value.globalId", bad}}, "body"), "none") << bad.size();
  }
  EXPECT_EQ(Shown({{"__value_schema_id", std::nullopt}}, "body"), "none");
}

}  // namespace
}  // namespace k2::trade
