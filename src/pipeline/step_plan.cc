#include "pipeline/step_plan.h"

#include <algorithm>
#include <map>
#include <utility>

#include "pipeline/gold/rewrites.h"
#include "task/market_tables.h"

namespace k2::pipeline {
namespace {

Status CheckKinds(const std::vector<task::TaskResult>& results, const StepPlan& plan) {
  if (results.size() != plan.tasks.size()) {
    return Fail(ErrorKind::kInvalidArgument, "the plan has {} tasks, but there are {} results", plan.tasks.size(),
                results.size());
  }
  for (size_t i = 0; i < results.size(); ++i) {
    // A result of another plan would have its rows committed in the place of this plan's.
    if (const std::string& planned = task::AttemptOf(plan.tasks[i]); !results[i].attempt_id.starts_with(planned)) {
      return Fail(ErrorKind::kInvalidArgument,
                  "result {} belongs to attempt {}, not to task {} of this plan, whose attempt ids begin with {}", i,
                  results[i].attempt_id, i, planned);
    }
    for (const task::TableFiles& output : results[i].outputs) {
      const auto fits = [&](const PlannedCommit& one) { return one.table == output.table; };
      if (output.files.empty() || std::ranges::any_of(plan.commits, fits)) continue;
      return Fail(ErrorKind::kInvalidArgument, "result {} has files of {}, which the plan does not commit", i,
                  output.table);
    }
    const auto* bronze = std::get_if<task::BronzeTask>(&plan.tasks[i]);
    const bool silver = std::holds_alternative<task::SilverTask>(plan.tasks[i]);
    if (results[i].ends.size() != (bronze == nullptr ? 0 : bronze->inputs.size()) ||
        results[i].range_rows.size() != (silver ? plan.ranges.size() : 0)) {
      return Fail(ErrorKind::kInvalidArgument, "result {} does not belong to task {}: it has {} ends and {} ranges", i,
                  i, results[i].ends.size(), results[i].range_rows.size());
    }
  }
  return {};
}

// Joins what tasks have read of the same source: each has begun where another ended, or the source's place is lost.
Status CompleteBronze(const std::vector<task::TaskResult>& results, StepPlan& plan) {
  struct Part {
    table::SourcePosition begin;
    table::SourcePosition end;
    int64_t wanted_end = -1;
  };
  std::map<table::SourceKey, std::vector<Part>> parts;
  for (size_t i = 0; i < results.size(); ++i) {
    const auto& task = std::get<task::BronzeTask>(plan.tasks[i]);
    for (size_t n = 0; n < task.inputs.size(); ++n) {
      const task::BronzeInput& input = task.inputs[n];
      parts[input.source].push_back({input.begin, results[i].ends[n], input.end_offset});
    }
  }
  table::LayerCommit& commit = plan.commits.front().commit;
  for (auto& [key, of_key] : parts) {
    std::ranges::sort(of_key, {}, [](const Part& part) { return part.begin.next_offset; });
    const auto known = commit.base.positions.find(key);
    int64_t messages = known == commit.base.positions.end() ? 0 : known->second.messages;
    int64_t at = of_key.front().begin.next_offset;
    for (const Part& part : of_key) {
      if (part.begin.next_offset != at || (part.wanted_end >= 0 && part.end.next_offset != part.wanted_end)) {
        return Fail(ErrorKind::kOffsetMismatch,
                    "{}: a task read from offset {} to {}, but was planned to read from {} to {}", key.ToString(),
                    part.begin.next_offset, part.end.next_offset, at, part.wanted_end);
      }
      at = part.end.next_offset;
      const int64_t counted = part.end.messages < 0 ? -1 : part.end.messages - part.begin.messages;
      messages = messages < 0 || counted < 0 ? -1 : messages + counted;
    }
    table::SourcePosition end = of_key.back().end;
    end.messages = messages;
    commit.next.positions[key] = std::move(end);
  }
  return {};
}

int64_t RowsOfRange(const std::vector<task::TaskResult>& results, size_t range) {
  int64_t rows = 0;
  for (const task::TaskResult& result : results) rows += result.range_rows[range];
  return rows;
}

// The count of a range's begin and of its rows; -1: not known.
int64_t CountedAfter(const PlannedRange& range, int64_t rows) {
  return range.begin.messages < 0 ? -1 : range.begin.messages + rows;
}

// Nothing is skipped in silence: some of Bronze's rows may be missing.
Status CompleteSilver(const std::vector<task::TaskResult>& results, StepPlan& plan) {
  const std::vector<Miscount> miscounts = MiscountedRanges(results, plan);
  if (!miscounts.empty()) {
    const Miscount& first = miscounts.front();
    const PlannedRange& range = plan.ranges[first.range];
    if (plan.rebuild) {
      return Fail(ErrorKind::kInvalidData,
                  "cannot rebuild Silver: Bronze holds {} rows of {} up to offset {}, but Silver was built from {}. "
                  "Nothing was changed",
                  first.rows, range.key.ToString(), range.end.next_offset, first.expected);
    }
    int64_t snapshot = 0;
    for (const PlannedCommit& planned : plan.commits) {
      for (const auto& [name, hint] : planned.commit.next.upstream) snapshot = hint.snapshot_id;
    }
    return std::unexpected(MiscountError(range, first, snapshot, ""));
  }
  for (size_t i = 0; i < plan.ranges.size(); ++i) {
    PlannedRange& range = plan.ranges[i];
    if (range.key.cluster != table::kRecordingCluster && !range.counted_at_end) {
      range.end.messages = CountedAfter(range, RowsOfRange(results, i));
    }
    for (PlannedCommit& planned : plan.commits) {
      const auto found = planned.commit.next.positions.find(range.key);
      // rejected_trades may stand beyond the range.
      if (found != planned.commit.next.positions.end() && found->second.next_offset <= range.end.next_offset) {
        found->second = range.end;
      }
    }
  }
  return {};
}

}  // namespace

// A recording numbers its messages without gaps. Kafka's offsets have gaps, but Bronze has counted its rows up to where
// it stands.
std::vector<Miscount> MiscountedRanges(const std::vector<task::TaskResult>& results, const StepPlan& plan) {
  std::vector<Miscount> found;
  for (size_t i = 0; i < plan.ranges.size(); ++i) {
    const PlannedRange& range = plan.ranges[i];
    if (range.accepted) continue;
    const int64_t rows = RowsOfRange(results, i);
    int64_t expected = -1;
    if (range.key.cluster == table::kRecordingCluster) {
      expected = range.end.next_offset - range.begin.next_offset;
    } else if (range.counted_at_end && range.begin.messages >= 0 && range.end.messages >= 0) {
      expected = range.end.messages - range.begin.messages;
    }
    if (expected >= 0 && rows != expected) found.push_back({.range = i, .rows = rows, .expected = expected});
  }
  return found;
}

Error MiscountError(const PlannedRange& range, const Miscount& miscount, int64_t changed, std::string_view told) {
  const exchange::Exchange* exchange = exchange::ExchangeOfTopic(range.key.topic);
  const std::string_view table = exchange == nullptr ? "Silver" : exchange->silver_table;
  return {ErrorKind::kUpstreamChanged,
          fmt::format("{} is blocked: {} holds {} rows instead of {}, from offset {} to {} of {}, partition {}: rows "
                      "were removed before they were read, or others were added{}{}. `k2 offsets accept {} {} "
                      "--dry-run` shows the rows; without --dry-run, {} resumes with them",
                      table, task::kBronzeTable, miscount.rows, miscount.expected, range.begin.next_offset,
                      range.end.next_offset, range.key.topic, range.key.partition,
                      told.empty() ? "" : "; last changed by ", told, task::kBronzeTable, changed, table)};
}

iceberg::DataFile WithoutMetrics(const iceberg::DataFile& file) {
  iceberg::DataFile bare;
  bare.file_path = file.file_path;
  bare.spec_id = file.spec_id;
  bare.partition = file.partition;
  bare.record_count = file.record_count;
  bare.file_size_in_bytes = file.file_size_in_bytes;
  return bare;
}

Status Complete(const std::vector<task::TaskResult>& results, StepPlan& plan) {
  K2_TRY(CheckKinds(results, plan));
  if (!plan.tasks.empty() && plan.layer == LayerId::kBronze) K2_TRY(CompleteBronze(results, plan));
  if (!plan.tasks.empty() && plan.layer == LayerId::kSilver) K2_TRY(CompleteSilver(results, plan));
  for (PlannedCommit& planned : plan.commits) planned.commit.added = FilesFor(results, planned.table);
  std::erase_if(plan.commits, [](const PlannedCommit& one) { return one.needs_rows && one.commit.added.empty(); });
  return {};
}

Status CommitCompleted(StepPlan plan, const TableByName& table, const table::CommitPolicy& policy, LayerStats& stats) {
  for (PlannedCommit& planned : plan.commits) {
    K2_ASSIGN(table::Table* const of, table(planned.table));
    planned.commit.begun = plan.begun;
    if (plan.layer == LayerId::kGold && !planned.commit.check_added) {
      planned.commit.check_added = RefuseDoubledTrades(*of, planned.commit.added);
    }
    const Status done = CommitStep(*of, std::move(planned.commit), policy, plan.layer, stats);
    if (!done) return std::unexpected(done.error().OfTable(planned.table));
  }
  return {};
}

}  // namespace k2::pipeline
