#include "iceberg/pruning.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/time.h"
#include "iceberg/literal.h"
#include "iceberg/metrics.h"

namespace k2::iceberg {
namespace {

TableMetadata Table(std::vector<NestedField> fields, std::vector<PartitionField> partition) {
  TableMetadata metadata;
  metadata.schemas = {Schema{.schema_id = 0, .fields = std::move(fields)}};
  metadata.partition_specs = {PartitionSpec{.spec_id = 0, .fields = std::move(partition)}};
  return metadata;
}

const Type kInstant = Type::Primitive(TypeId::kTimestamptz);

TEST(PruningTest, PartitionValuesThroughTransforms) {
  const TableMetadata metadata = Table({{.id = 1, .name = "t", .type = kInstant}}, {{1, 1000, "t_day", "day"}});
  const auto may = [&](CompareOp op, int64_t micros, int32_t day) {
    return Pruner(metadata, {{1, op, {Literal(micros)}}}).FileMayMatch({.partition = {Literal(day)}});
  };
  const int64_t noon = 100 * kMicrosPerDay + kMicrosPerDay / 2;
  EXPECT_TRUE(may(CompareOp::kGe, noon, 100));
  EXPECT_FALSE(may(CompareOp::kGe, noon, 99));
  EXPECT_TRUE(may(CompareOp::kLt, noon, 100));
  EXPECT_FALSE(may(CompareOp::kLt, noon, 101));
  EXPECT_FALSE(may(CompareOp::kEq, noon, 99));
  EXPECT_TRUE(may(CompareOp::kEq, noon, 100));
  // A time before 1970 may stand one day too late in what old writers wrote.
  EXPECT_TRUE(may(CompareOp::kEq, -1, 0));
  EXPECT_TRUE(may(CompareOp::kLe, -kMicrosPerDay - 1, -1));
  EXPECT_FALSE(may(CompareOp::kEq, -1, 1));
}

TEST(PruningTest, OpenRangesAtTheEndsOfTime) {
  for (const char* transform : {"year", "month", "day", "hour"}) {
    const TableMetadata metadata = Table({{.id = 1, .name = "t", .type = kInstant}}, {{1, 1000, "p", transform}});
    const Pruner pruner(metadata,
                        {{1, CompareOp::kLe, {Literal(INT64_MAX)}}, {1, CompareOp::kGe, {Literal(INT64_MIN)}}});
    EXPECT_TRUE(pruner.FileMayMatch({.partition = {Literal(50)}})) << transform;
  }
  const Type type = Type::Primitive(TypeId::kInt);
  const TableMetadata metadata =
      Table({{.id = 1, .name = "n", .type = type}}, {{1, 1000, "p", "truncate[2000000000]"}});
  for (const int32_t value : {INT32_MIN, -1, 0, INT32_MAX}) {
    const Pruner pruner(metadata, {{1, CompareOp::kGe, {Literal(INT32_MIN)}}, {1, CompareOp::kLe, {Literal(value)}}});
    const Literal partition = ApplyTransform(Transform::Parse("truncate[2000000000]").value(), type, value).value();
    EXPECT_TRUE(pruner.FileMayMatch({.partition = {partition}})) << value;
  }
}

TEST(PruningTest, NullsAndMissingMetrics) {
  const TableMetadata metadata = Table({{.id = 1, .name = "n", .type = Type::Primitive(TypeId::kLong)}}, {});
  const auto may = [&](const ColumnPredicate& predicate, const DataFile& file) {
    return Pruner(metadata, {predicate}).FileMayMatch(file);
  };
  const ColumnPredicate equal{1, CompareOp::kEq, {Literal(int64_t{5})}};
  EXPECT_TRUE(may(equal, {}));
  EXPECT_FALSE(may(equal, {.value_counts = {{1, 3}}, .null_value_counts = {{1, 3}}}));
  EXPECT_FALSE(may({1, CompareOp::kIsNull, {}}, {.null_value_counts = {{1, 0}}}));
  EXPECT_TRUE(may({1, CompareOp::kIsNull, {}}, {}));
  EXPECT_FALSE(may({1, CompareOp::kIsNotNull, {}}, {.value_counts = {{1, 3}}, .null_value_counts = {{1, 3}}}));
  // A bound as it was written while the column was an int.
  const DataFile promoted{.lower_bounds = {{1, std::string("\6\0\0\0", 4)}}};
  EXPECT_FALSE(may(equal, promoted));
  EXPECT_TRUE(may({1, CompareOp::kGt, {Literal(int64_t{5})}}, promoted));
  // Broken bounds, values of another type and unknown columns prune nothing.
  EXPECT_TRUE(may(equal, {.lower_bounds = {{1, "abc"}}}));
  EXPECT_TRUE(may({1, CompareOp::kEq, {Literal(std::string("x"))}}, promoted));
  EXPECT_TRUE(may({77, CompareOp::kEq, {Literal(int64_t{5})}}, promoted));
}

TEST(PruningTest, NanBoundsSayNothing) {
  const Type type = Type::Primitive(TypeId::kDouble);
  const TableMetadata metadata = Table({{.id = 1, .name = "d", .type = type}}, {});
  DataFile file{.nan_value_counts = {{1, 0}}};
  file.lower_bounds[1] = ToBytes(std::nan(""), type).value();
  file.upper_bounds[1] = ToBytes(2.0, type).value();
  EXPECT_TRUE(Pruner(metadata, {{1, CompareOp::kLt, {Literal(1.0)}}}).FileMayMatch(file));
  EXPECT_FALSE(Pruner(metadata, {{1, CompareOp::kGt, {Literal(2.0)}}}).FileMayMatch(file));
  file.nan_value_counts[1] = 1;  // NaN is above all numbers for some engines
  EXPECT_TRUE(Pruner(metadata, {{1, CompareOp::kGt, {Literal(2.0)}}}).FileMayMatch(file));
  EXPECT_TRUE(Pruner(metadata, {{1, CompareOp::kEq, {Literal(std::nan(""))}}}).FileMayMatch(file));
}

TEST(PruningTest, ManifestSummaries) {
  const Type type = Type::Primitive(TypeId::kDate);
  const TableMetadata metadata = Table({{.id = 1, .name = "d", .type = type}}, {{1, 1000, "d", "identity"}});
  ManifestFile manifest;
  manifest.partitions = {{.lower_bound = ToBytes(10, type).value(), .upper_bound = ToBytes(20, type).value()}};
  const auto may = [&](CompareOp op, std::vector<Literal> values) {
    return Pruner(metadata, {{1, op, std::move(values)}}).ManifestMayMatch(manifest);
  };
  EXPECT_TRUE(may(CompareOp::kEq, {Literal(20)}));
  EXPECT_FALSE(may(CompareOp::kEq, {Literal(21)}));
  EXPECT_FALSE(may(CompareOp::kIn, {Literal(9), Literal(21)}));
  EXPECT_TRUE(may(CompareOp::kIn, {Literal(9), Literal(15)}));
  EXPECT_FALSE(may(CompareOp::kLt, {Literal(10)}));
  EXPECT_FALSE(may(CompareOp::kIsNull, {}));
  manifest.partition_spec_id = 9;
  EXPECT_TRUE(may(CompareOp::kEq, {Literal(21)}));
}

// The rule that matters: what holds a matching row is never pruned, and what is said to match wholly does.
TEST(PruningTest, RandomFilesAgainstTheirRows) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const Type string = Type::Primitive(TypeId::kString);
  const Type integer = Type::Primitive(TypeId::kInt);
  const char* kTransforms[] = {"identity", "bucket[3]", "truncate[1]", "void"};
  const char* kTimes[] = {"identity", "year", "month", "day", "hour", "bucket[5]"};
  int pruned = 0;
  int proved = 0;
  for (int round = 0; round < 20'000; ++round) {
    const bool text = random() % 2 == 0;
    const bool numbers = !text && random() % 2 == 0;
    const Type& type = text ? string : (numbers ? integer : kInstant);
    const auto draw = [&]() -> Literal {
      if (text) {
        std::string value;
        for (auto size = random() % 4; size > 0; --size)
          value += std::array{"a", "b", "\xf4\x8f\xbf\xbf", "ä"}[random() % 4];
        return value;
      }
      if (numbers) return static_cast<int32_t>(random() % 9) - 4;
      return (static_cast<int64_t>(random() % 2001) - 1000) * kMicrosPerHour / 2;
    };
    const std::string_view name = type == kInstant ? kTimes[random() % 6] : kTransforms[random() % 4];
    const Transform transform = Transform::Parse(name).value();
    const TableMetadata metadata = Table({{.id = 1, .name = "c", .type = type}}, {{1, 1000, "p", std::string(name)}});
    // A file: some rows of one partition.
    const Literal first = random() % 8 == 0 ? Literal() : draw();
    DataFile file{.partition = {ApplyTransform(transform, type, first).value()}};
    std::vector<Literal> rows = {first};
    ColumnMetrics metrics{.value_count = 0, .null_count = 0};
    for (int i = 0; i < 20; ++i) {
      if (Literal row = draw(); ApplyTransform(transform, type, row).value() == file.partition[0]) rows.push_back(row);
    }
    for (const Literal& row : rows) {
      ++*metrics.value_count;
      if (IsNull(row)) ++*metrics.null_count;
      if (IsNull(row)) continue;
      if (IsNull(metrics.lower) || CompareLiterals(row, metrics.lower) < 0) metrics.lower = row;
      if (IsNull(metrics.upper) || CompareLiterals(row, metrics.upper) > 0) metrics.upper = row;
    }
    ASSERT_TRUE(AddColumnMetrics(1, type, MetricsMode{.length = 1}, metrics, file));
    ColumnPredicate predicate{1, static_cast<CompareOp>(random() % 8), {}};
    if (predicate.op != CompareOp::kIsNull && predicate.op != CompareOp::kIsNotNull) predicate.values = {draw()};
    if (predicate.op == CompareOp::kIn) predicate.values.push_back(draw());
    const Pruner pruner(metadata, {predicate});
    const auto matching = std::ranges::count_if(rows, [&](const Literal& row) { return Matches(predicate, row); });
    if (!pruner.FileMayMatch(file)) {
      ++pruned;
      ASSERT_EQ(matching, 0) << name << " op " << static_cast<int>(predicate.op);
    }
    if (pruner.AllRowsMatch(file)) {
      ++proved;
      ASSERT_EQ(matching, static_cast<int64_t>(rows.size())) << name << " op " << static_cast<int>(predicate.op);
    }
  }
  EXPECT_GT(pruned, 2000);
  EXPECT_GT(proved, 1000);
}

TEST(MetricsTest, BoundsAreCutAtCharactersAndRoundedUp) {
  const std::string last = "\xf4\x8f\xbf\xbf";  // U+10FFFF
  EXPECT_EQ(TruncateString("ä€b", 2), "ä€");
  EXPECT_EQ(RoundUpString("ä€b", 2), "ä\xe2\x82\xad");
  EXPECT_EQ(RoundUpString("ab", 2), "ab");
  EXPECT_EQ(RoundUpString("a" + last + "x", 2), "b");
  EXPECT_EQ(RoundUpString(last + last, 1), std::nullopt);
  EXPECT_EQ(RoundUpString("\xed\x9f\xbf"
                          "x",
                          1),
            "\xee\x80\x80");  // over the surrogates
  EXPECT_EQ(RoundUpString("\xff"
                          "ab",
                          2),
            std::nullopt);  // not UTF-8
  EXPECT_EQ(TruncateString("\xc3", 2), std::nullopt);
  EXPECT_EQ(RoundUpBytes("a\xff"
                         "b",
                         2),
            "b");
  EXPECT_EQ(RoundUpBytes("\xff\xff\xff", 2), std::nullopt);
}

TEST(MetricsTest, Modes) {
  EXPECT_EQ(ParseMetricsMode("Truncate(7)").value(), (MetricsMode{MetricsMode::Kind::kTruncate, 7}));
  EXPECT_FALSE(ParseMetricsMode("truncate(0)"));
  EXPECT_FALSE(ParseMetricsMode("truncate(7"));
  const std::map<std::string, std::string> properties = {{"write.metadata.metrics.default", "counts"},
                                                         {"write.metadata.metrics.column.a.b", "full"}};
  EXPECT_EQ(MetricsModeFor(properties, "a.b").kind, MetricsMode::Kind::kFull);
  EXPECT_EQ(MetricsModeFor(properties, "c").kind, MetricsMode::Kind::kCounts);
  EXPECT_EQ(MetricsModeFor({}, "c"), MetricsMode{});
  DataFile file;
  const Type type = Type::Primitive(TypeId::kDouble);
  ASSERT_TRUE(
      AddColumnMetrics(3, type, {}, {.value_count = 2, .nan_count = 1, .lower = std::nan(""), .upper = 0.0}, file));
  EXPECT_EQ(file.value_counts.at(3), 2);
  EXPECT_FALSE(file.lower_bounds.contains(3));
  EXPECT_EQ(file.upper_bounds.at(3), std::string(8, '\0'));
  EXPECT_FALSE(AddColumnMetrics(3, type, {}, {.lower = int32_t{1}}, file));
}

}  // namespace
}  // namespace k2::iceberg
