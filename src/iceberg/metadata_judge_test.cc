// PyIceberg judges our metadata, and we read its own.
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "iceberg/metadata_samples.h"

namespace k2::iceberg {
namespace {

using Json = nlohmann::json;

class PyIceberg : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "k2-metadata-XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string WriteFile(const std::string& name, const std::string& text) {
    const std::filesystem::path path = folder_ / name;
    std::ofstream(path) << text;
    return path.string();
  }

  // What a script prints; its errors go to the test's output.
  std::string Run(const std::string& script) {
    const std::string command = std::string(K2_SOURCE_DIR) + "/.venv/bin/python " + WriteFile("script.py", script);
    FILE* pipe = popen(command.c_str(), "r");
    if (pipe == nullptr) return "";
    std::string output;
    std::array<char, 4096> buffer{};
    for (size_t n = 0; (n = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) output.append(buffer.data(), n);
    EXPECT_EQ(pclose(pipe), 0) << output;
    return output;
  }

  std::filesystem::path folder_;
};

TEST_F(PyIceberg, UnderstandsOurMetadata) {
  auto table = SampleTableWithSnapshots(3);
  ASSERT_TRUE(table.has_value());
  auto expired = ApplyUpdates(*table, {RemoveSnapshots{{kSampleIdBase + 1}}}, 0);
  ASSERT_TRUE(expired.has_value());
  const std::string full = WriteFile("full.json", TableMetadataToJson(*expired));
  const std::string empty = WriteFile("empty.json", TableMetadataToJson(*SampleTable()));
  const Json seen = Json::parse(Run(R"(
import json
from pyiceberg.table.metadata import TableMetadataUtil
t = TableMetadataUtil.parse_raw(open(")" +
                                    full + R"(").read())
e = TableMetadataUtil.parse_raw(open(")" +
                                    empty + R"(").read())
s = t.current_snapshot()
print(json.dumps({
  "version": t.format_version, "uuid": str(t.table_uuid), "location": t.location, "updated": t.last_updated_ms,
  "schema": [str(f) for f in t.schema().fields], "identifier": t.schema().identifier_field_ids,
  "doc": t.schema().find_field("message_id").doc, "last_column": t.last_column_id,
  "spec": str(t.spec().fields[0]), "last_partition": t.last_partition_id, "order": str(t.sort_order().fields[0]),
  "properties": t.properties, "snapshots": [x.snapshot_id for x in t.snapshots],
  "current": s.snapshot_id, "parent": s.parent_snapshot_id, "sequence": s.sequence_number, "list": s.manifest_list,
  "operation": s.summary.operation.value, "records": s.summary["added-records"],
  "offsets": json.loads(s.summary["k2.offsets"])["version"],
  "refs": {k: [v.snapshot_id, v.snapshot_ref_type.value] for k, v in t.refs.items()},
  "log": [[x.timestamp_ms, x.snapshot_id] for x in t.snapshot_log],
  "files": [x.metadata_file for x in t.metadata_log], "last_sequence": t.last_sequence_number,
  "none": e.current_snapshot_id}))
)"));
  const int64_t last = kSampleIdBase + 3;
  EXPECT_EQ(seen["version"], 2);
  EXPECT_EQ(seen["uuid"], kSampleUuid);
  EXPECT_EQ(seen["location"], expired->location);
  EXPECT_EQ(seen["updated"], kSampleTimeMs + 3000);
  EXPECT_EQ(seen["schema"], Json::parse(R"json(["1: message_id: required string (identity)",
      "2: timestamp: required timestamptz", "3: price: required decimal(18, 8)",
      "4: conditions: optional list<string>", "6: vendor_data: optional map<string, string>"])json"));
  EXPECT_EQ(seen["identifier"], Json::parse("[1]"));
  EXPECT_EQ(seen["doc"], "identity");
  EXPECT_EQ(seen["last_column"], 8);
  EXPECT_EQ(seen["spec"], "1000: timestamp_day: day(2)");
  EXPECT_EQ(seen["last_partition"], 1000);
  EXPECT_EQ(seen["order"], "2 ASC NULLS FIRST");
  EXPECT_EQ(seen["properties"]["owner"], "tests");
  EXPECT_EQ(seen["snapshots"], (Json{kSampleIdBase + 2, last}));
  EXPECT_EQ(seen["current"], last);
  EXPECT_EQ(seen["parent"], last - 1);
  EXPECT_EQ(seen["sequence"], 3);
  EXPECT_EQ(seen["last_sequence"], 3);
  EXPECT_EQ(seen["list"], "file:///tmp/k2/trades/metadata/snap-3.avro");
  EXPECT_EQ(seen["operation"], "append");
  EXPECT_EQ(seen["records"], "21");
  EXPECT_EQ(seen["offsets"], 1);
  EXPECT_EQ(seen["refs"], (Json{{"main", {last, "branch"}}, {"k2-offsets", {last, "tag"}}}));
  EXPECT_EQ(seen["log"].size(), 2U);
  EXPECT_EQ(seen["files"].size(), 3U);
  EXPECT_TRUE(seen["none"].is_null());
}

TEST_F(PyIceberg, UnderstandsOurUpdates) {
  const auto table = SampleTable();
  ASSERT_TRUE(table.has_value());
  std::vector<TableUpdate> updates = {AssignUuid{std::string(kSampleUuid)},
                                      UpgradeFormatVersion{2},
                                      AddSchema{SampleSchema(), 8},
                                      SetCurrentSchema{},
                                      AddSpec{table->DefaultSpec()},
                                      SetDefaultSpec{},
                                      AddSortOrder{table->sort_orders[0]},
                                      SetDefaultSortOrder{},
                                      RemoveSnapshots{{1}},
                                      RemoveSnapshotRef{"x"},
                                      SetLocation{"file:///a"},
                                      SetProperties{{{"a", "b"}}},
                                      RemoveProperties{{"c"}}};
  for (TableUpdate& update : SampleAppend(*table, 1)) updates.push_back(std::move(update));
  const std::string request =
      R"({"identifier":{"namespace":["a"],"name":"b"},"requirements":)" +
      RequirementsToJson({AssertTableUuid{std::string(kSampleUuid)}, AssertRefSnapshotId{"main", kSampleIdBase},
                          AssertRefSnapshotId{"main", std::nullopt}, AssertLastAssignedFieldId{7},
                          AssertCurrentSchemaId{1}, AssertDefaultSpecId{2}, AssertCreate{}}) +
      R"(,"updates":)" + UpdatesToJson(updates) + "}";
  const Json seen = Json::parse(Run(R"(
import json
from pyiceberg.table import CommitTableRequest
r = CommitTableRequest.model_validate_json(open(")" +
                                    WriteFile("request.json", request) + R"(").read())
print(json.dumps({"requirements": [type(x).__name__ for x in r.requirements],
                  "updates": [type(x).__name__ for x in r.updates],
                  "id": r.requirements[1].snapshot_id, "snapshot": r.updates[13].snapshot.snapshot_id,
                  "spec": str(r.updates[4].spec.fields[0]), "none": r.requirements[2].snapshot_id}))
)"));
  EXPECT_EQ(seen["requirements"], Json::parse(R"(["AssertTableUUID","AssertRefSnapshotId","AssertRefSnapshotId",
      "AssertLastAssignedFieldId","AssertCurrentSchemaId","AssertDefaultSpecId","AssertCreate"])"));
  EXPECT_EQ(seen["updates"],
            Json::parse(R"(["AssignUUIDUpdate","UpgradeFormatVersionUpdate","AddSchemaUpdate","SetCurrentSchemaUpdate",
      "AddPartitionSpecUpdate","SetDefaultSpecUpdate","AddSortOrderUpdate","SetDefaultSortOrderUpdate",
      "RemoveSnapshotsUpdate","RemoveSnapshotRefUpdate","SetLocationUpdate","SetPropertiesUpdate",
      "RemovePropertiesUpdate","AddSnapshotUpdate","SetSnapshotRefUpdate","SetSnapshotRefUpdate"])"));
  EXPECT_EQ(seen["id"], kSampleIdBase);
  EXPECT_EQ(seen["snapshot"], kSampleIdBase + 1);
  EXPECT_EQ(seen["spec"], "1000: timestamp_day: day(2)");
  EXPECT_TRUE(seen["none"].is_null());
}

// A table with two appends, a tag, a branch, an added column and a changed property: PyIceberg writes it, we read it,
// change it, and PyIceberg reads that again.
TEST_F(PyIceberg, ItsMetadataSurvivesUs) {
  const std::string output = Run(R"(
import json, pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.types import StringType
folder = ")" + folder_.string() + R"("
catalog = SqlCatalog("iceberg", uri="sqlite:///" + folder + "/catalog.db", warehouse="file://" + folder)
catalog.create_namespace("ns")
data = pa.table({"id": pa.array([1, 2], pa.int64()), "tags": pa.array([["a"], []], pa.list_(pa.string()))})
table = catalog.create_table("ns.t", data.schema, properties={"owner": "judge"})
print(json.dumps({"location": table.metadata_location}))
table.append(data)
with table.update_schema() as update:
    update.add_column("note", StringType(), doc="added")
with table.update_spec() as update:
    update.add_field("id", "identity", "id_group")
table.append(data)
first = table.metadata.snapshots[0].snapshot_id
with table.manage_snapshots() as manage:
    manage.create_tag(first, "kept").create_branch(first, "side")
with table.transaction() as transaction:
    transaction.set_properties({"x": "y"})
print(json.dumps({"location": table.metadata_location, "uuid": str(table.metadata.table_uuid), "first": first,
  "current": table.metadata.current_snapshot_id, "last_column": table.metadata.last_column_id}))
)");
  const size_t line_end = output.find('\n');
  const auto read = [](const Json& facts) {
    std::ifstream file(facts["location"].get<std::string>().substr(std::string_view("file://").size()));
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const auto fresh = ParseTableMetadata(read(Json::parse(output.substr(0, line_end))));
  ASSERT_TRUE(fresh.has_value()) << fresh.error().message;
  EXPECT_EQ(fresh->CurrentSnapshot(), nullptr);

  const Json facts = Json::parse(output.substr(line_end));
  const std::string theirs = read(facts);
  const auto table = ParseTableMetadata(theirs);
  ASSERT_TRUE(table.has_value()) << table.error().message;
  EXPECT_EQ(table->table_uuid, facts["uuid"]);
  EXPECT_EQ(table->CurrentSnapshot()->snapshot_id, facts["current"]);
  EXPECT_EQ(table->CurrentSnapshot()->parent_snapshot_id, facts["first"].get<int64_t>());
  EXPECT_EQ(table->FindRef("kept")->snapshot_id, facts["first"]);
  EXPECT_TRUE(table->FindRef("side")->is_branch);
  EXPECT_EQ(table->CurrentSchema().Find("note")->doc, "added");
  EXPECT_EQ(table->DefaultSpec().fields.at(0).transform, "identity");
  EXPECT_EQ(table->properties.at("x"), "y");
  EXPECT_EQ(table->last_column_id, facts["last_column"]);

  // Nothing they wrote is lost; what they leave out is what we write as empty.
  Json before = Json::parse(theirs);
  for (Json& schema : before["schemas"]) {
    if (schema["identifier-field-ids"].empty()) schema.erase("identifier-field-ids");
  }
  const Json after = Json::parse(TableMetadataToJson(*table));
  for (const auto& [key, value] : before.items()) EXPECT_EQ(after.value(key, Json()), value) << key;

  auto appended = ApplyUpdates(*table, {SetProperties{{{"k2", "was here"}}}}, table->last_updated_ms + 1);
  ASSERT_TRUE(appended.has_value());
  AddToMetadataLog(*appended, facts["location"], table->last_updated_ms);
  const std::string path = WriteFile("ours.metadata.json", TableMetadataToJson(*appended));
  EXPECT_EQ(Run(R"(
from pyiceberg.table import StaticTable
table = StaticTable.from_metadata("file://)" +
                path + R"(")
print(table.properties["k2"], table.scan().to_arrow().num_rows,
      table.scan(snapshot_id=table.snapshot_by_name("kept").snapshot_id).to_arrow().num_rows))"),
            "was here 4 2\n");
  EXPECT_EQ(Run(R"(
import duckdb, glob, os, duckdb_extension_avro, duckdb_extension_iceberg
path = ")" + path +
                R"("
connection = duckdb.connect()
for module in (duckdb_extension_avro, duckdb_extension_iceberg):
    for extension in glob.glob(os.path.dirname(module.__file__) + "/extensions/*/*.duckdb_extension"):
        connection.load_extension(extension)
rows = connection.execute("SELECT count(*), sum(id) FROM iceberg_scan(?) ", [path]).fetchone()
snapshots = connection.execute("SELECT count(*) FROM iceberg_snapshots(?) ", [path]).fetchone()
print(rows, snapshots)
)"),
            "(4, 6) (2,)\n");
}

}  // namespace
}  // namespace k2::iceberg
