// Data files are judged by pyarrow, DuckDB and PyIceberg, and by reading them back.
#include <arrow/array.h>
#include <arrow/array/concatenate.h>
#include <arrow/builder.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/uuid.h"
#include "iceberg/schema_json.h"
#include "storage/testing/faulty_file_io.h"
#include "table/arrow_adapt.h"
#include "table/data_file_io.h"
#include "table/trade_batches_for_tests.h"

namespace k2::table {
namespace {

namespace fs = std::filesystem;
using iceberg::Type;
using iceberg::TypeId;
using nlohmann::json;
using Batches = std::vector<std::shared_ptr<arrow::RecordBatch>>;

class DataFileTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(root_); }
  void TearDown() override { fs::remove_all(root_); }

  [[nodiscard]] std::string At(const std::string& name) const { return "file://" + root_ + "/" + name; }

  Result<iceberg::DataFile> Write(const std::string& name, const iceberg::Schema& schema, const Batches& batches,
                                  const WriteOptions& options) {
    K2_ASSIGN(auto writer, DataFileWriter::Create(io_, At(name), schema, {}, {}, options));
    for (const auto& batch : batches) K2_TRY(writer->Write(*batch));
    return writer->Finish();
  }

  // All batches as one.
  std::shared_ptr<arrow::RecordBatch> Read(const std::string& name, const iceberg::Schema& schema,
                                           const ReadOptions& options = {}) {
    Batches batches;
    const Status status = ReadDataFile(*io_, At(name), schema, options, [&](auto batch) -> Status {
      EXPECT_TRUE(batch->ValidateFull().ok());
      batches.push_back(std::move(batch));
      return {};
    });
    EXPECT_TRUE(status) << status.error().message;
    if (batches.empty()) return nullptr;
    auto table = arrow::Table::FromRecordBatches(batches).ValueOrDie();
    return table->CombineChunksToBatch().ValueOrDie();
  }

  std::string Python(const std::string& script) {
    std::ofstream(root_ + "/script.py") << script;
    FILE* pipe = popen((std::string(K2_SOURCE_DIR) + "/.venv/bin/python " + root_ + "/script.py 2>&1").c_str(), "r");
    std::string printed;
    std::array<char, 4096> buffer{};
    while (const size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) printed.append(buffer.data(), got);
    EXPECT_EQ(pclose(pipe), 0) << printed;
    return printed;
  }

  std::string root_ = (fs::temp_directory_path() / ("k2-data-file-" + RandomHex64())).string();
  std::shared_ptr<storage::FileIo> io_ = storage::MakeFileIo();
};

WriteOptions SilverOptions() {
  return {.row_group_rows = 2'000,
          .plain_fields = {1, 2, 6, 12, 13, 14, 19},
          .bloom_fields = {1},
          .footer = {{"k2.test", "yes"}}};
}

std::string Hex(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

json AsJson(const iceberg::DataFile& file) {
  const auto counts = [](const std::map<int32_t, int64_t>& values) {
    json object = json::object();
    for (const auto& [id, value] : values) object[std::to_string(id)] = value;
    return object;
  };
  const auto bounds = [](const std::map<int32_t, std::string>& values) {
    json object = json::object();
    for (const auto& [id, value] : values) object[std::to_string(id)] = Hex(value);
    return object;
  };
  return {{"record_count", file.record_count},         {"column_sizes", counts(file.column_sizes)},
          {"value_counts", counts(file.value_counts)}, {"null_value_counts", counts(file.null_value_counts)},
          {"lower_bounds", bounds(file.lower_bounds)}, {"upper_bounds", bounds(file.upper_bounds)},
          {"split_offsets", file.split_offsets}};
}

// What PyIceberg would say of the same file.
constexpr const char* kPyIcebergMetrics = R"(
import json, sys, logging
logging.disable(logging.CRITICAL)
import pyarrow.parquet as pq
from pyiceberg.schema import Schema
from pyiceberg.io.pyarrow import (data_file_statistics_from_parquet_metadata, compute_statistics_plan,
                                  parquet_path_to_id_mapping)
schema = Schema.model_validate_json(open("ROOT/schema.json").read())
metadata = pq.read_metadata("ROOT/silver.parquet")
stats = data_file_statistics_from_parquet_metadata(metadata, compute_statistics_plan(schema, {}),
                                                   parquet_path_to_id_mapping(schema)).to_serialized_dict()
def plain(value):
    if isinstance(value, dict):
        return {str(k): v.hex() if isinstance(v, bytes) else v for k, v in value.items()}
    return value
print(json.dumps({k: plain(v) for k, v in stats.items()}))
)";

