// A layer: plan, run, commit, again and again. What the three have in common.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "pipeline/lakehouse.h"
#include "pipeline/layer_id.h"
#include "task/batch_cache.h"
#include "task/task.h"

namespace k2::pipeline {

struct LayerOptions {
  int64_t rows_per_step = 131'072;      // rows a step moves at most: bounds memory, sets the size of files
  int64_t bytes_per_step = 96LL << 20;  // payload bytes of a Bronze step
  int32_t threads = 2;                  // tasks of one step that run at once
  int64_t overlap_us_max = 5'000'000;   // how long Bronze goes on with a backlog before it looks for new sources
  int64_t gold_index_bytes = 128LL << 20;
  bool read_ahead = false;  // Gold: reads the next step's files into its cache meanwhile, for no layer above fills it
  std::string schema_folder;
  table::CommitPolicy commit;
  // Source partitions that are this process's work, by topic and partition; without it all are. Bronze and Silver can
  // be divided among processes so; Gold holds each trade once over all of them, and is one process's work.
  std::function<bool(std::string_view topic, int32_t partition)> owns;
  [[nodiscard]] bool Owns(std::string_view topic, int32_t partition) const { return !owns || owns(topic, partition); }
  // For HeadOf.
  [[nodiscard]] std::function<bool(const table::SourceKey&)> OwnsKey() const {
    if (!owns) return nullptr;
    return [owns = owns](const table::SourceKey& key) { return owns(key.topic, key.partition); };
  }
};

// What one step did, added up over a run.
struct LayerStats {
  std::optional<LayerId> layer;  // known from the first commit on
  int64_t steps = 0;
  int64_t commits = 0;
  int64_t commit_attempts = 0;
  int64_t rows_in = 0;
  int64_t rows_out = 0;
  int64_t files = 0;
  int64_t file_bytes = 0;
  std::map<std::string, int64_t> rejected;
  int64_t duplicates = 0;
  int64_t identity_conflicts = 0;
  source::SourceCounts source;
  int64_t run_us = 0;     // in tasks
  int64_t commit_us = 0;  // in commits
  std::map<std::string, int64_t> rows_by_table;
  std::vector<int64_t> step_us;  // length of each step that moved rows; of a long run only the later ones
};

// Adds the result of a task that was committed to the sums, and to the metrics.
void AddResult(const task::TaskResult& result, LayerStats& stats);
// The same of a step that moved rows and began at `started_us` (monotonic).
void AddStep(int64_t started_us, LayerStats& stats);

// Runs tasks at most `threads` at once, fewer where the system has no more threads; results in the order of the tasks.
std::vector<Result<task::TaskResult>> RunEach(const std::vector<task::Task>& tasks,
                                              const std::vector<task::TaskContext>& contexts, int32_t threads);

// The same where all must succeed. The first error wins; what the other tasks wrote then is deleted, no commit having
// named it.
Result<std::vector<task::TaskResult>> RunTasks(const std::vector<task::Task>& tasks,
                                               const std::vector<task::TaskContext>& contexts, int32_t threads);

// Deletes files that were never sent to a commit.
void DeleteUnsent(const std::vector<task::TableFiles>& outputs, storage::FileIo& io);

// All files that results hold for a table.
std::vector<iceberg::DataFile> FilesFor(const std::vector<task::TaskResult>& results, std::string_view table);

// Reads the table; a text that changes when somebody commits progress of the keys that `owns` holds for, and not with
// the work of others. Without `owns`: of all keys, and of the tables above.
Result<std::string> HeadOf(table::Table& table, const std::function<bool(const table::SourceKey&)>& owns = nullptr);

// Runs what plans and commits by itself again while another writer comes in between, a few times.
Status RetryRaces(const std::function<Status()>& attempt);

// Commits; on a certain failure deletes `commit`'s files. Adds to `stats` and to the metrics, and writes the times of
// the rows' messages into the snapshot's summary where they are known. Failpoints are NAME.STEP; without a name the
// layer's, of Silver's commit to rejected_trades "rejected".
Status CommitStep(table::Table& table, table::LayerCommit commit, const table::CommitPolicy& policy, LayerId layer,
                  LayerStats& stats, std::string_view name = {});
// The name without one given.
std::string_view CommitName(LayerId layer, std::string_view table);

}  // namespace k2::pipeline
