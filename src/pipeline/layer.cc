#include "pipeline/layer.h"

#include <algorithm>
#include <atomic>
#include <system_error>
#include <thread>

#include "base/failpoint.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/time.h"
#include "pipeline/layer_metrics.h"

namespace k2::pipeline {
namespace {

constexpr size_t kStepsRemembered = 1 << 16;

// The alternatives of Task are in the order of LayerId.
static_assert(
    std::is_same_v<task::Task, std::variant<task::BronzeTask, task::SilverTask, task::GoldTask, task::CompactionTask>>);

Result<task::TaskResult> RunTimed(const task::Task& task, const task::TaskContext& context) {
  const int64_t started_us = MonotonicMicros();
  const std::string_view layer = ToString(static_cast<LayerId>(task.index()));
  Result<task::TaskResult> result =
      Guarded(fmt::format("a task of {}", layer), [&] { return task::RunTask(task, context); });
  // A look that found nothing is no task.
  if (result && result->rows_in > 0) {
    MetricsOf(layer).task_duration.ObserveMicros(MonotonicMicros() - started_us);
  }
  return result;
}

}  // namespace

void AddResult(const task::TaskResult& result, LayerStats& stats) {
  stats.rows_in += result.rows_in;
  stats.rows_out += result.rows_out;
  stats.duplicates += result.duplicates;
  stats.identity_conflicts += result.identity_conflicts;
  stats.source += result.counts;
  for (const auto& [reason, count] : result.rejected) stats.rejected[reason] += count;
  int64_t files = 0;
  int64_t file_bytes = 0;
  for (const task::TableFiles& output : result.outputs) {
    stats.rows_by_table[output.table] += output.rows();
    for (const iceberg::DataFile& file : output.files) {
      ++files;
      file_bytes += file.file_size_in_bytes;
    }
  }
  stats.files += files;
  stats.file_bytes += file_bytes;
  if (!stats.layer) return;  // nothing was committed: no row
  LayerMetrics& metrics = MetricsOf(ToString(*stats.layer));
  metrics.rows_in.Add(result.rows_in);
  metrics.rows_out.Add(result.rows_out);
  metrics.data_files.Add(files);
  metrics.data_file_bytes.Add(file_bytes);
  CountVerdicts(result);
}

void AddStep(int64_t started_us, LayerStats& stats) {
  const int64_t step_us = MonotonicMicros() - started_us;
  ++stats.steps;
  if (stats.step_us.size() >= kStepsRemembered) {
    stats.step_us.erase(stats.step_us.begin(), stats.step_us.begin() + kStepsRemembered / 2);
  }
  stats.step_us.push_back(step_us);
  if (stats.layer) MetricsOf(ToString(*stats.layer)).step_duration.ObserveMicros(step_us);
}

std::vector<Result<task::TaskResult>> RunEach(const std::vector<task::Task>& tasks,
                                              const std::vector<task::TaskContext>& contexts, int32_t threads) {
  std::vector<Result<task::TaskResult>> results(tasks.size());
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < tasks.size(); i = next++) results[i] = RunTimed(tasks[i], contexts[i]);
  };
  std::vector<std::jthread> others;
  const size_t count = std::min(tasks.size(), static_cast<size_t>(std::max(threads, 1)));
  try {
    for (size_t i = 1; i < count; ++i) others.emplace_back(work);
  } catch (const std::system_error& error) {  // no more threads to be had: fewer do it
    log::Warn("a step runs with fewer threads", {{"threads", others.size() + 1}, {"error", error.what()}});
  }
  work();
  others.clear();  // joins
  return results;
}

Result<std::vector<task::TaskResult>> RunTasks(const std::vector<task::Task>& tasks,
                                               const std::vector<task::TaskContext>& contexts, int32_t threads) {
  std::vector<Result<task::TaskResult>> results = RunEach(tasks, contexts, threads);
  const auto failed = std::ranges::find_if(results, [](const auto& result) { return !result.has_value(); });
  if (failed != results.end()) {
    for (size_t i = 0; i < results.size(); ++i) {
      if (results[i]) DeleteUnsent(results[i]->outputs, *contexts[i].io);
    }
    return std::unexpected(failed->error());
  }
  std::vector<task::TaskResult> done;
  done.reserve(results.size());
  for (Result<task::TaskResult>& result : results) done.push_back(std::move(*result));
  return done;
}

