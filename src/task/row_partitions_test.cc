// Rows are put into partitions as PyIceberg's transforms would put them.
#include "task/row_partitions.h"

#include <arrow/builder.h>
#include <arrow/compute/api_vector.h>
#include <arrow/datum.h>
#include <arrow/scalar.h>
#include <arrow/type.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "base/seed_for_tests.h"
#include "base/time.h"
#include "base/uuid.h"
#include "iceberg/literal.h"
#include "table/arrow_adapt.h"
#include "table/arrow_schema.h"
#include "task/market_tables.h"
#include "task/partitioned_write.h"

namespace k2::task {
namespace {

namespace fs = std::filesystem;
using iceberg::Int128;
using iceberg::Literal;
using iceberg::PartitionSpec;
using iceberg::Schema;
using iceberg::Type;
using iceberg::TypeId;
using Json = nlohmann::json;

constexpr int64_t kRows = 500;

// Random columns of one type each, and the values that went in.
class DrawnColumns {
 public:
  explicit DrawnColumns(uint64_t seed) : random_(seed) {
    Add("row", Type::Primitive(TypeId::kLong), [this] { return Literal(row_++); });
    Add("int", Type::Primitive(TypeId::kInt), [this] { return Literal(static_cast<int32_t>(Number(INT32_MAX))); });
    Add("long", Type::Primitive(TypeId::kLong), [this] { return Literal(Number(INT64_MAX)); });
    Add("decimal", Type::Decimal(18, 8), [this] { return Literal(Int128{Number(999'999'999'999'999'999)}); });
    Add("wide", Type::Decimal(38, 2), [this] { return Literal(Int128{Number(INT64_MAX)} * Number(1'000'000'000)); });
    Add("date", Type::Primitive(TypeId::kDate), [this] { return Literal(static_cast<int32_t>(Number(60'000))); });
    Add("timestamptz", Type::Primitive(TypeId::kTimestamptz), [this] { return Literal(Time()); });
    Add("timestamp", Type::Primitive(TypeId::kTimestamp), [this] { return Literal(Time()); });
    Add("time", Type::Primitive(TypeId::kTime), [this] { return Literal(std::abs(Number(kMicrosPerDay - 1))); });
    Add("string", Type::Primitive(TypeId::kString), [this] { return Literal(Text()); });
    Add("symbol", Type::Primitive(TypeId::kString), [this] { return Literal(fmt::format("币{}BTC", Below(9))); });
    Add("binary", Type::Primitive(TypeId::kBinary), [this] { return Literal(Bytes(Below(12))); });
    Add("uuid", Type::Primitive(TypeId::kUuid), [this] { return Literal(Bytes(16)); });
    Add("flag", Type::Primitive(TypeId::kBoolean), [this] { return Literal(Below(2) == 0); });
  }

  [[nodiscard]] std::shared_ptr<arrow::RecordBatch> Batch() const {
    arrow::FieldVector fields;
    for (size_t i = 0; i < arrays_.size(); ++i) {
      fields.push_back(arrow::field(schema.fields[i].name, arrays_[i]->type()));
    }
    return arrow::RecordBatch::Make(arrow::schema(fields), kRows, arrays_);
  }

  Schema schema;
  std::vector<std::vector<Literal>> values;  // by column

 private:
  uint64_t Below(uint64_t limit) { return random_() % limit; }
  // Of any size up to the limit, small ones as often as large ones; of both signs.
  int64_t Number(int64_t limit) {
    const auto magnitude = static_cast<int64_t>(random_() >> (1 + Below(63))) % limit;
    return Below(2) == 0 ? magnitude : -magnitude;
  }
  int64_t Time() { return Number(4'000'000'000'000'000); }  // to 2096, and before 1970
  std::string Bytes(size_t size) {
    std::string bytes(size, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random_());
    return bytes;
  }
  std::string Text() {
    static const std::vector<std::string> points = {"a", "Z", "9", "/", " ", "ü", "币", "安", "\U0001F680", "-", "."};
    std::string text;
    for (uint64_t n = Below(9); n > 0; --n) text += points[Below(points.size())];
    return text;
  }

  void Add(const std::string& name, const Type& type, const std::function<Literal()>& draw) {
    const auto id = static_cast<int32_t>(100 - schema.fields.size());  // not the order of the columns
    schema.fields.push_back({.id = id, .name = name, .type = type});
    std::vector<Literal>& column = values.emplace_back();
    const auto builder = arrow::MakeBuilder(table::ToArrowType(type)).ValueOrDie();
    for (int64_t i = 0; i < kRows; ++i) {
      column.push_back(name != "row" && Below(8) == 0
                           ? Literal()
                           : (Below(3) == 0 && i > 0 && name != "row" ? column.back()  // neighbours are often equal
                                                                      : draw()));
      Append(column.back(), type, *builder);
    }
    std::shared_ptr<arrow::Array> array = builder->Finish().ValueOrDie();
    if (name == "symbol") {
      EXPECT_TRUE(table::EnsureArrowKernels());
      array = arrow::compute::DictionaryEncode(arrow::Datum(array)).ValueOrDie().make_array();
    }
    arrays_.push_back(std::move(array));
  }

  static void Append(const Literal& value, const Type& type, arrow::ArrayBuilder& builder) {
    if (iceberg::IsNull(value)) {
      EXPECT_TRUE(builder.AppendNull().ok());
      return;
    }
    if (type.id == TypeId::kDecimal) {
      const auto number = std::get<Int128>(value);
      const arrow::Decimal128 decimal(static_cast<int64_t>(number >> 64), static_cast<uint64_t>(number));
      EXPECT_TRUE(static_cast<arrow::Decimal128Builder&>(builder).Append(decimal).ok());
      return;
    }
    if (const auto* flag = std::get_if<bool>(&value)) {
      EXPECT_TRUE(static_cast<arrow::BooleanBuilder&>(builder).Append(*flag).ok());
    } else if (const auto* small = std::get_if<int32_t>(&value)) {
      EXPECT_TRUE(builder.AppendScalar(*arrow::MakeScalar(builder.type(), *small).ValueOrDie()).ok());
    } else if (const auto* large = std::get_if<int64_t>(&value)) {
      EXPECT_TRUE(builder.AppendScalar(*arrow::MakeScalar(builder.type(), *large).ValueOrDie()).ok());
    } else if (type.id == TypeId::kUuid) {
      EXPECT_TRUE(static_cast<arrow::FixedSizeBinaryBuilder&>(builder).Append(std::get<std::string>(value)).ok());
    } else {
      EXPECT_TRUE(static_cast<arrow::BinaryBuilder&>(builder).Append(std::get<std::string>(value)).ok());
    }
  }

  std::mt19937_64 random_;
  int64_t row_ = 0;
  std::vector<std::shared_ptr<arrow::Array>> arrays_;
};

std::string Hex(const std::string& bytes) {
  std::string text;
  for (const char byte : bytes) text += fmt::format("{:02x}", static_cast<uint8_t>(byte));
  return text;
}

Json Told(const Literal& value) {
  if (iceberg::IsNull(value)) return nullptr;
  if (const auto* flag = std::get_if<bool>(&value)) return *flag;
  if (const auto* number = std::get_if<int32_t>(&value)) return *number;
  if (const auto* number = std::get_if<int64_t>(&value)) return *number;
  if (const auto* number = std::get_if<Int128>(&value)) return {{"unscaled", iceberg::DecimalToString(*number, 0)}};
  return {{"hex", Hex(std::get<std::string>(value))}};
}

// The rows of each part by their number, with the partition that they were put in.
std::map<int64_t, std::vector<Literal>> PartitionOfRows(const std::vector<RowPartitions::Part>& parts) {
  std::map<int64_t, std::vector<Literal>> found;
  for (const RowPartitions::Part& part : parts) {
    int64_t last = -1;
    for (const auto& batch : part.rows) {
      const auto& rows = static_cast<const arrow::Int64Array&>(*batch->column(0));
      for (int64_t i = 0; i < rows.length(); ++i) {
        EXPECT_GT(rows.Value(i), last) << "rows of a part stay in order";
        last = rows.Value(i);
        EXPECT_TRUE(found.emplace(last, part.partition).second) << "row " << last << " is in two parts";
      }
    }
  }
  return found;
}

PartitionSpec SpecOf(const Schema& schema, const std::vector<std::pair<std::string, std::string>>& fields) {
  PartitionSpec spec{.spec_id = 1};
  for (const auto& [transform, column] : fields) {
    spec.fields.push_back({.source_id = schema.Find(column)->id, .name = column, .transform = transform});
  }
  return spec;
}

TEST(RowPartitions, AreWherePyIcebergPutsTheRows) {
  const uint64_t seed = SeedForTests();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  const DrawnColumns columns(seed);
  const std::map<std::string, std::vector<std::string>> transforms = {
      {"int", {"identity", "bucket[16]", "truncate[10]", "truncate[7]", "void"}},
      {"long", {"identity", "bucket[7]", "truncate[1000]"}},
      {"decimal", {"identity", "bucket[16]", "truncate[50]"}},
      {"wide", {"identity", "bucket[16]", "truncate[50]"}},
      {"date", {"identity", "bucket[16]", "year", "month", "day"}},
      {"timestamptz", {"identity", "bucket[16]", "year", "month", "day", "hour"}},
      {"timestamp", {"bucket[5]", "year", "month", "day", "hour"}},
      {"time", {"identity", "bucket[16]"}},
      {"string", {"identity", "bucket[16]", "truncate[1]", "truncate[3]", "void"}},
      {"symbol", {"identity", "bucket[16]", "truncate[2]"}},
      {"binary", {"identity", "bucket[16]", "truncate[2]"}},
      {"uuid", {"identity", "bucket[16]"}},
      {"flag", {"identity"}}};
  Json cases = Json::array();
  for (size_t c = 1; c < columns.schema.fields.size(); ++c) {
    const iceberg::NestedField& field = columns.schema.fields[c];
    for (const std::string& transform : transforms.at(field.name)) {
      const auto partitions =
          RowPartitions::Create(SpecOf(columns.schema, {{transform, field.name}}), columns.schema, 0);
      ASSERT_TRUE(partitions) << partitions.error().message;
      // Cut anywhere: what is told of a row does not hang on its batch.
      const auto batch = columns.Batch();
      const auto parts = partitions->Split({batch->Slice(0, 123), batch->Slice(123, 0), batch->Slice(123)});
      ASSERT_TRUE(parts) << parts.error().message;
      const auto found = PartitionOfRows(*parts);
      ASSERT_EQ(found.size(), static_cast<size_t>(kRows));
      Json values = Json::array();
      for (const auto& [row, partition] : found) {
        values.push_back({Told(columns.values[c][static_cast<size_t>(row)]), Told(partition.at(0))});
      }
      cases.push_back({{"type", field.type.ToString()}, {"transform", transform}, {"values", std::move(values)}});
    }
  }
  const fs::path folder = fs::temp_directory_path() / ("k2-partitions-" + RandomHex64());
  fs::create_directories(folder);
  std::ofstream(folder / "cases.json") << cases.dump();
  std::ofstream(folder / "check.py") << R"py(
import json, sys, uuid
from decimal import Decimal
from pyiceberg.transforms import parse_transform
from pyiceberg.types import *

TYPES = {"int": IntegerType(), "long": LongType(), "date": DateType(), "timestamptz": TimestamptzType(),
         "timestamp": TimestampType(), "time": TimeType(), "string": StringType(), "binary": BinaryType(),
         "uuid": UUIDType(), "boolean": BooleanType(), "decimal(18, 8)": DecimalType(18, 8),
         "decimal(38, 2)": DecimalType(38, 2)}

def read(value, kind):
    if isinstance(value, dict) and "unscaled" in value:
        return Decimal(value["unscaled"]).scaleb(-kind.scale, context=WIDE)
    if isinstance(value, dict):
        data = bytes.fromhex(value["hex"])
        if isinstance(kind, StringType):
            return data.decode()
        return uuid.UUID(bytes=data) if isinstance(kind, UUIDType) else data
    return value

import decimal
WIDE = decimal.Context(prec=60)
decimal.setcontext(WIDE)
checked = 0
for case in json.load(open(sys.argv[1])):
    kind = TYPES[case["type"]]
    transform = parse_transform(case["transform"])
    apply, result = transform.transform(kind), transform.result_type(kind)
    for source, ours in case["values"]:
        wanted = apply(read(source, kind)) if source is not None else None
        got = read(ours, result)
        assert wanted == got, (case["type"], case["transform"], source, wanted, got)
        checked += 1
print("checked", checked)
)py";
  const std::string command = fmt::format("{}/.venv/bin/python -W ignore {} {} 2>&1", K2_SOURCE_DIR,
                                          (folder / "check.py").string(), (folder / "cases.json").string());
  FILE* pipe = popen(command.c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string said;
  std::array<char, 4096> buffer{};
  for (size_t n = 0; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) said.append(buffer.data(), n);
  EXPECT_EQ(pclose(pipe), 0) << said;
  EXPECT_NE(said.find("checked 2"), std::string::npos) << said;  // some 20,000 values
  fs::remove_all(folder);
}

// Several fields, the day beside them, and nothing at all.
TEST(RowPartitions, OfSeveralFieldsAndDays) {
  const uint64_t seed = SeedForTests();
  SCOPED_TRACE(fmt::format("K2_SEED={}", seed));
  const DrawnColumns columns(seed);
  const auto batch = columns.Batch();
  const auto split = [&](const std::vector<std::pair<std::string, std::string>>& fields, int32_t day) {
    const auto partitions = RowPartitions::Create(SpecOf(columns.schema, fields), columns.schema, day);
    EXPECT_TRUE(partitions) << partitions.error().message;
    return partitions->Split({batch, batch->Slice(0, 0)}).value();
  };
  const auto whole = split({}, 0);
  ASSERT_EQ(whole.size(), 1U);
  EXPECT_TRUE(whole[0].partition.empty());
  EXPECT_EQ(whole[0].rows.at(0).get(), batch.get()) << "not copied";

  const auto parts =
      split({{"bucket[4]", "symbol"}, {"void", "int"}, {"year", "timestamptz"}}, columns.schema.Find("date")->id);
  std::map<int64_t, std::vector<Literal>> rows = PartitionOfRows(parts);
  ASSERT_EQ(rows.size(), static_cast<size_t>(kRows));
  const auto value = [&](std::string_view column, int64_t row) -> const Literal& {
    const auto at = columns.schema.Find(column) - columns.schema.fields.data();
    return columns.values[static_cast<size_t>(at)][static_cast<size_t>(row)];
  };
  for (const auto& [row, partition] : rows) {
    ASSERT_EQ(partition.size(), 3U) << "the day is no value of the spec";
    EXPECT_EQ(partition[0], ApplyTransform({iceberg::Transform::Kind::kBucket, 4}, Type::Primitive(TypeId::kString),
                                           value("symbol", row))
                                .value());
    EXPECT_TRUE(iceberg::IsNull(partition[1]));
    EXPECT_EQ(partition[2], ApplyTransform({iceberg::Transform::Kind::kYear}, Type::Primitive(TypeId::kTimestamptz),
                                           value("timestamptz", row))
                                .value());
  }
  for (const RowPartitions::Part& part : parts) {
    for (const auto& one : part.rows) {
      const auto& numbers = static_cast<const arrow::Int64Array&>(*one->column(0));
      for (int64_t i = 0; i < numbers.length(); ++i) {
        EXPECT_EQ(value("date", numbers.Value(i)), value("date", numbers.Value(0))) << "two days in one part";
      }
    }
  }
}

// A member of a struct of another engine's, which compaction carries along.
TEST(RowPartitions, ByAMemberOfAStruct) {
  Schema schema{.fields = {{.id = 1, .name = "n", .type = Type::Primitive(TypeId::kLong)},
                           {.id = 2,
                            .name = "s",
                            .type = {.id = TypeId::kStruct,
                                     .fields = {{.id = 3, .name = "a", .type = Type::Primitive(TypeId::kInt)},
                                                {.id = 4, .name = "b", .type = Type::Primitive(TypeId::kInt)}}}}}};
  const auto numbers = [](std::vector<int32_t> values) { return Int32Array(std::move(values), arrow::int32()); };
  arrow::TypedBufferBuilder<bool> valid;
  for (const bool there : {true, false, true}) ASSERT_TRUE(valid.Append(there).ok());
  const auto members = arrow::StructArray::Make({numbers({1, 1, 1}), numbers({5, 6, 5})},
                                                {arrow::field("a", arrow::int32()), arrow::field("b", arrow::int32())},
                                                valid.Finish().ValueOrDie(), 1)
                           .ValueOrDie();
  const auto batch =
      arrow::RecordBatch::Make(arrow::schema({arrow::field("n", arrow::int64()), arrow::field("s", members->type())}),
                               3, {Int64Array({0, 1, 2}, arrow::int64()), members});
  PartitionSpec spec{.fields = {{.source_id = 4, .name = "b", .transform = "identity"}}};
  const auto rows = PartitionOfRows(RowPartitions::Create(spec, schema, 0)->Split({batch}).value());
  EXPECT_EQ(rows.at(0).at(0), Literal(5));
  EXPECT_TRUE(iceberg::IsNull(rows.at(1).at(0))) << "there is no struct";
  EXPECT_EQ(rows.at(2).at(0), Literal(5));
}

TEST(RowPartitions, RefusesWhatItDoesNotKnow) {
  const Schema schema = TableDefinition(kGoldTable)->schema;
  for (const auto& [transform, column] :
       std::vector<std::pair<std::string, std::string>>{{"zorder", "symbol"},
                                                        {"bucket[0]", "symbol"},
                                                        {"hour", "exchange_date"},
                                                        {"bucket[4]", "trade_conditions"}}) {
    const auto made = RowPartitions::Create(SpecOf(schema, {{transform, column}}), schema, 0);
    ASSERT_FALSE(made) << transform;
    EXPECT_EQ(made.error().kind, ErrorKind::kUnsupported) << made.error().message;
    EXPECT_NE(made.error().message.find(transform), std::string::npos) << made.error().message;
  }
  PartitionSpec elsewhere{.fields = {{.source_id = 999, .name = "gone", .transform = "identity"}}};
  EXPECT_FALSE(RowPartitions::Create(elsewhere, schema, 0));
  elsewhere.fields[0].transform = "void";  // of a column that was dropped
  EXPECT_TRUE(RowPartitions::Create(elsewhere, schema, 0));
}

// Folders are for people: what is in a value harms no path.
TEST(DataFileLocation, OfAnyValues) {
  const Schema schema = TableDefinition(kGoldTable)->schema;
  OutputTable table{.name = "t", .location = "file:///w/t", .shape = ShapeByNames(schema), .spec = {}};
  EXPECT_EQ(*DataFileLocation(table, {}, "id", 7), "file:///w/t/data/id-00007.parquet");
  table.spec = SpecOf(schema, {{"identity", "exchange_date"}, {"identity", "symbol"}});
  EXPECT_EQ(*DataFileLocation(table, {Literal(19'943), Literal("../BTC/USD?#")}, "id", 0),
            "file:///w/t/data/exchange_date=2024-08-08/symbol=..%2FBTC%2FUSD%3F%23/id-00000.parquet");
  EXPECT_EQ(*DataFileLocation(table, {Literal(0), Literal()}, "id", 0),
            "file:///w/t/data/exchange_date=1970-01-01/symbol=null/id-00000.parquet");
  for (size_t length = 100; length < 130; ++length) {
    const std::string longest = std::string(length, 'x') + "币币币币币币币币币币币币";
    const std::string path = *DataFileLocation(table, {Literal(0), Literal(longest)}, "id", 0);
    EXPECT_LT(path.size(), 200U);
    const size_t escape = path.rfind('%');
    EXPECT_TRUE(escape == std::string::npos || path.find('/', escape) >= escape + 3) << path;
  }
  EXPECT_FALSE(DataFileLocation(table, {}, "id", 0));
}

}  // namespace
}  // namespace k2::task
