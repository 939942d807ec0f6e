#include "medallion/lakehouse.h"

#include "catalog/metadata_history.h"
#include "iceberg/metadata_folder.h"
#include "iceberg/transform.h"
#include "task/market_tables.h"

namespace k2 {

Result<int> Lakehouse::CreateTables() {
  K2_TRY(catalog_->CreateNamespaceIfMissing(std::string(kNamespace)));
  int made = 0;
  for (const std::string& name : AllTables()) {
    const Result<TableState> state = catalog_->Load({std::string(kNamespace), name});
    if (state) {
      if (state->metadata->CurrentSnapshot() != nullptr) continue;
    } else if (state.error().kind != ErrorKind::kNotFound) {
      return std::unexpected(state.error());
    } else {
      ++made;
    }
    K2_TRY(CreateTable(name));
  }
  return made;
}

Status Lakehouse::CreateTable(const std::string& name) const {
  const TableName table{std::string(kNamespace), name};
  K2_ASSIGN(const CreateTableRequest request, TableDefinition(name));
  if (const auto location = catalog_->LocationOfNew(table)) {
    K2_ASSIGN(const bool exists, catalog_->TableExists(table));
    // Where the keys of the place come with the table only, it is looked at below.
    const Status free = exists ? Status{} : CheckNoTableAt(*io_, table, *location + "/metadata");
    if (!free && free.error().kind != ErrorKind::kPermission) return free;
  }
  const Result<TableState> created = catalog_->Create(table, request);
  if (!created && created.error().kind != ErrorKind::kAlreadyExists) return std::unexpected(created.error());
  K2_ASSIGN(Table opened, Open(name));
  // Another process may be making the same table: its first snapshot is as good as ours.
  if (opened.metadata().CurrentSnapshot() != nullptr) return {};
  K2_TRY(CheckNoTableAt(*io_, table, iceberg::MetadataFolder(opened.metadata()), opened.metadata().table_uuid));
  // Its columns by the ids that the catalog has given them.
  LayerCommit first;
  first.make_properties = [&](const iceberg::TableMetadata& head) { return MissingColumnsProperty(name, head); };
  const LayerCommitOutcome outcome = opened.Commit(std::move(first));
  if (std::holds_alternative<CommitDone>(outcome)) return {};
  K2_TRY(opened.Refresh());
  if (opened.metadata().CurrentSnapshot() != nullptr) return {};
  if (const auto* failed = std::get_if<NotCommitted>(&outcome)) return std::unexpected(failed->error());
  return std::unexpected(std::get<OutcomeUnknown>(outcome).error);
}

Result<Table> Lakehouse::Open(std::string_view table) const {
  Result<Table> opened = Table::Load(catalog_, io_, {std::string(kNamespace), std::string(table)});
  if (opened) {
    if (keeps_history_) opened->KeepHistory();
    return opened;
  }
  if (opened.error().kind != ErrorKind::kNotFound) return std::unexpected(opened.error().OfTable(table));
  const auto displacement = catalog_->displacement();
  const Error missing{ErrorKind::kNotFound,
                      fmt::format("there is no table {}.{} in {}; {}", kNamespace, table, catalog_->Describe(),
                                  displacement ? displacement->Describe() : "`k2 tables create` makes it")};
  return std::unexpected(missing.OfTable(table));
}

Result<Table> Lakehouse::OpenOrCreate(std::string_view table) const {
  Result<Table> opened = Open(table);
  const bool ready = opened && opened->metadata().CurrentSnapshot() != nullptr;
  if (ready || (!opened && opened.error().kind != ErrorKind::kNotFound)) return opened;
  K2_TRY(CreateTable(std::string(table)));
  return Open(table);
}

Result<std::vector<std::string>> Lakehouse::Tables() const {
  std::vector<std::string> names = AllTables();
  K2_ASSIGN(const bool finished, catalog_->TableExists({std::string(kNamespace), std::string(kFinishedTable)}));
  if (finished) names.emplace_back(kFinishedTable);
  return names;
}

Result<TableShape> ShapeOf(const Table& table, TableUse use) {
  return ShapeOf(table.name().name, table.metadata(), use);
}

InputFile InputOf(const iceberg::TableMetadata& metadata, const ScanFile& file) {
  InputFile input{.path = file.file.file_path, .record_count = file.file.record_count, .deletes = file.deletes};
  for (auto& [id, value] : iceberg::IdentityValues(metadata, file.file)) {
    if (!file.file.value_counts.contains(id)) input.constants.emplace(id, value);
  }
  return input;
}

Result<OutputTable> OutputOf(const Table& table, TableUse use) {
  K2_ASSIGN(TableShape shape, ShapeOf(table, use));
  return OutputTable{.name = table.name().name,
                     .location = table.metadata().location,
                     .shape = std::move(shape),
                     .spec = table.metadata().DefaultSpec()};
}

}  // namespace k2