void DeleteUnsent(const std::vector<task::TableFiles>& outputs, storage::FileIo& io) {
  for (const task::TableFiles& output : outputs) {
    for (const iceberg::DataFile& file : output.files) (void)io.Delete(file.file_path);
  }
}

std::vector<iceberg::DataFile> FilesFor(const std::vector<task::TaskResult>& results, std::string_view table) {
  std::vector<iceberg::DataFile> files;
  for (const task::TaskResult& result : results) {
    if (const task::TableFiles* output = result.Find(table)) {
      files.insert(files.end(), output->files.begin(), output->files.end());
    }
  }
  return files;
}

Result<std::string> HeadOf(table::Table& table, const std::function<bool(const table::SourceKey&)>& owns) {
  K2_TRY(table.Refresh());
  K2_ASSIGN(const table::LayerProgress progress, table::ReadProgress(table.metadata()));
  std::string text;
  for (const auto& [key, position] : progress.positions) {
    if (owns && !owns(key)) continue;
    text += fmt::format("{} {} {}\n", key.ToString(), position.next_offset, position.next_line);
  }
  if (owns) return text;  // the work of others moves what follows, too
  for (const auto& [name, hint] : progress.upstream) text += fmt::format("{} {}\n", name, hint.snapshot_id);
  return text;
}

Status RetryRaces(const std::function<Status()>& attempt) {
  constexpr int kAttempts = 10;
  Status status;
  for (int i = 0; i < kAttempts; ++i) {
    status = attempt();
    if (status) return status;
    if (status.error().kind != ErrorKind::kOffsetMismatch && status.error().kind != ErrorKind::kConflict) break;
  }
  return status;
}

std::string_view CommitName(LayerId layer, std::string_view table) {
  return layer == LayerId::kSilver && table == task::kRejectedTable ? "rejected" : ToString(layer);
}

Status CommitStep(table::Table& table, table::LayerCommit commit, const table::CommitPolicy& policy, LayerId layer,
                  LayerStats& stats, std::string_view name) {
  if (name.empty()) name = CommitName(layer, table.name().name);
  const std::vector<iceberg::DataFile> files = commit.added;
  // A table of a K2 that found columns by name learns their ids with the next commit, whichever that is.
  commit.make_properties = [&table, make = std::move(commit.make_properties)](
                               const iceberg::TableMetadata& head) -> Result<std::map<std::string, std::string>> {
    std::map<std::string, std::string> properties = task::MissingColumnsProperty(table.name().name, head);
    if (!make) return properties;
    K2_ASSIGN(auto more, make(head));
    properties.merge(more);
    return properties;
  };
  if (!stats.layer) stats.layer = layer;
  std::optional<MessageTimes> times = ReadTimes(commit.summary);
  if (!times) {
    const Result<task::TableShape> shape = ShapeOf(table, task::TableUse::kRead);
    const iceberg::Schema rows = shape ? shape->Rows() : iceberg::Schema{};
    for (const iceberg::DataFile& file : files) times = Join(times, TimesOf(file, rows));
    if (times) WriteTimes(*times, commit.summary);
  }
  int64_t attempts = 0;
  table::CommitPolicy hooked = policy;
  hooked.on_step = [&](std::string_view step) {
    if (step == "manifests") ++attempts;
    Failpoint(fmt::format("{}.{}", name, step));
    if (policy.on_step) policy.on_step(step);
  };
  const int64_t started_us = MonotonicMicros();
  const table::LayerCommitOutcome outcome = table.Commit(std::move(commit), hooked);
  const int64_t duration_us = MonotonicMicros() - started_us;
  stats.commit_us += duration_us;
  MetricsOf(ToString(*stats.layer)).commit_attempts.Add(attempts);
  CountCommit(ToString(*stats.layer), table.name().name, outcome, duration_us, times);
  if (const auto* done = std::get_if<table::CommitDone>(&outcome)) {
    ++stats.commits;
    stats.commit_attempts += done->attempts;
    ReportTable(table.name().name, table.metadata());
    return {};
  }
  if (const auto* failed = std::get_if<table::NotCommitted>(&outcome)) {
    if (!policy.keep_files) table.DeleteUncommitted(*failed, files);
    return std::unexpected(failed->error());
  }
  return std::unexpected(std::get<table::OutcomeUnknown>(outcome).error);
}

}  // namespace k2::pipeline
