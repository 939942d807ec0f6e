#include "maintenance/migrate.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "base/uuid.h"
#include "iceberg/name_mapping.h"
#include "table/scan.h"
#include "task/market_tables.h"

namespace k2::maintenance {
namespace {

using iceberg::NestedField;
using iceberg::TableMetadata;
using iceberg::TableUpdate;

// What makes a table's columns those of this version.
struct SchemaChange {
  std::vector<std::string> changes;  // in words
  std::vector<TableUpdate> updates;
  task::TableShape shape;  // after them
  bool rewrites = false;   // the files do not have the columns
};

// A specification that names the column would name nothing.
Status CheckNotUsed(const std::string& table, const TableMetadata& metadata, const NestedField& field) {
  const auto fail = [&](std::string_view how) {
    return Fail(ErrorKind::kUnsupported,
                "{}.{} is {} {}, whose type `k2 tables migrate` has to change: remove that first", task::kNamespace,
                table, how, field.name);
  };
  // Earlier ones too: they stay in the metadata, and would speak of a column that no schema has.
  for (const iceberg::PartitionSpec& spec : metadata.partition_specs) {
    for (const iceberg::PartitionField& by : spec.fields) {
      if (by.source_id == field.id) return fail("partitioned, or was, by");
    }
  }
  for (const iceberg::SortOrder& order : metadata.sort_orders) {
    for (const iceberg::SortField& by : order.fields) {
      if (by.source_id == field.id) return fail("sorted, or was, by");
    }
  }
  const std::vector<int32_t>& identifiers = metadata.CurrentSchema().identifier_field_ids;
  return std::ranges::find(identifiers, field.id) == identifiers.end() ? Status{} : fail("identified by");
}

// The mapping of names to ids, for files that importers may still add.
void MapNames(const std::map<int32_t, int32_t>& new_ids, nlohmann::json& mapping) {
  for (nlohmann::json& field : mapping) {
    const auto id = field.find("field-id");
    if (id == field.end() || !id->is_number_integer()) continue;
    if (const auto found = new_ids.find(id->get<int32_t>()); found != new_ids.end()) *id = found->second;
  }
}

Result<SchemaChange> ChangeOf(const std::string& name, const TableMetadata& metadata) {
  K2_ASSIGN(const catalog::CreateTableRequest definition, task::TableDefinition(name));
  SchemaChange change;
  iceberg::Schema schema = metadata.CurrentSchema();
  K2_ASSIGN(task::ColumnIds columns, task::ColumnsOf(name, metadata));
  int32_t last = metadata.last_column_id;
  bool changed = false;
  std::map<int32_t, int32_t> new_ids;
  for (NestedField own : definition.schema.fields) {
    int32_t& id = columns[own.name];
    auto known = std::ranges::find(schema.fields, id, &NestedField::id);
    if (known == schema.fields.end()) known = std::ranges::find(schema.fields, own.name, &NestedField::name);
    if (known == schema.fields.end()) {
      change.changes.push_back("added column " + own.name);
      changed = true;
      own.required = false;  // files that are there hold no values of it
      last = task::NumberFields({&own, 1}, last);
      id = own.id;
      schema.fields.push_back(std::move(own));
      continue;
    }
    if (task::IsOfOlderFormat(known->type, own)) {
      K2_TRY(CheckNotUsed(name, metadata, *known));
      change.changes.push_back(
          fmt::format("column {} is {}, was {}", known->name, own.type.ToString(), known->type.ToString()));
      changed = change.rewrites = true;
      new_ids[known->id] = ++last;
      known->id = id = last;
      known->type = own.type;
      known->initial_default.clear();
      known->write_default.clear();
      continue;
    }
    if (!task::HoldsValuesOf(known->type, own.type)) {
      return Fail(ErrorKind::kUnsupported, "{}.{}.{} has type {}, this k2 writes {}: rename or drop the column first",
                  task::kNamespace, name, known->name, known->type.ToString(), own.type.ToString());
    }
    if (known->id == id) continue;
    change.changes.push_back("took up column " + own.name);
    id = known->id;
  }
  schema.schema_id = -1;
  if (changed) change.updates = {iceberg::AddSchema{schema, last}, iceberg::SetCurrentSchema{-1}};
  std::map<std::string, std::string> properties;
  const auto set = [&](const std::string& key, std::string text) {
    const auto written = metadata.properties.find(key);
    if (written == metadata.properties.end() || written->second != text) properties[key] = std::move(text);
  };
  set(std::string(task::kColumnsProperty), task::ColumnsToJson(columns));
  for (const auto& [key, value] : definition.properties) {
    if (key.starts_with("write.metadata.metrics.column.") && !metadata.properties.contains(key)) set(key, value);
  }
  change.shape = {.schema = std::move(schema), .columns = std::move(columns), .name_mapping = {}};
  const std::string mapping_key(iceberg::kNameMappingProperty);
  if (const auto mapping = metadata.properties.find(mapping_key); mapping != metadata.properties.end()) {
    auto json = nlohmann::json::parse(mapping->second, nullptr, /*allow_exceptions=*/false);
    if (json.is_array() && !new_ids.empty()) {
      MapNames(new_ids, json);
      set(mapping_key, json.dump());
    }
  }
  if (!properties.empty()) change.updates.emplace_back(iceberg::SetProperties{std::move(properties)});
  return change;
}

// Files that were written again, and what for.
struct Rewritten {
  std::vector<table::ScanFile> inputs;
  std::vector<iceberg::DataFile> outputs;
};

bool HasSameDeletes(const table::ScanFile& a, const table::ScanFile& b) {
  return std::ranges::equal(
      a.deletes, b.deletes, {}, [](const auto& file) { return file->path; },
      [](const auto& file) { return file->path; });
}

class Rewrite {
 public:
  Rewrite(table::Table& table, const CompactionPolicy& policy, const CompactionRun& run)
      : table_(table), policy_(policy), run_(run) {}

