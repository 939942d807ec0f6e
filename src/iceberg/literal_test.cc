#include "iceberg/literal.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/time.h"
#include "iceberg/transform.h"

namespace k2::iceberg {
namespace {

const Type kIntType = Type::Primitive(TypeId::kInt);
const Type kLongType = Type::Primitive(TypeId::kLong);
const Type kStringType = Type::Primitive(TypeId::kString);
const Type kDateType = Type::Primitive(TypeId::kDate);
const Type kTimestamptz = Type::Primitive(TypeId::kTimestamptz);

Int128 Power10(int digits) {
  Int128 value = 1;
  for (int i = 0; i < digits; ++i) value *= 10;
  return value;
}

std::string Bytes(std::initializer_list<int> bytes) {
  std::string out;
  for (const int byte : bytes) out.push_back(static_cast<char>(byte));
  return out;
}

TEST(LiteralTest, BinaryFormIsThatOfAppendixD) {
  const std::vector<std::tuple<Literal, Type, std::string>> cases = {
      {true, Type::Primitive(TypeId::kBoolean), Bytes({1})},
      {int32_t{-2}, kIntType, Bytes({0xfe, 0xff, 0xff, 0xff})},
      {int64_t{1}, kLongType, Bytes({1, 0, 0, 0, 0, 0, 0, 0})},
      {1.0F, Type::Primitive(TypeId::kFloat), Bytes({0, 0, 0x80, 0x3f})},
      {Int128{1420}, Type::Decimal(9, 2), Bytes({0x05, 0x8c})},
      {Int128{-1}, Type::Decimal(9, 2), Bytes({0xff})},
      {Int128{128}, Type::Decimal(9, 2), Bytes({0x00, 0x80})},
      {Int128{-128}, Type::Decimal(9, 2), Bytes({0x80})},
      {std::string("iceberg"), kStringType, "iceberg"},
  };
  for (const auto& [literal, type, bytes] : cases) {
    EXPECT_EQ(ToBytes(literal, type).value(), bytes) << type.ToString();
    EXPECT_EQ(FromBytes(bytes, type).value(), literal) << type.ToString();
  }
  EXPECT_FALSE(ToBytes(Literal(), kIntType));
  EXPECT_FALSE(ToBytes(int64_t{1}, kIntType));
}

TEST(LiteralTest, BoundsWrittenBeforeAPromotionAreRead) {
  EXPECT_EQ(FromBytes(Bytes({0xff, 0xff, 0xff, 0xff}), kLongType).value(), Literal(int64_t{-1}));
  EXPECT_EQ(FromBytes(Bytes({0, 0, 0x80, 0x3f}), Type::Primitive(TypeId::kDouble)).value(), Literal(1.0));
  EXPECT_EQ(FromBytes(Bytes({0, 0, 0, 0, 5}), Type::Decimal(38, 2)).value(), Literal(Int128{5}));
  EXPECT_FALSE(FromBytes(Bytes({1, 2, 3}), kLongType));
  EXPECT_FALSE(FromBytes("", Type::Decimal(38, 2)));
  EXPECT_FALSE(FromBytes(std::string(17, '\x01'), Type::Decimal(38, 2)));
}

TEST(LiteralTest, DecimalsOfAnyWidth) {
  for (const Int128 value : {Int128{0}, Int128{-1}, Power10(37), -Power10(37), std::numeric_limits<Int128>::max(),
                             std::numeric_limits<Int128>::min()}) {
    EXPECT_EQ(BigEndianInt128(MinimalBigEndian(value)), value);
    EXPECT_EQ(BigEndianInt128(*FixedBigEndian(value, 16)), value);
    EXPECT_EQ(BigEndianInt128(*FixedBigEndian(value, 20)), value);
  }
  EXPECT_FALSE(FixedBigEndian(128, 1));
  EXPECT_EQ(DecimalRequiredBytes(18), 8U);
  EXPECT_EQ(DecimalRequiredBytes(38), 16U);
  EXPECT_EQ(DecimalRequiredBytes(9), 4U);
  EXPECT_EQ(DecimalRequiredBytes(2), 1U);
  EXPECT_EQ(DecimalToString(-5, 8), "-0.00000005");
  EXPECT_EQ(DecimalToString(1420, 2), "14.20");
  EXPECT_EQ(DecimalToString(std::numeric_limits<Int128>::min(), 0), "-170141183460469231731687303715884105728");
}

TEST(LiteralTest, Order) {
  EXPECT_LT(CompareLiterals(Literal(), int32_t{-5}), 0);
  EXPECT_GT(CompareLiterals(int64_t{1} << 40, int32_t{7}), 0);
  EXPECT_EQ(CompareLiterals(0.5F, 0.5), 0);
  EXPECT_EQ(CompareLiterals(-0.0, 0.0), 0);
  EXPECT_GT(CompareLiterals(std::nan(""), std::numeric_limits<double>::infinity()), 0);
  EXPECT_GT(CompareLiterals(std::string("\xc3\xa4"), std::string("z")), 0);
  EXPECT_FALSE(Comparable(int32_t{1}, std::string("1")));
}

TEST(LiteralTest, JsonBothWays) {
  const std::vector<std::tuple<Literal, Type, std::string>> cases = {
      {Int128{1420}, Type::Decimal(9, 2), "\"14.20\""},
      {Int128{-5}, Type::Decimal(18, 8), "\"-0.00000005\""},
      {int32_t{17486}, kDateType, "\"2017-11-16\""},
      {int64_t{1510871468123456}, kTimestamptz, "\"2017-11-16T22:31:08.123456+00:00\""},
      {int64_t{81068123456}, Type::Primitive(TypeId::kTime), "\"22:31:08.123456\""},
      {Bytes({0, 1, 2, 0xff}), Type::Primitive(TypeId::kBinary), "\"000102ff\""},
      {int64_t{34}, kLongType, "34"},
      {Literal(), kLongType, "null"},
  };
  for (const auto& [literal, type, json] : cases) {
    EXPECT_EQ(LiteralToJson(literal, type).value().dump(), json);
    EXPECT_EQ(LiteralFromJson(nlohmann::json::parse(json), type).value(), literal) << json;
  }
  EXPECT_FALSE(LiteralFromJson("14.205", Type::Decimal(9, 2)));
  EXPECT_FALSE(LiteralFromJson("0g", Type::Primitive(TypeId::kBinary)));
}

// Test values of Appendix B.
TEST(TransformTest, Hashes) {
  EXPECT_EQ(BucketHash(kIntType, int32_t{34}).value(), 2017239379);
  EXPECT_EQ(BucketHash(kLongType, int64_t{34}).value(), 2017239379);
  EXPECT_EQ(BucketHash(Type::Decimal(9, 2), Int128{1420}).value(), -500754589);
  EXPECT_EQ(BucketHash(kDateType, int32_t{17486}).value(), -653330422);
  EXPECT_EQ(BucketHash(Type::Primitive(TypeId::kTime), int64_t{81068000000}).value(), -662762989);
  EXPECT_EQ(BucketHash(kTimestamptz, int64_t{1510871468000000}).value(), -2047944441);
  EXPECT_EQ(BucketHash(kTimestamptz, int64_t{1510871468000001}).value(), -1207196810);
  EXPECT_EQ(BucketHash(kStringType, std::string("iceberg")).value(), 1210000089);
  EXPECT_EQ(BucketHash(Type::Primitive(TypeId::kBinary), Bytes({0, 1, 2, 3})).value(), -188683207);
  EXPECT_EQ(BucketHash(Type::Primitive(TypeId::kUuid), Bytes({0xf7, 0x9c, 0x3e, 0x09, 0x67, 0x7c, 0x4b, 0xbd, 0xa4,
                                                              0x79, 0x3f, 0x34, 0x9c, 0xb7, 0x85, 0xe7}))
                .value(),
            1488055340);
}

Literal Apply(std::string_view transform, const Type& type, const Literal& value) {
  return ApplyTransform(Transform::Parse(transform).value(), type, value).value();
}

TEST(TransformTest, Times) {
  const int64_t noon = int64_t{17486} * kMicrosPerDay + 12 * kMicrosPerHour;
  EXPECT_EQ(Apply("day", kTimestamptz, noon), Literal(17486));
  EXPECT_EQ(Apply("hour", kTimestamptz, noon), Literal(17486 * 24 + 12));
  EXPECT_EQ(Apply("month", kDateType, 17486), Literal(47 * 12 + 10));
  EXPECT_EQ(Apply("year", kDateType, 17486), Literal(47));
  // Before 1970 the result is the floor.
  EXPECT_EQ(Apply("day", kTimestamptz, int64_t{-1}), Literal(-1));
  EXPECT_EQ(Apply("hour", kTimestamptz, int64_t{-1}), Literal(-1));
  EXPECT_EQ(Apply("month", kDateType, -1), Literal(-1));
  EXPECT_EQ(Apply("year", kDateType, -1), Literal(-1));
  EXPECT_TRUE(IsNull(Apply("day", kTimestamptz, Literal())));
  EXPECT_FALSE(ApplyTransform(Transform::Parse("hour").value(), kDateType, 1));
}

TEST(TransformTest, TruncateAndVoid) {
  EXPECT_EQ(Apply("truncate[10]", kIntType, 1), Literal(0));
  EXPECT_EQ(Apply("truncate[10]", kIntType, -1), Literal(-10));
  EXPECT_EQ(Apply("truncate[10]", kLongType, int64_t{-11}), Literal(int64_t{-20}));
  EXPECT_EQ(Apply("truncate[50]", Type::Decimal(9, 2), Int128{1065}), Literal(Int128{1050}));
  EXPECT_EQ(Apply("truncate[3]", kStringType, std::string("iceberg")), Literal(std::string("ice")));
  EXPECT_EQ(Apply("truncate[2]", kStringType, std::string("ä€b")), Literal(std::string("ä€")));
  EXPECT_EQ(Apply("truncate[2]", kStringType, std::string("ä€")), Literal(std::string("ä€")));
  EXPECT_TRUE(IsNull(Apply("void", kIntType, 1)));
  EXPECT_EQ(Apply("bucket[16]", kLongType, int64_t{34}), Literal(2017239379 % 16));
}

TEST(TransformTest, UnknownOnesAreRefused) {
  for (const char* text : {"", "zorder", "bucket", "bucket[]", "bucket[0]", "bucket[-1]", "bucket[1x]", "truncate[1"}) {
    EXPECT_EQ(Transform::Parse(text).error().kind, ErrorKind::kUnsupported) << text;
  }
}

TEST(TransformTest, Paths) {
  Schema schema;
  schema.fields = {{.id = 1, .name = "d", .type = kDateType},
                   {.id = 2, .name = "h", .type = kIntType},
                   {.id = 3, .name = "s", .type = kStringType},
                   {.id = 4, .name = "t", .type = kTimestamptz}};
  const PartitionSpec spec{.spec_id = 1,
                           .fields = {{1, 1000, "exchange_date", "identity"},
                                      {2, 1001, "exchange_hour", "identity"},
                                      {3, 1002, "na me", "identity"},
                                      {4, 1003, "t_hour", "hour"},
                                      {4, 1004, "t_month", "month"}}};
  const auto path = PartitionPath(
      spec, schema, {Literal(19943), Literal(23), Literal(std::string("a/b ä")), Literal(-1), Literal(-1)});
  EXPECT_EQ(path.value(),
            "exchange_date=2024-08-08/exchange_hour=23/na+me=a%2Fb+%C3%A4/t_hour=1969-12-31-23/t_month=1969-12");
  EXPECT_EQ(PartitionPath({}, schema, {}).value(), "");
  EXPECT_FALSE(PartitionPath(spec, schema, {Literal(1)}));
}

}  // namespace
}  // namespace k2::iceberg
