#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/error_text.h"
#include "base/time.h"
#include "cli/commands.h"
#include "cli/rows_output.h"
#include "iceberg/transform.h"
#include "maintenance/migrate.h"
#include "table/progress_json.h"
#include "table/scan.h"
#include "task/market_tables.h"

namespace k2::cli {
namespace {

using nlohmann::ordered_json;

std::string SummaryOr(const iceberg::Snapshot* snapshot, const std::string& key, const std::string& otherwise) {
  if (snapshot == nullptr) return otherwise;
  const auto found = snapshot->summary.find(key);
  return found == snapshot->summary.end() ? otherwise : found->second;
}

Result<int> ListTables(const Settings& settings) {
  K2_ASSIGN(const auto lakehouse, OpenLakehouseToRead(settings));
  K2_ASSIGN(std::vector<catalog::TableName> names, lakehouse->catalog()->ListTables(std::string(task::kNamespace)));
  std::ranges::sort(names);
  query::QueryResult rows;
  rows.columns = {{"table", "VARCHAR", query::CellKind::kText},
                  {"rows", "BIGINT", query::CellKind::kNumber},
                  {"files", "BIGINT", query::CellKind::kNumber},
                  {"bytes", "BIGINT", query::CellKind::kNumber},
                  {"snapshots", "BIGINT", query::CellKind::kNumber},
                  {"last_commit", "VARCHAR", query::CellKind::kText},
                  {"current_snapshot", "BIGINT", query::CellKind::kNumber},
                  {"delete_files", "BIGINT", query::CellKind::kNumber}};
  bool unreadable = false;
  for (const catalog::TableName& name : names) {
    const Result<table::Table> table = lakehouse->Open(name.name);
    if (!table) {  // one table that this k2 does not read hides none of the others
      unreadable = true;
      rows.rows.emplace_back(rows.columns.size()).front() = name.name;
      rows.rows.back().push_back(MessageAndHint(table.error()));
      continue;
    }
    const iceberg::Snapshot* head = table->metadata().CurrentSnapshot();
    rows.rows.push_back({name.name, SummaryOr(head, "total-records", "0"), SummaryOr(head, "total-data-files", "0"),
                         SummaryOr(head, "total-files-size", "0"), std::to_string(table->metadata().snapshots.size()),
                         head == nullptr ? std::optional<std::string>() : FormatTimestamp(head->timestamp_ms * 1000),
                         head == nullptr ? std::optional<std::string>() : std::to_string(head->snapshot_id),
                         SummaryOr(head, "total-delete-files", "0")});
  }
  if (unreadable) {
    rows.columns.push_back({"error", "VARCHAR", query::CellKind::kText});
    for (query::ResultRow& row : rows.rows) row.resize(rows.columns.size());
  }
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  K2_TRY(PrintRows(rows, settings.Text("output")));
  return 0;
}

Result<int> CreateTables(const Settings& settings) {
  K2_ASSIGN(const auto lakehouse, OpenLakehouse(settings, true));
  K2_ASSIGN(const int made, lakehouse->CreateTables());
  std::fprintf(stderr, "%d tables created, %zu in all\n", made, task::AllTables().size());
  return 0;
}

// What one core has been measured to write again in a second (bench/RESULTS.md), for a first idea of the time.
constexpr int64_t kRowsPerSecond = 700'000;

void TellMigration(const std::string& table, const maintenance::Migration& migration, bool planned) {
  for (const std::string& change : migration.changes) std::printf("%s: %s\n", table.c_str(), change.c_str());
  if (!migration.rewrites) return;
  std::printf("%s: %s rows in %s files, %s, %s again", table.c_str(), WithCommas(migration.rows).c_str(),
              WithCommas(migration.files).c_str(), HumanBytes(migration.bytes).c_str(),
              planned ? "would be written" : "were written");
  if (planned) std::printf(", about %s s", WithCommas(1 + migration.rows / kRowsPerSecond).c_str());
  std::printf("\n");
}

Result<int> MigrateTables(const Settings& settings, bool dry_run) {
  K2_ASSIGN(const auto lakehouse, OpenLakehouse(settings, false));
  int made = 0;
  if (!dry_run) {
    K2_ASSIGN(made, lakehouse->CreateTables());
  }
  const maintenance::CompactionRun run{.threads =
                                           static_cast<int32_t>(std::max(1U, std::thread::hardware_concurrency()))};
  int changed = 0;
  for (const std::string& name : maintenance::MigrationOrder()) {
    if (dry_run) {
      const Result<table::Table> table = lakehouse->Open(name);
      if (!table && table.error().kind == ErrorKind::kNotFound) {
        std::printf("%s: would be made\n", name.c_str());
        continue;
      }
      K2_TRY(table);
      K2_ASSIGN(const maintenance::Migration planned, maintenance::PlanMigration(*table));
      TellMigration(name, planned, true);
      changed += planned.changes.empty() ? 0 : 1;
      continue;
    }
    K2_ASSIGN(const maintenance::Migration done, maintenance::Migrate(*lakehouse, name, {}, run));
    TellMigration(name, done, false);
    changed += done.changes.empty() ? 0 : 1;
  }
  if (dry_run) {
    std::printf("%d tables would be changed; nothing was\n", changed);
  } else {
    std::printf("%d tables changed, %d made\n", changed, made);
  }
  return 0;
}

ordered_json DescribeField(const iceberg::NestedField& field) {
  return {{"id", field.id},
          {"name", field.name},
          {"type", field.type.ToString()},
          {"required", field.required},
          {"doc", field.doc}};
}

// By the spec that the file was written with.
std::string PartitionOf(const iceberg::TableMetadata& metadata, const iceberg::DataFile& file) {
  const iceberg::PartitionSpec* spec = metadata.FindSpec(file.spec_id);
  if (spec == nullptr) return "";
  return iceberg::PartitionPath(*spec, metadata.CurrentSchema(), file.partition).value_or("");
}

Result<ordered_json> Describe(const table::Table& table, bool files) {
  const iceberg::TableMetadata& metadata = table.metadata();
  ordered_json schema = ordered_json::array();
  for (const auto& field : metadata.CurrentSchema().fields) schema.push_back(DescribeField(field));
  ordered_json partitions = ordered_json::array();
  for (const auto& field : metadata.DefaultSpec().fields) {
    const iceberg::NestedField* source = metadata.CurrentSchema().FindById(field.source_id);
    partitions.push_back(
        {{"name", field.name}, {"transform", field.transform}, {"column", source == nullptr ? "" : source->name}});
  }
  ordered_json snapshots = ordered_json::array();
  for (const iceberg::Snapshot& snapshot : metadata.snapshots) {
    ordered_json one = {{"snapshot_id", snapshot.snapshot_id},
                        {"committed_at", FormatTimestamp(snapshot.timestamp_ms * 1000)},
                        {"operation", snapshot.operation},
                        {"added_records", SummaryOr(&snapshot, "added-records", "0")},
                        {"total_records", SummaryOr(&snapshot, "total-records", "0")}};
    const auto offsets = snapshot.summary.find(std::string(table::kOffsetsKey));
    if (offsets != snapshot.summary.end()) one["offsets"] = ordered_json::parse(offsets->second, nullptr, false);
    snapshots.push_back(std::move(one));
  }
  ordered_json object = {{"table", table.name().ToString()},
                         {"uuid", metadata.table_uuid},
                         {"location", metadata.location},
                         {"metadata", table.state().metadata_location},
                         {"schema", schema},
                         {"spec_id", metadata.default_spec_id},
                         {"partitions", partitions},
                         {"properties", metadata.properties},
                         {"current_snapshot", metadata.current_snapshot_id.value_or(0)},
                         {"snapshots", snapshots}};
  if (files && metadata.current_snapshot_id) {
    K2_ASSIGN(const auto scan, table::PlanScan(table.io(), metadata, *metadata.current_snapshot_id, {}));
    ordered_json list = ordered_json::array();
    std::map<std::string, const iceberg::DeleteFile*> deletes;
    for (const table::ScanFile& file : scan) {
      list.push_back({{"path", file.file.file_path},
                      {"rows", file.file.record_count},
                      {"bytes", file.file.file_size_in_bytes},
                      {"spec_id", file.file.spec_id},
                      {"partition", PartitionOf(metadata, file.file)}});
      for (const auto& of_file : file.deletes) {
        list.back()["deletes"].push_back(of_file->path);
        deletes[of_file->path] = of_file.get();
      }
    }
    object["files"] = list;
    object["delete_files"] = ordered_json::array();
    for (const auto& [path, of_table] : deletes) {
      const bool equality = of_table->content == iceberg::FileContent::kEqualityDeletes;
      object["delete_files"].push_back({{"path", path},
                                        {"content", equality ? "equality deletes" : "position deletes"},
                                        {"equality_ids", of_table->equality_ids},
                                        {"rows", of_table->record_count},
                                        {"bytes", of_table->size_bytes}});
    }
  }
  return object;
}

void PrintDescription(const ordered_json& object) {
  std::string text = fmt::format("{}\n  location  {}\n  uuid      {}\n\n", object["table"].get<std::string>(),
                                 object["location"].get<std::string>(), object["uuid"].get<std::string>());
  for (const auto& field : object["schema"]) {
    text += fmt::format("  {:>3}  {:<20} {:<22} {:<9} {}\n", field["id"].get<int>(), field["name"].get<std::string>(),
                        field["type"].get<std::string>(), field["required"].get<bool>() ? "required" : "optional",
                        field["doc"].get<std::string>());
  }
  text += object["partitions"].empty() ? "\n  not partitioned" : "\n  partitioned by";
  for (const auto& field : object["partitions"]) {
    text += fmt::format(" {}({})", field["transform"].get<std::string>(), field["column"].get<std::string>());
  }
  text += fmt::format("\n\n  {} snapshots, newest last\n", object["snapshots"].size());
  for (const auto& snapshot : object["snapshots"]) {
    text += fmt::format("  {:>19}  {}  {:<9} +{} rows, {} in all\n", snapshot["snapshot_id"].get<int64_t>(),
                        snapshot["committed_at"].get<std::string>(), snapshot["operation"].get<std::string>(),
                        snapshot["added_records"].get<std::string>(), snapshot["total_records"].get<std::string>());
    if (snapshot.contains("offsets")) text += fmt::format("{:>23}{}\n", "", snapshot["offsets"].dump());
  }
  if (object.contains("files")) {
    text += fmt::format("\n  {} files\n", object["files"].size());
    for (const auto& file : object["files"]) {
      // Those of earlier partition specs are told apart: they stay as they were written until they are compacted.
      const bool earlier = file["spec_id"] != object["spec_id"];
      text += fmt::format("  {:>10} rows {:>10}  {}{}\n", WithCommas(file["rows"].get<int64_t>()),
                          HumanBytes(file["bytes"].get<int64_t>()), file["path"].get<std::string>(),
                          earlier ? fmt::format("  (spec {})", file["spec_id"].get<int32_t>()) : "");
      if (file.contains("deletes")) text += fmt::format("{:>29}{} delete files apply\n", "", file["deletes"].size());
    }
    if (!object["delete_files"].empty()) text += fmt::format("\n  {} delete files\n", object["delete_files"].size());
    for (const auto& file : object["delete_files"]) {
      text += fmt::format("  {:>10} rows {:>10}  {}, {}\n", WithCommas(file["rows"].get<int64_t>()),
                          HumanBytes(file["bytes"].get<int64_t>()), file["content"].get<std::string>(),
                          file["path"].get<std::string>());
    }
  }
  std::fputs(text.c_str(), stdout);
}

Result<int> DescribeTable(const Settings& settings, const std::string& name, bool files) {
  K2_ASSIGN(const auto lakehouse, OpenLakehouseToRead(settings));
  K2_ASSIGN(const table::Table table, lakehouse->Open(name));
  K2_ASSIGN(const ordered_json object, Describe(table, files));
  if (settings.Text("output") == "json") {
    std::printf("%s\n", object.dump(2).c_str());
  } else {
    PrintDescription(object);
  }
  return 0;
}

}  // namespace

void AddTables(Program& program) {
  CLI::App* command = AddCommand(program, kManageCommands, "tables", "List, describe, create and migrate tables");
  command->require_subcommand(0, 1);
  command->callback([&program, command] {
    if (command->get_subcommands().empty()) program.action = [&program] { return ListTables(program.settings); };
  });
  CLI::App* create = command->add_subcommand("create", "Create missing tables");
  create->callback([&program] { program.action = [&program] { return CreateTables(program.settings); }; });
  CLI::App* migrate = command->add_subcommand("migrate", "Give tables the columns, and their types, of this version");
  auto dry_run = std::make_shared<bool>(false);
  migrate->add_flag("--dry-run", *dry_run, "Only say what would be done: columns, rows, bytes and time");
  migrate->callback([&program, dry_run] {
    program.action = [&program, dry_run] { return MigrateTables(program.settings, *dry_run); };
  });
  CLI::App* describe =
      command->add_subcommand("describe", "Show schema, partitions, snapshots with their source offsets, files");
  auto name = std::make_shared<std::string>();
  auto files = std::make_shared<bool>(false);
  describe->add_option("table", *name, "Table, such as gold_crypto_trades")->required();
  describe->add_flag("--files", *files, "List the data files, too, and the delete files that apply to them");
  describe->callback([&program, name, files] {
    program.action = [&program, name, files] { return DescribeTable(program.settings, *name, *files); };
  });
  AddPlaces(program, *command);
  command->add_subcommand("definitions", "Print all tables and messages of this version as JSON, for other engines")
      ->callback([&program] { program.action = [] { return PrintTableDefinitions(); }; });
  command->footer(
      "Examples:\n  k2 tables\n  k2 tables create --warehouse lake\n  k2 tables describe gold_crypto_trades --files");
}

}  // namespace k2::cli
