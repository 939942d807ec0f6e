#include "iceberg/manifest.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "avro/container.h"
#include "iceberg/literal.h"
#include "iceberg/manifest_list.h"
#include "iceberg/manifest_schema.h"
#include "iceberg/pruning.h"
#include "iceberg/table_fixture.h"

namespace k2::iceberg {
namespace {

ManifestEntry Entry(EntryStatus status, const DataFile& file) {
  ManifestEntry entry{.status = status, .snapshot_id = 7, .file = file};
  if (status != EntryStatus::kAdded) entry.sequence_number = entry.file_sequence_number = 3;
  return entry;
}

std::vector<ManifestEntry> ThreeEntries() {
  DataFile rich = TestFile("file:///t/data/a b.parquet", 19943, 10);
  rich.key_metadata = std::string("k\0y", 3);
  rich.nan_value_counts = {{3, 0}};
  rich.split_offsets = {4, 1000};
  return {Entry(EntryStatus::kAdded, rich), Entry(EntryStatus::kExisting, TestFile("e", 19945, 5)),
          Entry(EntryStatus::kDeleted, TestFile("d", -2, 7))};
}

TEST(ManifestTest, RoundTrip) {
  const TableMetadata table = TestTable();
  const std::vector<ManifestEntry> entries = ThreeEntries();
  EncodedManifest encoded = EncodeManifest(table, 0, ManifestContent::kData, 7, entries).value();
  EXPECT_EQ(encoded.file.added_files_count, 1);
  EXPECT_EQ(encoded.file.existing_rows_count, 5);
  EXPECT_EQ(encoded.file.deleted_rows_count, 7);
  EXPECT_EQ(encoded.file.sequence_number, kUnassignedSequence);
  EXPECT_EQ(encoded.file.min_sequence_number, 3);
  EXPECT_TRUE(encoded.file.partitions[1].contains_null);  // day 19945 has no hour
  encoded.file.sequence_number = 9;
  std::vector<ManifestEntry> read = DecodeManifest(encoded.bytes, encoded.file, table).value();
  ASSERT_EQ(read.size(), 3U);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(read[i].file, entries[i].file) << i;
  EXPECT_EQ(read[0].sequence_number, 9);
  EXPECT_EQ(read[0].file_sequence_number, 9);
  EXPECT_EQ(read[1].sequence_number, 3);
  EXPECT_EQ(read[2].status, EntryStatus::kDeleted);
}

// A source column was widened after its files were written, or while one was.
TEST(ManifestTest, PartitionValuesFollowAWidenedColumn) {
  const TableMetadata before = TestTable();
  TableMetadata table = before;
  table.schemas[0].fields[1].type = Type::Primitive(TypeId::kLong);
  DataFile file = TestFile("f", 19943, 10);
  ASSERT_TRUE(std::holds_alternative<int32_t>(file.partition[1]));
  const EncodedManifest old =
      EncodeManifest(before, 0, ManifestContent::kData, 7, {Entry(EntryStatus::kAdded, file)}).value();
  const EncodedManifest now =
      EncodeManifest(table, 0, ManifestContent::kData, 7, {Entry(EntryStatus::kAdded, file)}).value();
  for (const EncodedManifest& encoded : {old, now}) {
    ManifestFile manifest = encoded.file;
    manifest.sequence_number = 9;
    const auto read = DecodeManifest(encoded.bytes, manifest, table).value();
    EXPECT_EQ(read.at(0).file.partition[1], Literal(static_cast<int64_t>(std::get<int32_t>(file.partition[1]))));
    const Pruner other(table, {{.field_id = 2, .op = CompareOp::kEq, .values = {int64_t{25}}}});
    EXPECT_FALSE(other.ManifestMayMatch(manifest));
    EXPECT_FALSE(other.FileMayMatch(read.at(0).file));
    const Pruner same(table, {{.field_id = 2, .op = CompareOp::kEq, .values = {file.partition[1]}}});
    EXPECT_TRUE(same.ManifestMayMatch(manifest));
    EXPECT_TRUE(same.FileMayMatch(read.at(0).file));
  }
  EXPECT_EQ(now.file.partitions[1].lower_bound->size(), 8U);
}

TEST(ManifestTest, RefusesWhatCannotBeWritten) {
  const TableMetadata table = TestTable();
  const auto kind = [&](ManifestEntry entry) {
    return EncodeManifest(table, 0, ManifestContent::kData, 7, {std::move(entry)}).error().kind;
  };
  ManifestEntry entry = Entry(EntryStatus::kExisting, TestFile("a", 1, 1));
  entry.sequence_number.reset();
  EXPECT_EQ(kind(entry), ErrorKind::kInvalidArgument);
  entry = Entry(EntryStatus::kAdded, TestFile("a", 1, 1));
  entry.file.partition[0] = std::string("no date");
  EXPECT_EQ(kind(entry), ErrorKind::kInvalidArgument);
  entry = Entry(EntryStatus::kAdded, TestFile("a", 1, 1));
  entry.file.partition[2] = Int128{1} << 100;
  EXPECT_EQ(kind(entry), ErrorKind::kInvalidArgument);
  entry.file.content = FileContent::kEqualityDeletes;
  EXPECT_EQ(kind(entry), ErrorKind::kInvalidArgument);
  EXPECT_FALSE(EncodeManifest(table, 5, ManifestContent::kData, 7, {}));
}

TEST(ManifestTest, BrokenBytesAreRefused) {
  const TableMetadata table = TestTable();
  const EncodedManifest encoded = EncodeManifest(table, 0, ManifestContent::kData, 7, ThreeEntries()).value();
  for (size_t size = 0; size < encoded.bytes.size(); ++size) {
    const auto read = DecodeManifest(encoded.bytes.substr(0, size), encoded.file, table);
    if (read) {
      EXPECT_TRUE(read->empty()) << size;
    } else {
      EXPECT_EQ(read.error().kind, ErrorKind::kInvalidData) << size;
    }
  }
  const std::string list = EncodeManifestList(1, std::nullopt, 1, {}).value();
  EXPECT_EQ(DecodeManifest(list, encoded.file, table).error().kind, ErrorKind::kInvalidData);
  EXPECT_EQ(DecodeManifestList(encoded.bytes).error().kind, ErrorKind::kInvalidData);
}

TEST(ManifestTest, NamesAreEscapedAsJavaDoes) {
  EXPECT_EQ(AvroName("exchange_date"), "exchange_date");
  EXPECT_EQ(AvroName("9a"), "_9a");
  EXPECT_EQ(AvroName("a.b-c"), "a_x2Eb_x2Dc");
}

TEST(ManifestListTest, RoundTripAssignsSequenceNumbers) {
  ManifestFile manifest{.manifest_path = "m1",
                        .manifest_length = 12,
                        .sequence_number = kUnassignedSequence,
                        .min_sequence_number = kUnassignedSequence,
                        .added_snapshot_id = 7,
                        .added_files_count = 2,
                        .added_rows_count = 30};
  manifest.partitions = {{.contains_null = true, .contains_nan = false, .lower_bound = "a", .upper_bound = "b"}, {}};
  manifest.key_metadata = "key";
  ManifestFile old = manifest;
  old.content = ManifestContent::kDeletes;
  old.sequence_number = 3;
  old.min_sequence_number = 2;
  const std::string bytes = EncodeManifestList(7, 6, 11, {manifest, old}).value();
  const std::vector<ManifestFile> read = DecodeManifestList(bytes).value();
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(read[0].sequence_number, 11);
  EXPECT_EQ(read[0].min_sequence_number, 11);
  EXPECT_EQ(read[1].sequence_number, 3);
  EXPECT_EQ(read[1].content, ManifestContent::kDeletes);
  EXPECT_EQ(read[0].added_rows_count, 30);
  EXPECT_EQ(read[0].partitions[0].upper_bound, "b");
  EXPECT_FALSE(read[0].partitions[1].contains_nan);
  EXPECT_EQ(read[0].key_metadata, "key");
  manifest.deleted_files_count = kUnknownCount;
  EXPECT_FALSE(EncodeManifestList(7, 6, 11, {manifest}));
}

// A version 1 list and manifest, as old Java versions wrote them: no sequence numbers, other names, ids kept.
TEST(ManifestListTest, Version1) {
  const std::string list_schema = R"({"type":"record","name":"manifest_file","fields":[
    {"name":"manifest_path","type":"string","field-id":500},{"name":"manifest_length","type":"long","field-id":501},
    {"name":"partition_spec_id","type":"int","field-id":502},
    {"name":"added_snapshot_id","type":["null","long"],"default":null,"field-id":503},
    {"name":"added_data_files_count","type":["null","int"],"default":null,"field-id":504}]})";
  auto writer = avro::ContainerWriter::Create(list_schema, {}, avro::Codec::kNull).value();
  ASSERT_TRUE(writer.Append(avro::Value::List{"m1", 5, 0, 42, avro::Value()}));
  const std::vector<ManifestFile> list = DecodeManifestList(writer.Finish().value()).value();
  ASSERT_EQ(list.size(), 1U);
  EXPECT_EQ(list[0].added_snapshot_id, 42);
  EXPECT_EQ(list[0].added_files_count, kUnknownCount);
  EXPECT_TRUE(MayHaveLiveFiles(list[0]));
  EXPECT_EQ(list[0].sequence_number, 0);

  const std::string entry_schema = R"({"type":"record","name":"manifest_entry","fields":[
    {"name":"status","type":"int","field-id":0},{"name":"snapshot_id","type":"long","field-id":1},
    {"name":"data_file","type":{"type":"record","name":"r2","fields":[
      {"name":"file_path","type":"string","field-id":100},{"name":"file_format","type":"string","field-id":101},
      {"name":"partition","type":{"type":"record","name":"r102","fields":[
         {"name":"d","type":["null",{"type":"int","logicalType":"date"}],"default":null,"field-id":1000}]},"field-id":102},
      {"name":"record_count","type":"long","field-id":103},{"name":"file_size_in_bytes","type":"long","field-id":104},
      {"name":"block_size_in_bytes","type":"long","field-id":105},
      {"name":"sort_columns","type":["null",{"type":"array","items":"int","element-id":112}],"field-id":107}
    ]},"field-id":2}]})";
  auto entries = avro::ContainerWriter::Create(entry_schema, {}, avro::Codec::kNull).value();
  using List = avro::Value::List;
  ASSERT_TRUE(entries.Append(List{0, 41, List{"f1", "PARQUET", List{17}, 10, 100, 64, List{1, 2, 3}}}));
  const auto read = DecodeManifest(entries.Finish().value(), list[0], TestTable()).value();
  ASSERT_EQ(read.size(), 1U);
  EXPECT_EQ(read[0].sequence_number, 0);
  EXPECT_EQ(read[0].snapshot_id, 41);
  EXPECT_EQ(read[0].file.partition[0], Literal(17));
  EXPECT_TRUE(IsNull(read[0].file.partition[1]));
  EXPECT_EQ(read[0].file.file_size_in_bytes, 100);
}

