// Silver's tables that stand: which, on what, and what of their sources goes on when somebody has accepted it.
#include <algorithm>
#include <numeric>

#include "base/log.h"
#include "pipeline/silver/silver_layer.h"
#include "pipeline/silver/unread_sources.h"
#include "task/market_tables.h"

namespace k2::pipeline {

size_t SilverLayer::TableOf(const table::SourceKey& key) const {
  const exchange::Exchange* exchange = exchange::ExchangeOfTopic(key.topic);
  return exchange == nullptr ? silver_.size() : exchange::IndexOf(*exchange);
}

void SilverLayer::Stand(size_t table, Error error) { standing_.Add(NameOf(table), std::move(error)); }

// The table has taken all that Bronze had when this was planned.
void SilverLayer::Level(size_t table) {
  standing_.Remove(NameOf(table));
  level_.insert(table);
}

// Rows that somebody has accepted as they are come first, and are not counted; Bronze's count at their end is taken
// over.
void SilverLayer::StopAtAccepted(Range& range) const {
  const auto upstream = accepted_[range.table].find(bronze_.name().ToString());
  if (upstream == accepted_[range.table].end() || upstream->second.table_uuid != bronze_.metadata().table_uuid) return;
  const auto source = upstream->second.sources.find(range.key);
  if (source == upstream->second.sources.end() || range.begin.next_offset >= source->second.end) return;
  range.accepted = true;
  range.whole = true;
  if (source->second.end >= range.end.next_offset) return;
  range.end = {
      .next_offset = source->second.end, .leader_epoch = range.end.leader_epoch, .messages = source->second.messages};
}

// Whether rows are missing, or there are too many, of any source. The first time the tables are planned anew, for
// another writer may have been here; the second time the table of such a source stands.
bool SilverLayer::StandMiscounted(const std::vector<task::TaskResult>& results, const StepPlan& plan,
                                  std::set<size_t>& seen) {
  std::map<size_t, Miscount> by_table;
  for (const Miscount& miscount : MiscountedRanges(results, plan)) {
    by_table.try_emplace(TableOf(plan.ranges[miscount.range].key), miscount);
  }
  for (const auto& [table, miscount] : by_table) {
    if (seen.insert(table).second) continue;
    Stand(table, MiscountOf(table, plan.ranges[miscount.range], miscount));
  }
  if (!by_table.empty()) Recover();
  return !by_table.empty();
}

Error SilverLayer::MiscountOf(size_t table, const PlannedRange& range, const Miscount& miscount) const {
  const auto hint = silver_progress_[table].upstream.find(bronze_.name().ToString());
  const int64_t read = hint == silver_progress_[table].upstream.end() ? 0 : hint->second.snapshot_id;
  const iceberg::Snapshot* at = StandsAt(bronze_.metadata(), NameOf(table), read);
  return MiscountError(range, miscount, at == nullptr ? 0 : at->snapshot_id,
                       at == nullptr ? "" : table::DescribeSnapshot(*at));
}

// A table that stands, or stood when another process was here, goes on when its rows are all there again: a step that
// is cut would move over those that are missing.
Status SilverLayer::CheckStanding(const std::optional<table::DroppedUnread>& dropped) {
  for (size_t i = 0; i < silver_.size(); ++i) {
    const bool stood = bronze_.metadata().FindRef(StandsTag(NameOf(i))) != nullptr;
    if (standing_.IsAside(NameOf(i)) || !(stood || standing_.Contains(NameOf(i)))) continue;
    const bool gap = dropped && std::ranges::any_of(dropped->gaps, [&](const auto& one) {
                       const auto found = silver_progress_[i].positions.find(one.first);
                       const bool passed =
                           found != silver_progress_[i].positions.end() && found->second.next_offset > one.second.last;
                       return TableOf(one.first) == i && !passed;
                     });
    if (!gap) K2_TRY(CheckAccounted(i));
  }
  return {};
}

Status SilverLayer::CheckAccounted(size_t table) {
  std::vector<UnreadSource> sources =
      SourcesToRead(*exchange::Exchanges()[table], silver_progress_[table], bronze_progress_);
  const auto upstream = accepted_[table].find(bronze_.name().ToString());
  std::erase_if(sources, [&](const UnreadSource& source) {
    if (!options_.Owns(source.key.topic, source.key.partition)) return true;
    if (upstream == accepted_[table].end()) return false;
    const auto found = upstream->second.sources.find(source.key);
    return found != upstream->second.sources.end() && source.begin < found->second.end;
  });
  K2_TRY(CountUnread(bronze_, sources));
  const auto wrong = std::ranges::find_if(sources, [](const UnreadSource& source) { return !source.Fits(); });
  if (wrong == sources.end()) {
    standing_.Remove(NameOf(table));
    level_.insert(table);
    return {};
  }
  const PlannedRange range{.key = wrong->key, .begin = {.next_offset = wrong->begin}, .end = wrong->end};
  Stand(table, MiscountOf(table, range, {.rows = wrong->distinct(), .expected = wrong->expected}));
  return {};
}

// rejected_trades first. Where one table of an exchange refuses for good, the others are committed all the same, and it
// is left behind; `ranges` are those that were committed.
Status SilverLayer::CommitTables(StepPlan plan, std::vector<PlannedRange>& ranges) {
  for (PlannedCommit& planned : plan.commits) {
    const std::string name = planned.table;
    planned.commit.begun = plan.begun;
    const Status status = CommitStep(*Find(name), std::move(planned.commit), options_.commit, LayerId::kSilver, stats_);
    const bool own = name != task::kRejectedTable;
    if (status) {
      if (own) standing_.Remove(name);
      continue;
    }
    const ErrorKind kind = status.error().kind;
    const bool race = kind == ErrorKind::kOffsetMismatch || kind == ErrorKind::kConflict ||
                      kind == ErrorKind::kNotFound || kind == ErrorKind::kCommitUnknown;
    if (!own || race || !IsOfTheTable(status.error())) return status;
    const auto of_it = [&](const PlannedRange& range) { return NameOf(TableOf(range.key)) == name; };
    for (size_t i = 0; i < silver_.size(); ++i) {
      if (NameOf(i) == name) Stand(i, status.error());
    }
    std::erase_if(ranges, of_it);
  }
  for (size_t i = 0; i < silver_.size(); ++i) {
    const auto of_it = [&](const PlannedRange& range) { return TableOf(range.key) == i; };
    const auto to_the_end = [&](const PlannedRange& range) { return !of_it(range) || range.counted_at_end; };
    if (std::ranges::any_of(ranges, of_it) && std::ranges::all_of(ranges, to_the_end)) level_.insert(i);
  }
  return {};
}

// Bronze keeps the snapshot at which a table stands, and those before it are let go when it stands no more.
void SilverLayer::UpdateTags() {
  for (size_t i = 0; i < silver_.size(); ++i) {
    Status status;
    if (standing_.Contains(NameOf(i)) || stands_wholly_) {
      const auto hint = silver_progress_[i].upstream.find(bronze_.name().ToString());
      const int64_t read = hint == silver_progress_[i].upstream.end() ? 0 : hint->second.snapshot_id;
      const iceberg::Snapshot* at = StandsAt(bronze_.metadata(), NameOf(i), read);
      if (at != nullptr) status = SetStandsTags(bronze_, NameOf(i), at->snapshot_id);
    } else if (level_.contains(i)) {
      status = RemoveStandsTags(bronze_, NameOf(i));
    }
    if (!status) {
      log::Warn("cannot update the tags of a blocked table yet",
                {{"table", NameOf(i)}, {"error", status.error().message}});
    }
  }
}

void SilverLayer::StandsWholly() {
  stands_wholly_ = true;
  UpdateTags();
}

Error StandAtMiscount(const Lakehouse& lakehouse, const std::vector<task::TaskResult>& results, const StepPlan& plan,
                      Error otherwise) {
  const std::vector<Miscount> miscounts = MiscountedRanges(results, plan);
  if (miscounts.empty()) return otherwise;
  const PlannedRange& range = plan.ranges[miscounts.front().range];
  const exchange::Exchange* exchange = exchange::ExchangeOfTopic(range.key.topic);
  Result<table::Table> bronze = lakehouse.Open(task::kBronzeTable);
  if (exchange == nullptr || !bronze) return otherwise;
  const Result<table::Table> silver = lakehouse.Open(exchange->silver_table);
  const auto progress = silver ? table::ReadProgress(silver->metadata()) : std::unexpected(silver.error());
  if (!progress) return otherwise;
  const auto hint = progress->upstream.find(bronze->name().ToString());
  const int64_t read = hint == progress->upstream.end() ? 0 : hint->second.snapshot_id;
  const iceberg::Snapshot* at = StandsAt(bronze->metadata(), exchange->silver_table, read);
  if (at == nullptr) return otherwise;
  Error error = MiscountError(range, miscounts.front(), at->snapshot_id, table::DescribeSnapshot(*at));
  if (const Status tagged = SetStandsTags(*bronze, exchange->silver_table, at->snapshot_id); !tagged) {
    log::Warn("cannot tag the snapshot that blocks a table yet", {{"error", tagged.error().message}});
  }
  return error;
}

// Files of which some may hold the same offsets of a source, together, in the order of their commits.
std::vector<std::vector<const SilverLayer::BronzeFile*>> SilverLayer::Overlapping(
    const std::vector<BronzeFile>& files) {
  struct Extent {
    const task::BronzePart* part;
    size_t file;
  };
  std::vector<Extent> extents;
  for (size_t i = 0; i < files.size(); ++i) {
    for (const task::BronzePart& part : files[i].parts) extents.push_back({&part, i});
  }
  std::ranges::sort(extents, [](const Extent& a, const Extent& b) {
    return std::tie(a.part->topic, a.part->topic_id, a.part->partition, a.part->first) <
           std::tie(b.part->topic, b.part->topic_id, b.part->partition, b.part->first);
  });
  std::vector<size_t> group(files.size());
  std::iota(group.begin(), group.end(), size_t{0});
  const auto root = [&](size_t file) {
    while (group[file] != file) file = group[file] = group[group[file]];
    return file;
  };
  const Extent* furthest = nullptr;  // of the source at hand
  for (const Extent& extent : extents) {
    const bool same = furthest != nullptr && furthest->part->topic == extent.part->topic &&
                      furthest->part->topic_id == extent.part->topic_id &&
                      furthest->part->partition == extent.part->partition;
    if (same && extent.part->first <= furthest->part->last) group[root(extent.file)] = root(furthest->file);
    if (!same || extent.part->last > furthest->part->last) furthest = &extent;
  }
  std::map<size_t, std::vector<const BronzeFile*>> by_root;
  std::vector<size_t> order;
  for (size_t i = 0; i < files.size(); ++i) {
    std::vector<const BronzeFile*>& members = by_root[root(i)];
    if (members.empty()) order.push_back(root(i));
    members.push_back(&files[i]);
  }
  std::vector<std::vector<const BronzeFile*>> groups;
  for (const size_t one : order) groups.push_back(std::move(by_root[one]));
  return groups;
}

}  // namespace k2::pipeline
