// Finished recordings out of the documents, into finished_sources.
#include <algorithm>
#include <set>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/time.h"
#include "pipeline/bronze/finished_sources.h"
#include "table/dropped_unread.h"
#include "table/scan.h"
#include "task/market_tables.h"

namespace k2::pipeline {
namespace {

// A table whose document names recordings.
struct ArchivedTable {
  table::Table table;
  table::LayerProgress progress;
};

size_t RecordingsIn(const table::LayerProgress& progress) {
  return static_cast<size_t>(std::ranges::count_if(
      progress.positions, [](const auto& source) { return task::HashPrefixOf(source.first).has_value(); }));
}

// The mark of a table that takes generation `next` over. Rows of generations in between were written and not taken
// over: by a process that died, or before the table was rolled back or made.
table::FinishedMark TakeOver(table::FinishedMark mark, const std::string& uuid, int64_t next) {
  if (next > mark.generation + 1) {
    const std::pair<int64_t, int64_t> skipped{mark.generation + 1, next - 1};
    if (!mark.without.empty() && mark.without.back().second + 1 == skipped.first) {
      mark.without.back().second = skipped.second;
    } else {
      mark.without.push_back(skipped);
    }
  }
  mark.table_uuid = uuid;
  mark.generation = next;
  return mark;
}

// One round.
class ArchiveRound {
 public:
  ArchiveRound(const Lakehouse& lakehouse, const ArchivePolicy& policy)
      : lakehouse_(lakehouse), policy_(policy), finished_(lakehouse) {}

  Result<int64_t> Run() {
    K2_TRY(Load());
    const bool many = std::ranges::any_of(
        tables_, [&](const ArchivedTable& one) { return RecordingsIn(one.progress) > policy_.recordings_max; });
    if (!many) return 0;
    for (const ArchivedTable& one : tables_) K2_TRY(finished_.Check(one.table, one.progress));
    for (size_t i = 0; i < exchange::Exchanges().size(); ++i) {
      K2_ASSIGN(const bool level, SilverHasFinished(i));
      if (!level) return 0;  // Silver reads them first
    }
    K2_TRY(Choose());
    if (chosen_.size() * 2 < policy_.recordings_max) return 0;  // a round for a few at a time is not worth its commits
    K2_TRY(WriteRows());
    Failpoint("finished.written");
    for (ArchivedTable& one : tables_) {
      K2_TRY(Drop(one));
      Failpoint("finished.dropped");
    }
    K2_TRY(DropFromGold());
    return static_cast<int64_t>(chosen_.size());
  }

 private:
  ArchivedTable& Bronze() { return tables_[0]; }
  ArchivedTable& Rejected() { return tables_[1]; }
  ArchivedTable& Silver(size_t exchange) { return tables_[2 + exchange]; }

  // In the order in which they drop them: Bronze first, for Silver plans by what Bronze names.
  Status Load() {
    std::vector<std::string> names = {std::string(task::kBronzeTable), std::string(task::kRejectedTable)};
    for (const exchange::Exchange* exchange : exchange::Exchanges()) names.emplace_back(exchange->silver_table);
    for (const std::string& name : names) {
      K2_ASSIGN(table::Table table, task::IsSilver(name) ? lakehouse_.OpenOrCreate(name) : lakehouse_.Open(name));
      K2_ASSIGN(table::LayerProgress progress, table::ReadProgress(table.metadata()));
      tables_.push_back({std::move(table), std::move(progress)});
    }
    return {};
  }

  static int64_t OffsetIn(const ArchivedTable& one, const table::SourcePositions& finished,
                          const table::SourceKey& key) {
    for (const table::SourcePositions* positions : {&one.progress.positions, &finished}) {
      if (const auto found = positions->find(key); found != positions->end()) return found->second.next_offset;
    }
    return 0;
  }

  // Whether a Silver table has all of what has left Bronze's document. Tables of the same generation have: a round
  // gives it to all of them, after this question.
  Result<bool> SilverHasFinished(size_t exchange) {
    const ArchivedTable& silver = Silver(exchange);
    if (silver.progress.finished.generation == Bronze().progress.finished.generation) return true;
    K2_ASSIGN(const table::SourcePositions bronze, finished_.All(Bronze().table, Bronze().progress));
    K2_ASSIGN(const table::SourcePositions own, finished_.All(silver.table, silver.progress));
    return std::ranges::all_of(bronze, [&](const auto& source) {
      return exchange::ExchangeOfTopic(source.first.topic) != exchange::Exchanges()[exchange] ||
             OffsetIn(silver, own, source.first) >= source.second.next_offset;
    });
  }

  Status Choose() {
    K2_ASSIGN(const std::optional<table::DroppedUnread> dropped, table::ReadDroppedUnread(Bronze().table.metadata()));
    std::vector<table::SourceKey> keys;
    for (const ArchivedTable& one : tables_) {
      for (const auto& [key, position] : one.progress.positions) {
        if (task::HashPrefixOf(key) && exchange::ExchangeOfTopic(key.topic) != nullptr) keys.push_back(key);
      }
    }
    K2_ASSIGN(const table::SourcePositions of_bronze, finished_.Find(Bronze().table, Bronze().progress, keys));
    std::vector<table::SourcePositions> of_silver;
    for (size_t i = 0; i < exchange::Exchanges().size(); ++i) {
      K2_ASSIGN(of_silver.emplace_back(), finished_.Find(Silver(i).table, Silver(i).progress, keys));
    }
    for (const table::SourceKey& key : keys) {
      if (dropped && dropped->gaps.contains(key)) continue;
      const auto exchange = exchange::IndexOf(*exchange::ExchangeOfTopic(key.topic));
      const int64_t silver = OffsetIn(Silver(exchange), of_silver[exchange], key);
      if (OffsetIn(Rejected(), {}, key) > silver) continue;
      const auto in_bronze = Bronze().progress.positions.find(key);
      const bool known = in_bronze != Bronze().progress.positions.end() || of_bronze.contains(key);
      if (known && OffsetIn(Bronze(), of_bronze, key) != silver) continue;
      if (policy_.unmoved_since != nullptr && in_bronze != Bronze().progress.positions.end()) {
        const auto before = policy_.unmoved_since->find(key);
        if (before == policy_.unmoved_since->end() || before->second != in_bronze->second) continue;
      }
      chosen_.insert(key);
    }
    return {};
  }