TEST(ManifestListTest, CodecsWeLackAreNamed) {
  std::string bytes = EncodeManifestList(1, std::nullopt, 1, {}).value();
  bytes.replace(bytes.find("deflate"), 7, "snappy!");
  const Error error = DecodeManifestList(bytes).error();
  EXPECT_EQ(error.kind, ErrorKind::kUnsupported);
  EXPECT_NE(error.message.find("snappy!"), std::string::npos) << error.message;
}

// The judges: fastavro and PyIceberg read what we write, and we read what PyIceberg writes.
class ManifestJudges : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / fmt::format("k2-manifest-{}", ::getpid());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  std::string Read(const std::string& name) {
    std::ostringstream bytes;
    bytes << std::ifstream(folder_ / name, std::ios::binary).rdbuf();
    return bytes.str();
  }
  // Runs the script with the folder as its argument; its output.
  std::string Python(const std::string& script) {
    Write("script.py", script);
    const std::string command = fmt::format("{}/.venv/bin/python {} {} 2>&1", K2_SOURCE_DIR,
                                            (folder_ / "script.py").string(), folder_.string());
    std::string out;
    FILE* pipe = ::popen(command.c_str(), "r");
    char buffer[4096];
    for (size_t size = 0; (size = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) out.append(buffer, size);
    EXPECT_EQ(::pclose(pipe), 0) << out;
    return out;
  }

  std::filesystem::path folder_;
};