TEST_F(DataFileTest, MetricsAreThoseOfPyIceberg) {
  const iceberg::Schema schema = SilverSchemaForTests();
  const Batches batches = {
      SilverBatchForTests({.rows = 1'500, .dictionaries = true, .key_dictionaries = true}),
      SilverBatchForTests({.rows = 1'500, .first_row = 1'500, .dictionaries = true, .vendor_data = false}),
      SilverBatchForTests({.rows = 500, .first_row = 3'000})};
  const auto file = Write("silver.parquet", schema, batches, SilverOptions());
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->file_size_in_bytes, static_cast<int64_t>(fs::file_size(root_ + "/silver.parquet")));
  EXPECT_EQ(file->file_path, At("silver.parquet"));
  EXPECT_GT(file->split_offsets.size(), 1U);
  std::ofstream(root_ + "/schema.json") << iceberg::SchemaToJson(schema);
  std::string script = kPyIcebergMetrics;
  for (size_t at = 0; (at = script.find("ROOT")) != std::string::npos;) script.replace(at, 4, root_);
  json theirs = json::parse(Python(script));
  json ours = AsJson(*file);
  // Documented difference: below lists and maps Parquet's statistics are off, so PyIceberg knows no null counts there.
  for (const char* id : {"17", "18", "19"}) {
    EXPECT_TRUE(ours["null_value_counts"].contains(id));
    ours["null_value_counts"].erase(id);
  }
  EXPECT_EQ(ours["null_value_counts"]["14"], 3'500);
  for (const auto& [name, value] : ours.items()) EXPECT_EQ(value, theirs[name]) << name;
  // 7 entries in 2,000 rows, one empty place in each of the others.
  EXPECT_EQ(file->value_counts.at(18), 7 * 2'000 + 1'500);
  EXPECT_EQ(file->null_value_counts.at(18), 1'500);
  EXPECT_FALSE(file->lower_bounds.contains(18));
}

TEST_F(DataFileTest, ReadsBackWhatWasWrittenWhateverTheEncoding) {
  const iceberg::Schema schema = SilverSchemaForTests();
  const auto expected = SilverBatchForTests({.rows = 4'000});
  int number = 0;
  for (const bool dictionaries : {false, true}) {
    for (const int64_t group : {700, 1'000, 10'000}) {
      Batches batches;
      // Dictionaries differ from batch to batch, and some batches have none.
      for (int64_t row = 0; row < 4'000; row += 500) {
        const bool here = dictionaries && row % 1'500 != 0;
        batches.push_back(SilverBatchForTests({.rows = 500,
                                               .first_row = row,
                                               .dictionaries = here,
                                               .key_dictionaries = here,
                                               .value_dictionaries = here}));
      }
      WriteOptions options = SilverOptions();
      options.row_group_rows = group;
      if (!dictionaries) options.plain_fields = {};
      const std::string name = std::to_string(number++);
      const auto file = Write(name, schema, batches, options);
      ASSERT_TRUE(file) << file.error().message;
      const auto read = Read(name, schema, {.batch_rows = 333});
      ASSERT_TRUE(read);
      for (int i = 0; i < read->num_columns(); ++i) {
        // The names and nullability that builders give to elements, keys and values are not the schema's.
        const auto wanted = AdaptArray(expected->column(i), schema.fields[static_cast<size_t>(i)], {});
        EXPECT_TRUE(read->column(i)->Equals(*wanted)) << read->column_name(i) << " of file " << name;
      }
      EXPECT_EQ(ReadFooter(*io_, At(name)).value().at("k2.test"), "yes");
    }
  }
}

TEST_F(DataFileTest, PyarrowAndDuckDbReadIt) {
  const auto file =
      Write("silver.parquet", SilverSchemaForTests(),
            {SilverBatchForTests({.rows = 3'000, .dictionaries = true, .key_dictionaries = true})}, SilverOptions());
  ASSERT_TRUE(file) << file.error().message;
  const auto bronze = Write("bronze.parquet", BronzeSchemaForTests(), {BronzeBatchForTests(1'000)},
                            {.plain_fields = {2, 5, 6, 7}, .no_stats_fields = {1, 2}});
  ASSERT_TRUE(bronze) << bronze.error().message;
  EXPECT_FALSE(bronze->lower_bounds.contains(2));
  EXPECT_EQ(bronze->null_value_counts.at(2), 0);
  std::string script = R"(
import duckdb, pyarrow.parquet as pq
path = "ROOT/silver.parquet"
f = pq.ParquetFile(path)
def ids(field):
    own = [int(field.metadata[b"PARQUET:field_id"])] if field.metadata else []
    t = field.type
    kids = [t.key_field, t.item_field] if str(t).startswith("map") else [t.value_field] if str(t).startswith("list") else []
    return own + sum((ids(k) for k in kids), [])
print(sum((ids(x) for x in f.schema_arrow), []))
print(f.schema.column(6).physical_type, f.schema.column(5).logical_type)
rows = f.read().to_pylist()
for i, row in enumerate(rows):
    assert row["trade_id"] == f"BINANCE-{3741000000 + i}" and row["source_sequence"] == 3741000000 + i, row
    data = dict(row["vendor_data"])
    assert len(row["vendor_data"]) == 7 and int(data["trade_time"]) == row["timestamp"].timestamp() * 1000, row
    assert row["symbol"] == data["base_asset"] + "USDT" and row["trade_conditions"] == [], row
print(len(rows), len({r["message_id"] for r in rows}))
d = duckdb.sql(f"select count(*), sum(price), min(symbol), count(distinct vendor_data['event_type'][1]), max(exchange_date) from '{path}'").fetchone()
assert d[1] == sum(r["price"] for r in rows)
print(d[0], d[2], d[3], d[4])
print(duckdb.sql("select count(*), count(distinct \"offset\"), min(octet_length(avro_payload)), any_value(topic) from 'ROOT/bronze.parquet'").fetchone())
print(duckdb.sql(f"select count(*) from '{path}' where message_id = '{rows[17]['message_id']}'").fetchone())
print(sorted({str(e) for e in f.metadata.row_group(0).column(1).encodings}), f.metadata.row_group(0).column(0).compression)
groups = [pq.ParquetFile(f"ROOT/{name}.parquet").metadata.row_group(0) for name in ("silver", "bronze")]
print(sorted({str(e) for g in groups for i in range(g.num_columns) for e in g.column(i).encodings}))
)";
  for (size_t at = 0; (at = script.find("ROOT")) != std::string::npos;) script.replace(at, 4, root_);
  EXPECT_EQ(Python(script),
            "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 17, 12, 13, 14, 15, 18, 19, 16]\n"
            "FIXED_LEN_BYTE_ARRAY Timestamp(isAdjustedToUTC=true, timeUnit=microseconds, is_from_converted_type=false, "
            "force_set_converted_type=false)\n"
            "3000 3000\n"
            "3000 ADAUSDT 1 2024-08-08\n"
            "(1000, 1000, 270, 'market.crypto.trades.binance')\n"
            "(1,)\n"
            "['PLAIN', 'RLE'] ZSTD\n"
            "['PLAIN', 'RLE', 'RLE_DICTIONARY']\n");
}

TEST_F(DataFileTest, ProjectsRenamesPromotesAndFillsIn) {
  using F = iceberg::NestedField;
  iceberg::Schema old;
  old.fields = {F{1, "a", true, Type::Primitive(TypeId::kInt)}, F{2, "gone", false, Type::Primitive(TypeId::kString)},
                F{3, "b", false, Type::Decimal(9, 2)}};
  arrow::Int32Builder a;
  arrow::StringBuilder gone;
  arrow::Decimal128Builder b(arrow::decimal128(9, 2));
  ASSERT_TRUE(a.AppendValues({1, -2}).ok() && gone.AppendNulls(2).ok());
  ASSERT_TRUE(b.Append(arrow::Decimal128(125)).ok() && b.AppendNull().ok());
  const auto batch = arrow::RecordBatch::Make(ToArrowSchema(old), 2, {*a.Finish(), *gone.Finish(), *b.Finish()});
  ASSERT_TRUE(Write("old", old, {batch}, {}));
  iceberg::Schema now;
  now.fields = {F{3, "renamed", false, Type::Decimal(18, 2)}, F{4, "gone", false, Type::Primitive(TypeId::kString)},
                F{1, "a", true, Type::Primitive(TypeId::kLong)}};
  const auto read = Read("old", now);
  EXPECT_EQ(read->ToString(), arrow::RecordBatch::Make(read->schema(), 2, read->columns())->ToString());
  EXPECT_EQ(read->schema()->field(0)->name(), "renamed");
  EXPECT_EQ(read->column(1)->null_count(), 2);
  EXPECT_EQ(static_cast<const arrow::Int64Array&>(*read->column(2)).Value(1), -2);
  EXPECT_EQ(static_cast<const arrow::Decimal128Array&>(*read->column(0)).FormatValue(0), "1.25");
  const auto one = Read("old", now, {.field_ids = {1}});
  EXPECT_EQ(one->num_columns(), 1);
  const auto none = Read("old", now, {.field_ids = {4}});  // not in the file at all
  EXPECT_EQ(none->num_rows(), 2);
  const auto consume = [](auto) -> Status { return {}; };
  EXPECT_EQ(ReadDataFile(*io_, At("old"), now, {.field_ids = {2}}, consume).error().kind, ErrorKind::kInvalidArgument);
  now.fields[2].type = Type::Primitive(TypeId::kString);
  EXPECT_EQ(ReadDataFile(*io_, At("old"), now, {}, consume).error().kind, ErrorKind::kInvalidData);
}

// Iceberg spec, "Column Projection" and "Name Mapping Serialization".
TEST_F(DataFileTest, ColumnsWithoutIdsAreFoundByTheNameMapping) {
  std::string script = R"(
import pyarrow as pa, pyarrow.parquet as pq
pq.write_table(pa.table({"B": pa.array(["x", None], pa.large_string()), "l": pa.array([["p"], []], pa.large_list(pa.large_string())),
                         "m": pa.array([[("k", "v")], None], pa.map_(pa.string(), pa.string())),
                         "s": pa.array([{"lat": 1, "other": 2}, {"lat": 3, "other": 4}], pa.struct({"lat": pa.int32(), "other": pa.int32()})),
                         "unmapped": pa.array([7, 8], pa.int64()), "a": pa.array([1, 2], pa.int32())}), "ROOT/theirs")
)";
  script.replace(script.find("ROOT"), 4, root_);
  Python(script);
  const Type string = Type::Primitive(TypeId::kString);
  iceberg::Schema schema;
  schema.fields = {{1, "a", true, Type::Primitive(TypeId::kLong)},
                   {2, "b", false, string},
                   {3, "l", false, Type::List(4, false, string)},
                   {5, "m", false, Type::Map(6, string, 7, false, string)},
                   {8, "absent", false, string},
                   {9, "unmapped", false, Type::Primitive(TypeId::kLong)},
                   {10, "s", false, {.id = TypeId::kStruct}}};
  schema.fields[6].type.fields = {{11, "latitude", false, Type::Primitive(TypeId::kLong)},
                                  {12, "other", false, Type::Primitive(TypeId::kInt)}};
  schema.fields[4].initial_default = "\"none\"";
  const ReadOptions by_names{.name_mapping = R"([
    {"field-id": 1, "names": ["first", "a"]}, {"field-id": 2, "names": ["b", "B"]},
    {"field-id": 3, "names": ["l"], "fields": [{"field-id": 4, "names": ["element"]}]},
    {"field-id": 5, "names": ["m"]}, {"field-id": 8, "names": ["absent"]},
    {"field-id": 10, "names": ["s"], "fields": [{"field-id": 11, "names": ["lat"]}]}])"};
  const auto read = Read("theirs", schema, by_names);
  ASSERT_TRUE(read);
  EXPECT_EQ(static_cast<const arrow::Int64Array&>(*read->column(0)).Value(1), 2);
  EXPECT_EQ(static_cast<const arrow::StringArray&>(*read->column(1)).GetView(0), "x");
  EXPECT_EQ(static_cast<const arrow::ListArray&>(*read->column(2)).value_length(0), 1);
  EXPECT_EQ(static_cast<const arrow::MapArray&>(*read->column(3)).value_length(0), 1);
  EXPECT_EQ(static_cast<const arrow::StringArray&>(*read->column(4)).GetView(1), "none");  // its initial default
  EXPECT_EQ(read->column(5)->null_count(), 2);  // a column of that name, and no id
  const auto& structs = static_cast<const arrow::StructArray&>(*read->column(6));
  EXPECT_EQ(static_cast<const arrow::Int64Array&>(*structs.field(0)).Value(1), 3);
  EXPECT_EQ(structs.field(1)->null_count(), 2);
  // Without it no column is there: a required one is told of, not read as nulls.
  const auto consume = [](auto) -> Status { return {}; };
  const Status refused = ReadDataFile(*io_, At("theirs"), schema, {}, consume);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidData);
  EXPECT_NE(refused.error().message.find("schema.name-mapping.default"), std::string::npos) << refused.error().message;
  EXPECT_EQ(Read("theirs", schema, {.field_ids = {2}})->column(0)->null_count(), 2);
  // A value that the partition tells comes first.
  const auto constant = Read("theirs", schema, {.field_ids = {1, 2}, .constants = {{1, 40}, {2, "p"}}});
  EXPECT_EQ(static_cast<const arrow::Int64Array&>(*constant->column(0)).Value(0), 40);
  EXPECT_EQ(static_cast<const arrow::StringArray&>(*constant->column(1)).GetView(1), "p");
  EXPECT_EQ(ReadDataFile(*io_, At("theirs"), schema, {.name_mapping = "{"}, consume).error().kind,
            ErrorKind::kInvalidData);
}

// What Spark writes unless it is told otherwise, and Iceberg's Java library reads: no time zone in the file, and of
// UTC.
TEST_F(DataFileTest, TimesOfInt96AreOfUtc) {
  std::string script = R"(
import pyarrow as pa, pyarrow.parquet as pq
times = pa.array([1_704_239_990_123_456, None, -1], pa.timestamp("us"))
pq.write_table(pa.table({"t": times}), "ROOT/int96", use_deprecated_int96_timestamps=True)
pq.write_table(pa.table({"t": times}), "ROOT/local")
)";
  for (size_t at = 0; (at = script.find("ROOT")) != script.npos;) script.replace(at, 4, root_);
  Python(script);
  iceberg::Schema schema;
  schema.fields = {{1, "t", false, Type::Primitive(TypeId::kTimestamptz)}};
  const ReadOptions by_names{.name_mapping = R"([{"field-id": 1, "names": ["t"]}])"};
  const auto read = Read("int96", schema, by_names);
  ASSERT_TRUE(read);
  EXPECT_EQ(static_cast<const arrow::TimestampType&>(*read->column(0)->type()).timezone(), "UTC");
  const auto& times = static_cast<const arrow::TimestampArray&>(*read->column(0));
  EXPECT_EQ(times.Value(0), 1'704'239'990'123'456);
  EXPECT_TRUE(times.IsNull(1));
  EXPECT_EQ(times.Value(2), -1);
  const auto consume = [](auto) -> Status { return {}; };
  EXPECT_EQ(ReadDataFile(*io_, At("local"), schema, by_names, consume).error().kind, ErrorKind::kInvalidData)
      << "a time of no zone is none of UTC";
}

TEST_F(DataFileTest, SkipsRowGroupsAndReadsDictionaries) {
  const iceberg::Schema schema = SilverSchemaForTests();
  WriteOptions options = SilverOptions();
  options.row_group_rows = 500;
  ASSERT_TRUE(Write("silver", schema, {SilverBatchForTests({.rows = 2'000})}, options));
  const auto part = Read("silver", schema,
                         {.field_ids = {12, 3, 15},
                          .range_field = 12,
                          .range_min = 3'741'000'600,
                          .range_max = 3'741'000'700,
                          .dictionary_fields = {3, 18}});
  ASSERT_TRUE(part);
  EXPECT_EQ(part->num_rows(), 500);
  EXPECT_EQ(static_cast<const arrow::Int64Array&>(*part->column(0)).Value(0), 3'741'000'500);
  EXPECT_EQ(part->column(1)->type_id(), arrow::Type::DICTIONARY);
  const auto& map = static_cast<const arrow::MapArray&>(*part->column(2));
  EXPECT_EQ(map.keys()->type_id(), arrow::Type::DICTIONARY);
  EXPECT_EQ(map.items()->type_id(), arrow::Type::STRING);
  // And it may be written again as it is.
  iceberg::Schema three;
  for (const int32_t id : {12, 3, 15}) three.fields.push_back(*schema.FindById(id));
  EXPECT_TRUE(Write("again", three, {part}, {}));
  EXPECT_EQ(Read("silver", schema, {.range_field = 12, .range_min = 1, .range_max = 2}), nullptr);
}

TEST_F(DataFileTest, WrongBatchesAreRefusedAndNothingStays) {
  const iceberg::Schema schema = BronzeSchemaForTests();
  const auto batch = BronzeBatchForTests(10);
  const auto without_topic = batch->SetColumn(2, batch->schema()->field(2), *arrow::MakeArrayOfNull(arrow::utf8(), 10));
  const auto wrong_type = batch->SetColumn(4, arrow::field("offset", arrow::utf8()), batch->column(2));
  for (const auto& wrong : {*without_topic, *wrong_type, *batch->RemoveColumn(0)}) {
    EXPECT_EQ(Write("x", schema, {batch, wrong}, {}).error().kind, ErrorKind::kInvalidData);
    EXPECT_TRUE(io_->List(At("x")).value_or(std::vector<storage::FileInfo>{}).empty());
    EXPECT_FALSE(fs::exists(root_ + "/x"));
  }
  EXPECT_EQ(Write("x", schema, {batch}, {.codec = "lzma"}).error().kind, ErrorKind::kInvalidArgument);
  const auto empty = Write("empty", schema, {}, {});
  ASSERT_TRUE(empty) << empty.error().message;
  EXPECT_EQ(empty->record_count, 0);
  EXPECT_EQ(Read("empty", schema), nullptr);
  EXPECT_EQ(Write("empty", schema, {batch}, {}).error().kind, ErrorKind::kAlreadyExists);
  EXPECT_TRUE(fs::exists(root_ + "/empty"));
}

TEST_F(DataFileTest, AFailingDiskLeavesNothing) {
  const auto faulty = storage::FaultyFileIo::OverLocalDisk();
  io_ = faulty;
  const struct {
    const char* operation;
    int errno_value;
    ErrorKind kind;
  } cases[] = {{"disk.write", ENOSPC, ErrorKind::kNoSpace},
               {"disk.open-new", EACCES, ErrorKind::kPermission},
               {"disk.sync-file", EIO, ErrorKind::kIo},
               {"disk.close", ENOSPC, ErrorKind::kNoSpace},
               {"open", EIO, ErrorKind::kIo}};
  for (const auto& wrong : cases) {
    for (const int64_t nth : {1, 5}) {
      faulty->ClearFaults();
      faulty->Inject({.operation = wrong.operation, .first = nth, .errno_value = wrong.errno_value});
      const auto file = Write("x", BronzeSchemaForTests(), {BronzeBatchForTests(5'000)}, {.row_group_rows = 1'000});
      if (file) {  // it was not called so often
        ASSERT_EQ(nth, 5) << wrong.operation;
        fs::remove(root_ + "/x");
        continue;
      }
      EXPECT_EQ(file.error().kind, wrong.kind) << file.error().message;
      EXPECT_FALSE(fs::exists(root_ + "/x")) << wrong.operation;
    }
  }
}

TEST_F(DataFileTest, DamagedFilesAreRefused) {
  const iceberg::Schema schema = BronzeSchemaForTests();
  ASSERT_TRUE(Write("good", schema, {BronzeBatchForTests(2'000)}, {}));
  const std::string bytes = io_->Read(At("good")).value();
  const auto read = [&](std::string damaged) {
    std::ofstream(root_ + "/bad", std::ios::binary) << damaged;
    return ReadDataFile(*io_, At("bad"), schema, {}, [](auto) -> Status { return {}; });
  };
  EXPECT_TRUE(read(bytes));
  for (const size_t size : {size_t{0}, size_t{3}, size_t{11}, bytes.size() / 2, bytes.size() - 1}) {
    const Status status = read(bytes.substr(0, size));
    ASSERT_FALSE(status) << size;
    EXPECT_EQ(status.error().kind, ErrorKind::kInvalidData) << status.error().message;
    EXPECT_NE(status.error().message.find("/bad"), std::string::npos);
  }
  std::string flipped = bytes;
  flipped[bytes.size() / 3] = static_cast<char>(flipped[bytes.size() / 3] ^ 0x10);
  EXPECT_EQ(read(flipped).error().kind, ErrorKind::kInvalidData);
  EXPECT_EQ(ReadDataFile(*io_, At("none"), schema, {}, [](auto) -> Status { return {}; }).error().kind,
            ErrorKind::kNotFound);
  const Status stopped =
      ReadDataFile(*io_, At("good"), schema, {}, [](auto) -> Status { return Fail(ErrorKind::kCancelled, "enough"); });
  EXPECT_EQ(stopped.error().kind, ErrorKind::kCancelled);
}

}  // namespace
}  // namespace k2::table
