// Compaction: small files of a partition into larger ones, with the same rows (docs/compaction.md).
#pragma once

#include <cstdint>
#include <stop_token>
#include <string_view>

#include "pipeline/step_plan.h"
#include "table/scan.h"
#include "table/table.h"

namespace k2::maintenance {

struct CompactionPolicy {
  int64_t target_bytes = 128LL << 20;      // of a file; those of three quarters of it are left alone
  int64_t target_rows = 1 << 20;           // and rows: a file's are held in memory to be put in order
  int32_t min_files = 5;                   // of a partition that are worth a rewrite
  int64_t settled_us = 900LL * 1'000'000;  // partitions that a snapshot younger than this has added to are left alone
  int64_t rows_per_commit = 64LL << 20;    // about
};

// Which files to join now, as tasks and one commit (operation `replace`); an empty plan where there is nothing to do.
// Files of one partition and day are joined, of whatever spec they are; the new ones are of the table's present spec.
// Source offsets stay, and readers of increments see no new rows. Files that delete files apply to are written again
// without the deleted rows, whatever their size and number.
Result<pipeline::StepPlan> PlanCompaction(const table::Table& table, const CompactionPolicy& policy, int64_t now_us);

// The files in groups that each become one file of a partition and day, whatever their sizes are.
std::vector<std::vector<table::ScanFile>> RewriteGroups(const table::Table& table, std::vector<table::ScanFile> files,
                                                        const CompactionPolicy& policy);

struct CompactionReport {
  int64_t commits = 0;
  int64_t files_in = 0;
  int64_t files_out = 0;
  int64_t rows = 0;
  int64_t bytes_in = 0;
  int64_t bytes_out = 0;
};

struct CompactionRun {
  int32_t threads = 1;
  table::CommitPolicy commit = {};
  std::stop_token stop = {};  // looked at between two commits
};

// Does so until nothing is left to do. Plans again where another writer has removed one of the files; kConflict when
// that happens again and again.
Result<CompactionReport> Compact(const pipeline::Lakehouse& lakehouse, std::string_view table,
                                 const CompactionPolicy& policy, int64_t now_us, const CompactionRun& run);

}  // namespace k2::maintenance