constexpr char kReadOurs[] = R"(
import sys, datetime, decimal
folder = sys.argv[1]
import fastavro
with open(folder + "/m.avro", "rb") as f:
    reader = fastavro.reader(f)
    meta = reader.metadata
    assert meta["format-version"] == "2" and meta["content"] == "data" and meta["partition-spec-id"] == "0", meta
    names = [(x["name"], x["field-id"]) for x in reader.writer_schema["fields"]]
    assert names == [("status", 0), ("snapshot_id", 1), ("sequence_number", 3), ("file_sequence_number", 4), ("data_file", 2)], names
    data_file = reader.writer_schema["fields"][4]["type"]
    ids = [x["field-id"] for x in data_file["fields"]]
    assert ids == [134, 100, 101, 102, 103, 104, 108, 109, 110, 137, 125, 128, 131, 132, 135, 140, 143], ids
    part = data_file["fields"][3]["type"]["fields"]
    assert [x["field-id"] for x in part] == [1000, 1001, 1002]
    assert part[2]["type"][1]["type"] == "fixed" and part[2]["type"][1]["size"] == 8, part
    rows = list(reader)
    assert rows[0]["sequence_number"] is None and rows[1]["sequence_number"] == 3, rows
    assert rows[0]["data_file"]["partition"] == {"d": datetime.date(2024, 8, 8), "h": 23, "price_trunc": decimal.Decimal("-0.00000300")}, rows[0]
    assert rows[0]["data_file"]["lower_bounds"][1] == {"key": 4, "value": b"a"}