  // Small files are joined with the new rows: their sizes stay a row of powers of two.
  Status WriteRows() {
    K2_ASSIGN(table::Table table, lakehouse_.OpenOrCreate(task::kFinishedTable));
    const iceberg::TableMetadata& metadata = table.metadata();
    K2_ASSIGN(const table::LayerProgress own, table::ReadProgress(metadata));
    uuid_ = metadata.table_uuid;
    K2_ASSIGN(const task::OutputTable output, OutputOf(table));
    generation_ = own.finished.generation + 1;
    std::vector<task::FinishedRow> rows;
    for (const ArchivedTable& one : tables_) {
      for (const auto& [key, position] : one.progress.positions) {
        if (!chosen_.contains(key)) continue;
        rows.push_back({.hash_prefix = *task::HashPrefixOf(key),
                        .table_name = one.table.name().name,
                        .table_uuid = one.table.metadata().table_uuid,
                        .topic = key.topic,
                        .at = position,
                        .generation = generation_,
                        .finished_at_us = NowMicros()});
      }
    }
    K2_ASSIGN(std::vector<table::ScanFile> files,
              table::PlanScan(table.io(), metadata, metadata.current_snapshot_id.value_or(0), {}));
    std::ranges::sort(files, {}, [](const table::ScanFile& file) { return file.file.record_count; });
    table::LayerCommit commit;
    auto joined = static_cast<int64_t>(rows.size());
    for (const table::ScanFile& file : files) {
      if (file.file.record_count > 2 * joined) break;
      K2_TRY(task::ReadFinishedRows(table.io(), file.file.file_path, output.shape,
                                    {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()},
                                    [&](task::FinishedRow row) { rows.push_back(std::move(row)); }));
      joined += file.file.record_count;
      commit.removed.push_back(file.file);
    }
    if (!rows.empty()) {
      K2_ASSIGN(commit.added, task::WriteFinishedRows(output, table.io_ptr(), std::move(rows)));
    }
    if (!commit.removed.empty()) commit.operation = "overwrite";
    commit.base = own;
    commit.next.finished = {.table_uuid = uuid_, .generation = generation_, .without = {}};
    const std::vector<iceberg::DataFile> added = commit.added;
    const table::LayerCommitOutcome outcome = table.Commit(std::move(commit), policy_.commit);
    if (const auto* failed = std::get_if<table::NotCommitted>(&outcome)) table.DeleteUncommitted(*failed, added);
    return StatusOf(outcome);
  }

  static Status StatusOf(const table::LayerCommitOutcome& outcome) {
    if (const auto* failed = std::get_if<table::NotCommitted>(&outcome)) return std::unexpected(failed->error());
    if (const auto* unknown = std::get_if<table::OutcomeUnknown>(&outcome)) return std::unexpected(unknown->error);
    return {};
  }

  Status Drop(ArchivedTable& one) {
    table::LayerCommit commit;
    commit.operation = "replace";  // no rows, and none that anybody would have to look at
    commit.base.finished = one.progress.finished;
    commit.next.finished = TakeOver(one.progress.finished, uuid_, generation_);
    for (const auto& [key, position] : one.progress.positions) {
      if (!chosen_.contains(key)) continue;
      commit.base.positions[key] = position;
      commit.drop.push_back(key);
    }
    return StatusOf(one.table.Commit(std::move(commit), policy_.commit));
  }

  // Gold names recordings to tell its lag alone, and none where it has all that Silver has. Where it was rolled back it
  // keeps what it names, as all else, until somebody has decided.
  Status DropFromGold() {
    K2_ASSIGN(table::Table gold, lakehouse_.Open(task::kGoldTable));
    const Result<table::LayerProgress> progress = table::ReadProgress(gold.metadata());
    if (!progress) {
      if (progress.error().kind == ErrorKind::kOffsetMismatch) return {};
      return std::unexpected(progress.error());
    }
    table::LayerCommit commit;
    commit.operation = "replace";
    for (const auto& [key, position] : progress->positions) {
      if (!chosen_.contains(key)) continue;
      const auto exchange = exchange::IndexOf(*exchange::ExchangeOfTopic(key.topic));
      if (position.next_offset < OffsetIn(Silver(exchange), {}, key)) continue;  // it is behind, and says so
      commit.base.positions[key] = position;
      commit.drop.push_back(key);
    }
    if (commit.drop.empty()) return {};
    return StatusOf(gold.Commit(std::move(commit), policy_.commit));
  }

  const Lakehouse& lakehouse_;
  const ArchivePolicy& policy_;
  FinishedSources finished_;
  std::vector<ArchivedTable> tables_;
  std::set<table::SourceKey> chosen_;
  std::string uuid_;  // of finished_sources
  int64_t generation_ = 0;
};

}  // namespace

Result<int64_t> ArchiveFinished(const Lakehouse& lakehouse, const ArchivePolicy& policy) {
  K2_ASSIGN(const int64_t recordings, ArchiveRound(lakehouse, policy).Run());
  if (recordings > 0) log::Info("archived the positions of finished recordings", {{"recordings", recordings}});
  return recordings;
}

}  // namespace k2::pipeline