  Result<Migration> Run() {
    constexpr int kAttempts = 50;
    Error last{ErrorKind::kConflict, ""};
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      if (run_.stop.stop_requested()) return Fail(ErrorKind::kCancelled, "stopped; nothing was changed");
      if (AgeMicros(begun_) > kAttemptAgeMaxUs) {
        return Fail(ErrorKind::kUnsupported,
                    "cannot rewrite {} within {} hours, after which its new files may be removed as orphan files: "
                    "nothing was changed. Use more threads, or a machine closer to the storage",
                    table_.name().name, kAttemptAgeMaxUs / kMicrosPerHour);
      }
      if (attempt > 0) K2_TRY(table_.Refresh());
      K2_ASSIGN(SchemaChange change, ChangeOf(table_.name().name, table_.metadata()));
      // Another one was faster.
      if (change.updates.empty()) return Migration{};
      const Result<Migration> done = change.rewrites ? Try(std::move(change)) : Update();
      // A file that is gone was compacted, or expired, since the head was read.
      const bool raced =
          !done && (done.error().kind == ErrorKind::kConflict || done.error().kind == ErrorKind::kNotFound);
      if (!raced) return done;
      last = done.error();
    }
    return std::unexpected(last.With(
        fmt::format("{}: concurrent writers changed the table in each of {} attempts; stop them during the migration",
                    table_.name().name, kAttempts)));
  }

 private:
  Result<Migration> Update() {
    SchemaChange change;
    K2_TRY(table_.Update([&](const TableMetadata& metadata) -> Result<std::vector<TableUpdate>> {
      K2_ASSIGN(change, ChangeOf(table_.name().name, metadata));
      if (change.rewrites) return Fail(ErrorKind::kConflict, "the table's columns were changed concurrently");
      return change.updates;
    }));
    return Migration{.changes = std::move(change.changes)};
  }

  // Writes again what was not yet, and commits.
  Result<Migration> Try(SchemaChange change) {
    const TableMetadata& metadata = table_.metadata();
    const int64_t snapshot = metadata.current_snapshot_id.value_or(0);
    std::vector<table::ScanFile> live;
    if (metadata.current_snapshot_id) {
      K2_ASSIGN(live, table::PlanScan(table_.io(), metadata, snapshot, {}));
    }
    // Files that were written for other field ids, before somebody changed the columns, are of no use.
    if (!(change.shape == written_for_)) done_.clear();
    written_for_ = change.shape;
    std::vector<table::ScanFile> fresh = WithoutDone(live);
    K2_TRY(WriteAgain(std::move(fresh), change));
    table::LayerCommit commit;
    commit.operation = "replace";
    commit.begun = begun_;
    commit.planned_sequence = table::SequenceOf(metadata, snapshot);
    Migration migration{.changes = std::move(change.changes), .rewrites = true};
    for (const Rewritten& group : done_) {
      for (const table::ScanFile& input : group.inputs) {
        commit.removed.push_back(pipeline::WithoutMetrics(input.file));
        migration.bytes += input.file.file_size_in_bytes;
      }
      for (const iceberg::DataFile& output : group.outputs) {
        commit.added.push_back(output);
        migration.rows += output.record_count;
      }
    }
    migration.files = static_cast<int64_t>(commit.removed.size());
    const int32_t schema = metadata.current_schema_id;
    const std::optional<int64_t> planned_on = metadata.current_snapshot_id;
    commit.make_schema = [&](const TableMetadata& head) -> Result<std::vector<TableUpdate>> {
      if (head.current_schema_id != schema || head.current_snapshot_id != planned_on) {
        return Fail(ErrorKind::kConflict, "the table was changed concurrently");
      }
      K2_ASSIGN(SchemaChange again, ChangeOf(table_.name().name, head));
      if (!(again.shape == written_for_)) return Fail(ErrorKind::kConflict, "the columns were changed concurrently");
      return std::move(again.updates);
    };
    // Files and deletes that came meanwhile are of the columns of before: what is not of this head is planned again.
    table::CommitPolicy once = run_.commit;
    once.max_attempts = 1;
    const table::LayerCommitOutcome outcome = table_.Commit(std::move(commit), once);
    if (std::holds_alternative<table::CommitDone>(outcome)) return migration;
    if (const auto* unknown = std::get_if<table::OutcomeUnknown>(&outcome)) {
      return std::unexpected(
          unknown->error.With("unknown commit outcome: the table may or may not be migrated; run the migration again"));
    }
    return std::unexpected(std::get<table::NotCommitted>(outcome).error());
  }

