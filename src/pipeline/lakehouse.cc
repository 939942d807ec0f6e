#include "pipeline/lakehouse.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <thread>

#include "base/log.h"
#include "base/similar.h"
#include "catalog/metadata_history.h"
#include "iceberg/metadata_folder.h"
#include "iceberg/transform.h"
#include "task/market_tables.h"
#include "trade/decoder.h"

namespace k2::pipeline {

Result<int> Lakehouse::CreateTables() {
  K2_TRY(catalog_->CreateNamespaceIfMissing(std::string(task::kNamespace)));
  int made = 0;
  for (const std::string& name : task::AllTables()) {
    const Result<catalog::TableState> state = catalog_->Load({std::string(task::kNamespace), name});
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

Result<task::TableFormat> Lakehouse::FormatOfNew(std::string_view table) const {
  if (!task::IsSilver(table) && table != task::kGoldTable) return task::TableFormat::kCurrent;
  for (const std::string& name : task::AllTables()) {
    if (!task::IsSilver(name) && name != task::kGoldTable) continue;
    const Result<catalog::TableState> state = catalog_->Load({std::string(task::kNamespace), name});
    if (state && task::FormatOf(name, *state->metadata) == task::TableFormat::kOlder) return task::TableFormat::kOlder;
    if (!state && state.error().kind != ErrorKind::kNotFound) return std::unexpected(state.error());
  }
  return task::TableFormat::kCurrent;
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
  const catalog::TableName table{std::string(task::kNamespace), name};
  K2_ASSIGN(const task::TableFormat format, FormatOfNew(name));
  K2_ASSIGN(const catalog::CreateTableRequest request, task::TableDefinition(name, format));
  if (const auto location = catalog_->LocationOfNew(table)) {
    const auto exists = [&] { return catalog_->TableExists(table); };
    K2_ASSIGN(const bool there, exists());
    const auto check = [&] { return there ? Status{} : catalog::CheckNoTableAt(*io_, table, *location + "/metadata"); };
    // Where the keys of the place come with the table only, it is looked at below.
    const Status free = CheckNoneIsLost(check, exists);
    if (!free && free.error().kind != ErrorKind::kPermission) return free;
  }
  const Result<catalog::TableState> created = catalog_->Create(table, request);
  if (!created && created.error().kind != ErrorKind::kAlreadyExists) return std::unexpected(created.error());
  K2_ASSIGN(table::Table opened, Open(name));
  // Another process may be making the same table: its first snapshot is as good as ours.
  if (opened.metadata().CurrentSnapshot() != nullptr) return {};
  const auto check = [&] {
    return catalog::CheckNoTableAt(*io_, table, iceberg::MetadataFolder(opened.metadata()),
                                   opened.metadata().table_uuid);
  };
  const auto has_snapshot = [&]() -> Result<bool> {
    K2_TRY(opened.Refresh());
    return opened.metadata().CurrentSnapshot() != nullptr;
  };
  K2_TRY(CheckNoneIsLost(check, has_snapshot));
  if (opened.metadata().CurrentSnapshot() != nullptr) return {};
  // Its columns by the ids that the catalog has given them.
  table::LayerCommit first;
  first.make_properties = [&](const iceberg::TableMetadata& head) { return task::MissingColumnsProperty(name, head); };
  const table::LayerCommitOutcome outcome = opened.Commit(std::move(first));
  if (std::holds_alternative<table::CommitDone>(outcome)) return {};
  K2_TRY(opened.Refresh());
  if (opened.metadata().CurrentSnapshot() != nullptr) return {};
  if (const auto* failed = std::get_if<table::NotCommitted>(&outcome)) return std::unexpected(failed->error());
  return std::unexpected(std::get<table::OutcomeUnknown>(outcome).error);
}

namespace {

// Once a process, of whichever table is opened first; `k2 doctor` names all.
void TellOlderFormat(const catalog::TableName& table) {
  static std::atomic<bool> told = false;
  if (told.exchange(true)) return;
  log::Warn(
      "the warehouse has an older format: prices and quantities are decimal(18,8), and values that do not fit are "
      "rejected. `k2 tables migrate` upgrades it; with --dry-run it reports rows and time",
      {{"table", table.ToString()}});
}

}  // namespace

Result<table::Table> Lakehouse::Open(std::string_view table) const {
  Result<table::Table> opened = table::Table::Load(catalog_, io_, {std::string(task::kNamespace), std::string(table)});
  if (opened) {
    if (keeps_history_) opened->KeepHistory();
    if (task::FormatOf(table, opened->metadata()) == task::TableFormat::kOlder) TellOlderFormat(opened->name());
    return opened;
  }
  if (opened.error().kind != ErrorKind::kNotFound) return std::unexpected(opened.error().OfTable(table));
  const auto displacement = catalog_->displacement();
  const std::vector<std::string> known = task::AllTables();
  const bool ours = std::ranges::find(known, table) != known.end();
  const Error missing{
      .kind = ErrorKind::kNotFound,
      .message = fmt::format("there is no table {}.{} in {}", task::kNamespace, table, catalog_->Describe()),
      .table = std::string(table),
      .hint = displacement ? displacement->Describe()
              : ours       ? "'k2 tables create' creates it"
                           : DidYouMean(table, known, "'k2 tables' lists the tables")};
  return std::unexpected(missing);
}

Result<table::Table> Lakehouse::OpenOrCreate(std::string_view table) const {
  Result<table::Table> opened = Open(table);
  const bool ready = opened && opened->metadata().CurrentSnapshot() != nullptr;
  if (ready || (!opened && opened.error().kind != ErrorKind::kNotFound)) return opened;
  K2_TRY(CreateTable(std::string(table)));
  return Open(table);
}

namespace {

bool NamesSourceOf(const exchange::Exchange& exchange, const table::LayerProgress& bronze) {
  return std::ranges::any_of(
      bronze.positions, [&](const auto& source) { return exchange::ExchangeOfTopic(source.first.topic) == &exchange; });
}

}  // namespace

Result<std::optional<table::Table>> Lakehouse::OpenSilver(const exchange::Exchange& exchange,
                                                          const table::LayerProgress& bronze) const {
  Result<table::Table> opened = Open(exchange.silver_table);
  if (opened) return std::optional(std::move(*opened));
  if (opened.error().kind == ErrorKind::kNotFound && !NamesSourceOf(exchange, bronze)) return std::nullopt;
  return std::unexpected(opened.error());
}

Result<std::vector<std::string>> Lakehouse::Tables() const {
  std::vector<std::string> names;
  std::optional<table::LayerProgress> bronze;
  for (std::string& name : task::AllTables()) {
    if (const exchange::Exchange* exchange = exchange::ExchangeBySilverTable(name)) {
      K2_ASSIGN(const bool there, catalog_->TableExists({std::string(task::kNamespace), name}));
      if (!there && !bronze) {
        const Result<table::Table> table = Open(task::kBronzeTable);
        const Result<table::LayerProgress> progress =
            table ? table::ReadProgress(table->metadata()) : std::unexpected(table.error());
        // Where Bronze says nothing all are listed: opening them tells what is wrong.
        if (!progress) return task::AllTables();
        bronze = *progress;
      }
      if (!there && !NamesSourceOf(*exchange, *bronze)) continue;
    }
    names.push_back(std::move(name));
  }
  K2_ASSIGN(const bool finished,
            catalog_->TableExists({std::string(task::kNamespace), std::string(task::kFinishedTable)}));
  if (finished) names.emplace_back(task::kFinishedTable);
  return names;
}

Result<task::TableShape> ShapeOf(const table::Table& table, task::TableUse use) {
  return ShapeOf(table.name().name, table.metadata(), use);
}

int32_t RulesOf(const table::Table& table) {
  const bool older = task::FormatOf(table.name().name, table.metadata()) == task::TableFormat::kOlder;
  return older ? trade::kRulesVersionOfOlderFormat : trade::kRulesVersion;
}

task::InputFile InputOf(const iceberg::TableMetadata& metadata, const table::ScanFile& file) {
  task::InputFile input{.path = file.file.file_path, .record_count = file.file.record_count, .deletes = file.deletes};
  for (auto& [id, value] : iceberg::IdentityValues(metadata, file.file)) {
    if (!file.file.value_counts.contains(id)) input.constants.emplace(id, value);
  }
  return input;
}

Result<task::OutputTable> OutputOf(const table::Table& table, task::TableUse use) {
  K2_ASSIGN(task::TableShape shape, ShapeOf(table, use));
  return task::OutputTable{.name = table.name().name,
                           .location = table.metadata().location,
                           .shape = std::move(shape),
                           .spec = table.metadata().DefaultSpec()};
}

}  // namespace k2::pipeline
