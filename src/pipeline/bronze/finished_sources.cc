#include "pipeline/bronze/finished_sources.h"

#include <algorithm>
#include <limits>

#include "table/scan.h"
#include "task/market_tables.h"

namespace k2::pipeline {
namespace {

Error FinishedLost(const table::Table& table, std::string_view why) {
  return {ErrorKind::kOffsetMismatch,
          fmt::format("{} keeps the end positions of finished recordings in the table {}.{}, but that table {}: K2 "
                      "cannot tell whether a recording was already read. Restore it (`k2 tables recover`, if its files "
                      "still exist), or treat finished recordings as new with `k2 offsets set --table {} "
                      "--accept-loss`: if they are read again, their rows are duplicated",
                      table.name().ToString(), task::kNamespace, task::kFinishedTable, why, table.name().name)};
}

bool Counts(const table::FinishedMark& mark, int64_t generation) {
  if (generation > mark.generation) return false;
  return std::ranges::none_of(
      mark.without, [&](const auto& range) { return generation >= range.first && generation <= range.second; });
}

}  // namespace

FinishedSources::Known& FinishedSources::KnownOf(const table::Table& table, const table::FinishedMark& mark) {
  Known& known = known_[table.metadata().table_uuid];
  if (known.mark != mark) known = {.mark = mark, .positions = {}, .all = false};
  return known;
}

Status FinishedSources::Check(const table::Table& table, const table::LayerProgress& progress) {
  const table::FinishedMark& mark = progress.finished;
  if (mark.generation == 0) return {};
  for (const bool fresh : {false, true}) {
    if (fresh || !finished_) {
      Result<table::Table> opened = lakehouse_.Open(task::kFinishedTable);
      if (!opened && opened.error().kind == ErrorKind::kNotFound) {
        return std::unexpected(FinishedLost(table, "does not exist"));
      }
      if (!opened) return std::unexpected(opened.error());
      finished_ = std::move(*opened);
    }
    K2_ASSIGN(const table::LayerProgress own, table::ReadProgress(finished_->metadata()));
    const bool same = finished_->metadata().table_uuid == mark.table_uuid;
    if (same && own.finished.generation >= mark.generation) return {};
    if (fresh) return std::unexpected(FinishedLost(table, same ? "was rolled back" : "was replaced by another table"));
  }
  return {};
}

Status FinishedSources::Read(const table::Table& table, const table::FinishedMark& mark,
                             const std::set<table::SourceKey>* keys, Known& known) {
  std::pair<int64_t, int64_t> prefixes = {0, std::numeric_limits<int64_t>::max()};
  if (keys != nullptr) {
    prefixes = {std::numeric_limits<int64_t>::max(), 0};
    for (const table::SourceKey& key : *keys) {
      const int64_t prefix = *task::HashPrefixOf(key);
      prefixes = {std::min(prefixes.first, prefix), std::max(prefixes.second, prefix)};
    }
  }
  const iceberg::TableMetadata& metadata = finished_->metadata();
  K2_ASSIGN(const task::TableShape shape, ShapeOf(*finished_, task::TableUse::kRead));
  const int32_t field_id = shape.columns.at("hash_prefix");
  const std::vector<iceberg::ColumnPredicate> conjuncts = {
      {.field_id = field_id, .op = iceberg::CompareOp::kGe, .values = {prefixes.first}},
      {.field_id = field_id, .op = iceberg::CompareOp::kLe, .values = {prefixes.second}}};
  K2_ASSIGN(const std::vector<table::ScanFile> files,
            table::PlanScan(finished_->io(), metadata, metadata.current_snapshot_id.value_or(0), conjuncts));
  std::map<table::SourceKey, int64_t> newest;
  const std::string& uuid = table.metadata().table_uuid;
  const auto take = [&](task::FinishedRow row) {
    if (row.table_uuid != uuid || !Counts(mark, row.generation)) return;
    const table::SourceKey key = row.Key();
    if (keys != nullptr && !keys->contains(key)) return;
    const auto [at, first] = newest.emplace(key, row.generation);
    if (!first && at->second > row.generation) return;
    at->second = row.generation;
    known.positions[key] = std::move(row.at);
  };
  for (const table::ScanFile& file : files) {
    K2_TRY(task::ReadFinishedRows(finished_->io(), file.file.file_path, shape, prefixes, take));
  }
  return {};
}

Result<table::SourcePositions> FinishedSources::Find(const table::Table& table, const table::LayerProgress& progress,
                                                     const std::vector<table::SourceKey>& keys) {
  table::SourcePositions found;
  if (progress.finished.generation == 0) return found;
  Known& known = KnownOf(table, progress.finished);
  std::set<table::SourceKey> asked;
  for (const table::SourceKey& key : keys) {
    if (progress.positions.contains(key) || !task::HashPrefixOf(key)) continue;
    if (!known.all && !known.positions.contains(key)) asked.insert(key);
  }
  if (!asked.empty()) {
    K2_TRY(Check(table, progress));
    K2_TRY(Read(table, progress.finished, &asked, known));
    for (const table::SourceKey& key : asked) known.positions.try_emplace(key, std::nullopt);
  }
  for (const table::SourceKey& key : keys) {
    const auto at = known.positions.find(key);
    if (!progress.positions.contains(key) && at != known.positions.end() && at->second) found[key] = *at->second;
  }
  return found;
}

Result<table::SourcePositions> FinishedSources::All(const table::Table& table, const table::LayerProgress& progress) {
  table::SourcePositions found;
  if (progress.finished.generation == 0) return found;
  Known& known = KnownOf(table, progress.finished);
  if (!known.all) {
    K2_TRY(Check(table, progress));
    known.positions.clear();
    K2_TRY(Read(table, progress.finished, nullptr, known));
    known.all = true;
  }
  for (const auto& [key, at] : known.positions) {
    if (at && !progress.positions.contains(key)) found.emplace(key, *at);
  }
  return found;
}

}  // namespace k2::pipeline