  // What is live and not among what is done; of what is done only the groups stay whose files all are live still.
  std::vector<table::ScanFile> WithoutDone(const std::vector<table::ScanFile>& live) {
    std::map<std::string_view, const table::ScanFile*> by_path;
    for (const table::ScanFile& file : live) by_path[file.file.file_path] = &file;
    std::erase_if(done_, [&](const Rewritten& group) {
      return !std::ranges::all_of(group.inputs, [&](const table::ScanFile& input) {
        const auto found = by_path.find(input.file.file_path);
        return found != by_path.end() && HasSameDeletes(input, *found->second);
      });
    });
    std::set<std::string_view> done;
    for (const Rewritten& group : done_) {
      for (const table::ScanFile& input : group.inputs) done.insert(input.file.file_path);
    }
    std::vector<table::ScanFile> fresh;
    for (const table::ScanFile& file : live) {
      if (!done.contains(file.file.file_path)) fresh.push_back(file);
    }
    return fresh;
  }

  Status WriteAgain(std::vector<table::ScanFile> files, const SchemaChange& change) {
    if (files.empty()) return {};
    K2_ASSIGN(task::OutputTable output, pipeline::OutputOf(table_, task::TableUse::kRead));
    const task::TableShape before = std::exchange(output.shape, change.shape);
    std::vector<std::vector<table::ScanFile>> groups = RewriteGroups(table_, std::move(files), policy_);
    std::vector<task::Task> tasks;
    for (const std::vector<table::ScanFile>& group : groups) {
      task::CompactionTask task{.inputs = {}, .input_shape = before, .output = output, .attempt_id = RandomHex64()};
      for (const table::ScanFile& file : group) task.inputs.push_back(pipeline::InputOf(table_.metadata(), file));
      tasks.emplace_back(std::move(task));
    }
    const task::TaskContext context{.io = table_.io_ptr(), .schemas = nullptr};
    K2_ASSIGN(const std::vector<task::TaskResult> results,
              pipeline::RunTasks(tasks, std::vector<task::TaskContext>(tasks.size(), context), run_.threads));
    for (size_t i = 0; i < groups.size(); ++i) {
      const task::TableFiles* written = results[i].Find(table_.name().name);
      done_.push_back({.inputs = std::move(groups[i]),
                       .outputs = written == nullptr ? std::vector<iceberg::DataFile>{} : written->files});
    }
    return {};
  }

  table::Table& table_;
  const CompactionPolicy& policy_;
  const CompactionRun& run_;
  const StartTime begun_ = StartTime::Now();
  std::vector<Rewritten> done_;
  task::TableShape written_for_{};  // the columns of their outputs
};

}  // namespace

Result<Migration> PlanMigration(const table::Table& table) {
  K2_ASSIGN(SchemaChange change, ChangeOf(table.name().name, table.metadata()));
  Migration migration{.changes = std::move(change.changes), .rewrites = change.rewrites};
  if (!change.rewrites || !table.metadata().current_snapshot_id) return migration;
  K2_ASSIGN(const std::vector<table::ScanFile> live,
            table::PlanScan(table.io(), table.metadata(), *table.metadata().current_snapshot_id, {}));
  migration.files = static_cast<int64_t>(live.size());
  for (const table::ScanFile& file : live) {
    migration.rows += file.file.record_count;
    migration.bytes += file.file.file_size_in_bytes;
  }
  return migration;
}

Result<Migration> Migrate(const pipeline::Lakehouse& lakehouse, std::string_view name, const CompactionPolicy& policy,
                          const CompactionRun& run) {
  K2_ASSIGN(table::Table table, lakehouse.Open(name));
  return Rewrite(table, policy, run).Run();
}

std::vector<std::string> MigrationOrder() {
  std::vector<std::string> tables = task::AllTables();
  std::ranges::reverse(tables);
  return tables;
}

}  // namespace k2::maintenance
