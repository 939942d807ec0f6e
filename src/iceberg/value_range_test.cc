#include "iceberg/value_range.h"

#include <gtest/gtest.h>

#include <random>

#include "base/seed_for_tests.h"
#include "base/time.h"
#include "iceberg/literal.h"
#include "iceberg/transform.h"

namespace k2::iceberg {
namespace {

constexpr int32_t kColumn = 7;

TableMetadata TableBy(const Type& type, const std::vector<std::string>& transforms) {
  TableMetadata metadata;
  metadata.schemas = {{.schema_id = 0, .fields = {{.id = kColumn, .name = "c", .type = type}}}};
  metadata.current_schema_id = 0;
  PartitionSpec spec{.spec_id = 3};
  for (const std::string& transform : transforms) {
    spec.fields.push_back({.source_id = kColumn, .field_id = 1000, .name = "p" + transform, .transform = transform});
  }
  metadata.partition_specs = {spec};
  return metadata;
}

const NestedField& ColumnOf(const TableMetadata& metadata) { return metadata.CurrentSchema().fields.front(); }

// Whatever a transform made of a value, the value is in the range that the result tells.
TEST(ValueRange, HoldsEachValueOfThePartition) {
  const uint64_t seed = SeedForTests();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  std::mt19937_64 random(seed);
  const auto between = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  const Type date = Type::Primitive(TypeId::kDate);
  const Type time = Type::Primitive(TypeId::kTimestamptz);
  const Type number = Type::Primitive(TypeId::kInt);
  const Type large = Type::Primitive(TypeId::kLong);
  const std::vector<std::pair<Type, std::vector<std::string>>> kinds = {
      {date, {"identity", "year", "month", "day"}},
      {time, {"identity", "year", "month", "day", "hour"}},
      {number, {"identity", "truncate[10]", "truncate[7]"}},
      {large, {"identity", "truncate[1000]"}}};
  for (const auto& [type, transforms] : kinds) {
    for (const std::string& transform : transforms) {
      const TableMetadata metadata = TableBy(type, {transform});
      for (int i = 0; i < 500; ++i) {
        Literal value;
        if (type.id == TypeId::kDate) value = static_cast<int32_t>(between(-200'000, 200'000));
        if (type.id == TypeId::kInt) value = static_cast<int32_t>(between(-1000, 1000));
        if (type.id == TypeId::kLong) value = between(-100'000, 100'000);
        if (type.id == TypeId::kTimestamptz) value = between(-5'000'000'000'000'000, 5'000'000'000'000'000);
        const Literal result = ApplyTransform(*Transform::Parse(transform), type, value).value();
        const ValueRange range = PartitionRange(metadata, {.spec_id = 3, .partition = {result}}, ColumnOf(metadata));
        const int64_t number_of = value.index() == 2 ? std::get<int32_t>(value) : std::get<int64_t>(value);
        ASSERT_TRUE(range.HasFirst() && range.HasLast()) << transform;
        ASSERT_LE(range.first, number_of) << transform;
        ASSERT_GE(range.last, number_of) << transform;
        // The next value is of another partition, or the range is no wider than it must be.
        Literal beyond;
        if (value.index() == 2) beyond = static_cast<int32_t>(range.last + 1);
        if (value.index() == 3) beyond = range.last + 1;
        ASSERT_NE(ApplyTransform(*Transform::Parse(transform), type, beyond).value(), result) << transform;
      }
    }
  }
}

TEST(ValueRange, OfPartitionsAndBounds) {
  const Type date = Type::Primitive(TypeId::kDate);
  const auto bytes = [&](int32_t day) { return ToBytes(Literal(day), date).value(); };
  const TableMetadata by_month = TableBy(date, {"month"});
  const NestedField& column = ColumnOf(by_month);
  DataFile file{.spec_id = 3, .partition = {Literal(1)}};  // February 1970
  EXPECT_EQ(RangeOf(by_month, file, column), (ValueRange{31, 58}));
  file.upper_bounds[kColumn] = bytes(40);
  EXPECT_EQ(RangeOf(by_month, file, column), (ValueRange{31, 40}));
  file.lower_bounds[kColumn] = bytes(40);
  EXPECT_TRUE(RangeOf(by_month, file, column).IsOneValue());
  file.spec_id = 9;  // of no spec that the table has: the bounds are left
  EXPECT_EQ(RangeOf(by_month, file, column), (ValueRange{40, 40}));
  file.lower_bounds.clear();
  EXPECT_FALSE(RangeOf(by_month, file, column).HasFirst());

  for (const char* transform : {"bucket[16]", "void", "of_a_later_version"}) {
    const TableMetadata other = TableBy(date, {transform});
    EXPECT_EQ(RangeOf(other, {.spec_id = 3, .partition = {Literal(5)}}, ColumnOf(other)), ValueRange{}) << transform;
  }
  EXPECT_EQ(RangeOf(by_month, {.spec_id = 3, .partition = {Literal()}}, column), ValueRange{}) << "null tells nothing";
  const TableMetadata two = TableBy(Type::Primitive(TypeId::kTimestamptz), {"day", "hour"});
  EXPECT_EQ(RangeOf(two, {.spec_id = 3, .partition = {Literal(2), Literal(50)}}, ColumnOf(two)),
            (ValueRange{50 * kMicrosPerHour, 51 * kMicrosPerHour - 1}));
  const TableMetadata texts = TableBy(Type::Primitive(TypeId::kString), {"identity"});
  EXPECT_EQ(RangeOf(texts, {.spec_id = 3, .partition = {Literal("5")}}, ColumnOf(texts)), ValueRange{});
  // Ends of what can be written.
  const TableMetadata hours = TableBy(Type::Primitive(TypeId::kTimestamptz), {"year"});
  EXPECT_EQ(RangeOf(hours, {.spec_id = 3, .partition = {Literal(2'000'000)}}, ColumnOf(hours)).last,
            ValueRange::kHighest);
}

}  // namespace
}  // namespace k2::iceberg
