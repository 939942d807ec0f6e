#include "pipeline/bronze/bronze_plan.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/log.h"
#include "base/uuid.h"
#include "pipeline/bronze/bronze_layer.h"
#include "task/market_tables.h"

namespace k2::pipeline {
namespace {

// Offsets of one partition that are there and not in Bronze.
struct Backlog {
  table::SourceKey key;
  table::SourcePosition begin;
  bool known = false;  // Bronze has committed it
  int64_t end = 0;
};

Result<std::vector<Backlog>> FindBacklog(const table::LayerProgress& progress,
                                         const std::vector<SourceSet::Source>& sources,
                                         const kafka::KafkaOptions& options,
                                         std::map<table::SourceKey, Error>& stopped) {
  std::vector<kafka::KafkaPartition> partitions;
  for (const SourceSet::Source& source : sources) {
    partitions.emplace_back(source.reader->key().topic, source.reader->key().partition);
  }
  K2_ASSIGN(const auto admin, kafka::KafkaAdmin::Create(options));
  K2_ASSIGN(const auto ends, admin->Offsets({.from = kafka::KafkaStart::From::kLatest}, partitions));
  K2_ASSIGN(const auto begins, admin->Offsets({.from = kafka::KafkaStart::From::kEarliest}, partitions));
  std::vector<Backlog> backlog;
  for (const SourceSet::Source& source : sources) {
    const table::SourceKey& key = source.reader->key();
    const auto committed = progress.positions.find(key);
    Backlog one{.key = key, .begin = {}, .known = committed != progress.positions.end()};
    if (one.known) one.begin = committed->second;
    const auto end = ends.find({key.topic, key.partition});
    one.end = end == ends.end() ? 0 : end->second;
    const auto begin = begins.find({key.topic, key.partition});
    const int64_t first = begin == begins.end() ? 0 : begin->second;
    if (one.end < one.begin.next_offset || first > one.begin.next_offset) {
      const std::string_view lost = one.end < one.begin.next_offset ? "the brokers lost messages that Bronze had read"
                                                                    : "messages were deleted before Bronze read them";
      stopped.emplace(
          key, Error{ErrorKind::kOffsetMismatch,
                     fmt::format("Kafka topic {}, partition {} now has the offsets {} to {}, but Bronze's committed "
                                 "offset is {}: {}. See `k2 offsets show`; to skip the missing messages: `k2 offsets "
                                 "set --table bronze_trades --topic {} --partition {} --next {} --accept-loss`",
                                 key.topic, key.partition, first, one.end, one.begin.next_offset, lost, key.topic,
                                 key.partition, first)});
      continue;
    }
    if (one.end > one.begin.next_offset) backlog.push_back(std::move(one));
  }
  return backlog;
}

// The same number of each, but for those that have less: no partition waits for another.
void Shorten(std::vector<Backlog>& backlog, int64_t rows_max) {
  std::ranges::sort(backlog, {}, [](const Backlog& one) { return one.end - one.begin.next_offset; });
  int64_t left = rows_max;
  for (size_t i = 0; i < backlog.size(); ++i) {
    const int64_t share = std::max<int64_t>(left / static_cast<int64_t>(backlog.size() - i), 1);
    Backlog& one = backlog[i];
    one.end = std::min(one.end, one.begin.next_offset + share);
    left -= one.end - one.begin.next_offset;
  }
  std::ranges::sort(backlog, {}, &Backlog::key);
}

// Ranges go to the tasks in order; one that is more than a task's work goes on in the next task.
std::vector<task::Task> MakeTasks(const std::vector<Backlog>& backlog, const task::OutputTable& output,
                                  int32_t tasks_max) {
  constexpr int64_t kRowsWorthATask = 65'536;
  int64_t total = 0;
  for (const Backlog& one : backlog) total += one.end - one.begin.next_offset;
  const int64_t count = std::clamp<int64_t>(total / kRowsWorthATask, 1, std::max(tasks_max, 1));
  const int64_t per_task = (total + count - 1) / count;
  std::vector<task::Task> tasks;
  task::BronzeTask task{.inputs = {}, .max_messages = 0, .max_bytes = 0, .output = output, .attempt_id = {}};
  int64_t room = per_task;
  const auto close = [&] {
    if (task.inputs.empty()) return;
    task.attempt_id = RandomHex64();
    tasks.emplace_back(task);
    task.inputs.clear();
    room = per_task;
  };
  for (const Backlog& one : backlog) {
    table::SourcePosition at = one.begin;
    if (!one.known) at.messages = 0;
    while (at.next_offset < one.end) {
      const int64_t end = std::min(one.end, at.next_offset + room);
      room -= end - at.next_offset;
      task.inputs.push_back({.source = one.key, .exchange = {}, .recording = {}, .begin = at, .end_offset = end});
      at = {.next_offset = end, .messages = 0};  // it counts from there on; the epoch there is not known
      if (room <= 0) close();
    }
  }
  close();
  return tasks;
}

}  // namespace

Result<StepPlan> PlanBronze(const Lakehouse& lakehouse, const LayerOptions& options, const KafkaFeed& feed,
                            int64_t rows_max, int32_t tasks) {
  StepPlan plan{.layer = LayerId::kBronze, .tasks = {}, .ranges = {}, .commits = {}};
  K2_ASSIGN(table::Table table, lakehouse.Open(task::kBronzeTable));
  K2_ASSIGN(table::LayerProgress progress, table::ReadProgress(table.metadata()));
  K2_ASSIGN(const std::unique_ptr<SourceSet> set, OpenKafka(feed));
  K2_ASSIGN(std::vector<SourceSet::Source> sources, set->Sources(progress));
  // What cannot be read on does not hold up the others; it is the step's error when nothing else is there.
  std::map<table::SourceKey, Error> stopped = set->Stopped();
  std::erase_if(sources, [&](const auto& source) { return stopped.contains(source.reader->key()); });
  std::vector<table::SourceKey> unknown;
  for (const SourceSet::Source& source : sources) {
    if (!progress.positions.contains(source.reader->key())) unknown.push_back(source.reader->key());
  }
  LayerStats stats;
  K2_TRY(CommitStarts(table, *set, unknown, options.commit, stats));
  K2_ASSIGN(progress, table::ReadProgress(table.metadata()));
  K2_ASSIGN(std::vector<Backlog> backlog, FindBacklog(progress, sources, feed.options, stopped));
  if (backlog.empty() && !stopped.empty()) return std::unexpected(stopped.begin()->second);
  for (const auto& [key, error] : stopped) {
    log::Error("cannot continue reading a source; other sources continue",
               {{"source", fmt::format("{}/{}", key.topic, key.partition)}, {"error", error.message}});
  }
  if (backlog.empty()) return plan;
  for (const Backlog& one : backlog) plan.behind += one.end - one.begin.next_offset;
  Shorten(backlog, rows_max);
  plan.left = plan.behind;
  for (const Backlog& one : backlog) plan.left -= one.end - one.begin.next_offset;
  K2_ASSIGN(const task::OutputTable output, OutputOf(table));
  plan.tasks = MakeTasks(backlog, output, tasks);
  PlannedCommit planned{.table = std::string(task::kBronzeTable), .commit = {}, .needs_rows = false};
  for (const Backlog& one : backlog) {
    if (one.known) planned.commit.base.positions[one.key] = one.begin;
  }
  plan.commits.push_back(std::move(planned));
  return plan;
}

Status ConfirmSources(const StepPlan& plan, const kafka::KafkaOptions& options) {
  table::LayerProgress read;
  std::set<std::string> topics;
  for (const task::Task& task : plan.tasks) {
    for (const task::BronzeInput& input : std::get<task::BronzeTask>(task).inputs) {
      read.positions[input.source] = input.begin;
      topics.insert(input.source.topic);
    }
  }
  if (topics.empty()) return {};
  K2_ASSIGN(const auto set, OpenKafka({.options = options, .topics = {topics.begin(), topics.end()}, .start = {}}));
  K2_ASSIGN(const auto sources, set->Sources(read));
  const std::map<table::SourceKey, Error> stopped = set->Stopped();
  if (!stopped.empty()) return std::unexpected(stopped.begin()->second);
  return {};
}

}  // namespace k2::pipeline
