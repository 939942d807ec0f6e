#include "medallion/lakehouse.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "base/log.h"
#include "catalog/metadata_history.h"
#include "iceberg/metadata_folder.h"
#include "iceberg/transform.h"
#include "task/market_tables.h"
#include "trade/decoder.h"

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

Result<TableFormat> Lakehouse::FormatOfNew(std::string_view table) const {
  if (!IsSilver(table) && table != kGoldTable) return TableFormat::kCurrent;
  for (const std::string& name : AllTables()) {
    if (!IsSilver(name) && name != kGoldTable) continue;
    const Result<TableState> state = catalog_->Load({std::string(kNamespace), name});
    if (state && FormatOf(name, *state->metadata) == TableFormat::kOlder) return TableFormat::kOlder;
    if (!state && state.error().kind != ErrorKind::kNotFound) return std::unexpected(state.error());
  }
  return TableFormat::kCurrent;
}

namespace {

// Another process that makes the same table may be about to write a file of it, which is no sign of a table that the
// catalog has lost. `made`: whether it has been made by now.
Status CheckNoneIsLost(const std::function<Status()>& check, const std::function<Result<bool>()>& made) {
  constexpr int kLooks = 20;
  constexpr std::chrono::milliseconds kBetween{25};
  for (int looks = 1;; ++looks) {
    Status none = check();
    if (none || none.error().kind == ErrorKind::kPermission) return none;
    K2_ASSIGN(const bool by_now, made());
    if (by_now) return {};
    if (looks == kLooks) return none;
    std::this_thread::sleep_for(kBetween);
  }
}

}  // namespace

Status Lakehouse::CreateTable(const std::string& name) const {
  const TableName table{std::string(kNamespace), name};
  K2_ASSIGN(const TableFormat format, FormatOfNew(name));
  K2_ASSIGN(const CreateTableRequest request, TableDefinition(name, format));
  if (const auto location = catalog_->LocationOfNew(table)) {
    const auto exists = [&] { return catalog_->TableExists(table); };
    K2_ASSIGN(const bool there, exists());
    const auto check = [&] { return there ? Status{} : CheckNoTableAt(*io_, table, *location + "/metadata"); };
    // Where the keys of the place come with the table only, it is looked at below.
    const Status free = CheckNoneIsLost(check, exists);
    if (!free && free.error().kind != ErrorKind::kPermission) return free;
  }
  const Result<TableState> created = catalog_->Create(table, request);
  if (!created && created.error().kind != ErrorKind::kAlreadyExists) return std::unexpected(created.error());
  K2_ASSIGN(Table opened, Open(name));
  // Another process may be making the same table: its first snapshot is as good as ours.
  if (opened.metadata().CurrentSnapshot() != nullptr) return {};
  const auto check = [&] {
    return CheckNoTableAt(*io_, table, iceberg::MetadataFolder(opened.metadata()), opened.metadata().table_uuid);
  };
  const auto has_snapshot = [&]() -> Result<bool> {
    K2_TRY(opened.Refresh());
    return opened.metadata().CurrentSnapshot() != nullptr;
  };
  K2_TRY(CheckNoneIsLost(check, has_snapshot));
  if (opened.metadata().CurrentSnapshot() != nullptr) return {};
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

namespace {

// Once a process, of whichever table is opened first; `k2 doctor` names all.
void TellOlderFormat(const TableName& table) {
  static std::atomic<bool> told = false;
  if (told.exchange(true)) return;
  log::Warn(
      "the warehouse is of an older format: prices and quantities are decimal(18,8), and what that cannot hold is "
      "rejected. `k2 tables migrate` changes it; with --dry-run it tells rows and time",
      {{"table", table.ToString()}});
}

}  // namespace

Result<Table> Lakehouse::Open(std::string_view table) const {
  Result<Table> opened = Table::Load(catalog_, io_, {std::string(kNamespace), std::string(table)});
  if (opened) {
    if (keeps_history_) opened->KeepHistory();
    if (FormatOf(table, opened->metadata()) == TableFormat::kOlder) TellOlderFormat(opened->name());
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

namespace {

bool NamesSourceOf(const Exchange& exchange, const LayerProgress& bronze) {
  return std::ranges::any_of(bronze.positions,
                             [&](const auto& source) { return ExchangeOfTopic(source.first.topic) == &exchange; });
}

}  // namespace

Result<std::optional<Table>> Lakehouse::OpenSilver(const Exchange& exchange, const LayerProgress& bronze) const {
  Result<Table> opened = Open(exchange.silver_table);
  if (opened) return std::optional(std::move(*opened));
  if (opened.error().kind == ErrorKind::kNotFound && !NamesSourceOf(exchange, bronze)) return std::nullopt;
  return std::unexpected(opened.error());
}

Result<std::vector<std::string>> Lakehouse::Tables() const {
  std::vector<std::string> names;
  std::optional<LayerProgress> bronze;
  for (std::string& name : AllTables()) {
    if (const Exchange* exchange = ExchangeBySilverTable(name)) {
      K2_ASSIGN(const bool there, catalog_->TableExists({std::string(kNamespace), name}));
      if (!there && !bronze) {
        const Result<Table> table = Open(kBronzeTable);
        const Result<LayerProgress> progress = table ? ReadProgress(table->metadata()) : std::unexpected(table.error());
        // Where Bronze says nothing all are listed: opening them tells what is wrong.
        if (!progress) return AllTables();
        bronze = *progress;
      }
      if (!there && !NamesSourceOf(*exchange, *bronze)) continue;
    }
    names.push_back(std::move(name));
  }
  K2_ASSIGN(const bool finished, catalog_->TableExists({std::string(kNamespace), std::string(kFinishedTable)}));
  if (finished) names.emplace_back(kFinishedTable);
  return names;
}

Result<TableShape> ShapeOf(const Table& table, TableUse use) {
  return ShapeOf(table.name().name, table.metadata(), use);
}

int32_t RulesOf(const Table& table) {
  const bool older = FormatOf(table.name().name, table.metadata()) == TableFormat::kOlder;
  return older ? kRulesVersionOfOlderFormat : kRulesVersion;
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