from pyiceberg.manifest import read_manifest_list, ManifestFile
from pyiceberg.io.pyarrow import PyArrowFileIO
io = PyArrowFileIO()
lists = list(read_manifest_list(io.new_input(folder + "/list.avro")))
assert len(lists) == 1
m = lists[0]
assert (m.added_files_count, m.existing_files_count, m.deleted_files_count) == (1, 1, 1)
assert (m.added_rows_count, m.existing_rows_count, m.deleted_rows_count) == (10, 5, 7)
assert m.sequence_number == 9 and m.min_sequence_number == 3 and m.added_snapshot_id == 7
p = m.partitions
assert p[1].contains_null and not p[0].contains_null
assert int.from_bytes(p[0].lower_bound, "little", signed=True) == -2
assert int.from_bytes(p[0].upper_bound, "little", signed=True) == 19945
assert p[2].lower_bound == (-300).to_bytes(2, "big", signed=True)
entries = m.fetch_manifest_entry(io, discard_deleted=False)
assert [e.sequence_number for e in entries] == [9, 3, 3], entries
f = entries[0].data_file
assert f.file_path == "file:///t/data/a b.parquet" and f.record_count == 10 and f.file_size_in_bytes == 1010
assert f.partition[0] == 19943 and f.partition[1] == 23 and f.partition[2] == decimal.Decimal("-0.00000300"), f.partition
assert f.value_counts == {1: 10, 4: 10} and f.upper_bounds[4] == b"zz" and f.split_offsets == [4, 1000]
assert f.key_metadata == b"k\0y" and f.sort_order_id == 0
assert entries[1].data_file.partition[1] is None
print("read")
)";

TEST_F(ManifestJudges, ReadWhatWeWrite) {
  EncodedManifest encoded = EncodeManifest(TestTable(), 0, ManifestContent::kData, 7, ThreeEntries()).value();
  encoded.file.manifest_path = (folder_ / "m.avro").string();
  Write("m.avro", encoded.bytes);
  Write("list.avro", EncodeManifestList(7, std::nullopt, 9, {encoded.file}).value());
  EXPECT_EQ(Python(kReadOurs), "read\n");
}

constexpr char kWriteTheirs[] = R"(
import sys, decimal
folder = sys.argv[1]
from pyiceberg.manifest import *
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.schema import Schema
from pyiceberg.partitioning import PartitionSpec, PartitionField
from pyiceberg.transforms import IdentityTransform, TruncateTransform
from pyiceberg.types import *
from pyiceberg.typedef import Record
io = PyArrowFileIO()
schema = Schema(NestedField(1, "d", DateType(), required=True), NestedField(2, "h", IntegerType()),
                NestedField(3, "price", DecimalType(18, 8)), NestedField(4, "text", StringType()),
                NestedField(5, "t", TimestamptzType()))
spec = PartitionSpec(PartitionField(1, 1000, IdentityTransform(), "d"), PartitionField(2, 1001, IdentityTransform(), "h"),
                     PartitionField(3, 1002, TruncateTransform(100), "price_trunc"))
for codec in ("null", "gzip", "zstd"):
    name = f"{folder}/{codec}"
    with write_manifest(2, spec, schema, io.new_output(name + ".avro"), 77, codec) as writer:
        for i, status in enumerate((ManifestEntryStatus.ADDED, ManifestEntryStatus.EXISTING)):
            f = DataFile.from_args(content=DataFileContent.DATA, file_path=f"f{i}", file_format="PARQUET",
                partition=Record(19943, None, decimal.Decimal("-0.00000300")), record_count=10 + i, file_size_in_bytes=100,
                column_sizes={1: 4}, value_counts={1: 10}, null_value_counts={1: 0}, nan_value_counts={},
                lower_bounds={4: b"a"}, upper_bounds={4: b"b"}, key_metadata=None, split_offsets=[4], equality_ids=None,
                sort_order_id=0, spec_id=0)
            entry = ManifestEntry.from_args(status=status, snapshot_id=77 - i, sequence_number=None if i == 0 else 5,
                file_sequence_number=None if i == 0 else 5, data_file=f)
            writer.add_entry(entry)
    manifest = writer.to_manifest_file()
    with write_manifest_list(2, io.new_output(name + "-list.avro"), 77, 76, 8, codec) as lists:
        lists.add_manifests([manifest])
print("written")
)";

TEST_F(ManifestJudges, WeReadWhatTheyWrite) {
  ASSERT_EQ(Python(kWriteTheirs), "written\n");
  for (const std::string codec : {"null", "gzip", "zstd"}) {
    SCOPED_TRACE(codec);
    const auto list = DecodeManifestList(Read(codec + "-list.avro"));
    ASSERT_TRUE(list) << list.error().message;
    ASSERT_EQ(list->size(), 1U);
    const ManifestFile& manifest = list->front();
    EXPECT_EQ(manifest.sequence_number, 8);
    EXPECT_EQ(manifest.min_sequence_number, 5);
    EXPECT_EQ(manifest.added_snapshot_id, 77);
    EXPECT_EQ(manifest.existing_rows_count, 11);
    EXPECT_EQ(manifest.partitions.size(), 3U);
    const auto entries = DecodeManifest(Read(codec + ".avro"), manifest, TestTable());
    ASSERT_TRUE(entries) << entries.error().message;
    ASSERT_EQ(entries->size(), 2U);
    EXPECT_EQ((*entries)[0].sequence_number, 8);
    EXPECT_EQ((*entries)[1].sequence_number, 5);
    const DataFile& file = (*entries)[1].file;
    EXPECT_EQ(file.file_path, "f1");
    EXPECT_EQ(file.partition, (std::vector<Literal>{Literal(19943), Literal(), Literal(Int128{-300})}));
    EXPECT_EQ(file.lower_bounds, (std::map<int32_t, std::string>{{4, "a"}}));
    EXPECT_EQ(file.split_offsets, std::vector<int64_t>{4});
  }
}

}  // namespace
}  // namespace k2::iceberg
