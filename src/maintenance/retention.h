// How long rows are kept: whole partitions are dropped, by metadata alone (docs/retention.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "pipeline/lakehouse.h"
#include "table/dropped_unread.h"
#include "table/scan.h"

namespace k2::maintenance {

// How long each table keeps its rows; 0: for ever.
struct RetentionPolicy {
  int64_t bronze_us = 7 * kMicrosPerDay;
  int64_t silver_us = 30 * kMicrosPerDay;
  int64_t rejected_us = 30 * kMicrosPerDay;
  int64_t gold_us = 0;
  int64_t hold_us = kMicrosPerDay;  // how much longer what the layer below has not read is kept at most

  [[nodiscard]] int64_t LimitOf(std::string_view table) const;
};

enum class PartitionFate {
  kKept,     // not past the limit yet
  kHeld,     // past the limit, but the layer below has not read it
  kDropped,  // to be dropped, or was
};
std::string_view ToString(PartitionFate fate);

struct PartitionRetention {
  std::string partition;  // ingestion_date_day=2024-08-08
  PartitionFate fate = PartitionFate::kKept;
  std::string reason;  // for people
  int64_t rows = 0;
  int64_t bytes = 0;
  int64_t oldest_commit_us = 0;  // of its files; at the latest then, where the snapshot that added one is expired
  int64_t newest_commit_us = 0;
  int64_t due_us = 0;  // when it is past the limit; INT64_MAX: never
  table::DroppedUnread unread;
  std::vector<table::ScanFile> files;
};

struct TableRetention {
  std::string table;
  int64_t limit_us = 0;
  std::vector<PartitionRetention> partitions;  // oldest first

  [[nodiscard]] int64_t RowsOf(PartitionFate fate) const;
  [[nodiscard]] int64_t FilesOf(PartitionFate fate) const;
  [[nodiscard]] int64_t BytesOf(PartitionFate fate) const;
  [[nodiscard]] int64_t UnreadDropped() const;  // rows among the dropped that the layer below has not read
  [[nodiscard]] int64_t LongestHeldUs(int64_t now_us) const;  // since when what is held has been due
};

struct RetentionScope {
  // Partitions that are too young by their date too, for people to see; else they are not even looked for.
  bool with_young = false;
};

// What retention would do with a table now. A partition is dropped when both the end of its date and the newest commit
// among its files are past the limit, and the layer below has read all of it, or was given `hold_us` longer to do so.
Result<TableRetention> PlanRetention(const table::Table& table, const pipeline::Lakehouse& lakehouse,
                                     const RetentionPolicy& policy, int64_t now_us, const RetentionScope& scope = {});

// Does it, in one commit, and says what it did. Files that came into such a partition since stay. Plans again where
// another writer has removed a file; kConflict when that happens again and again.
Result<TableRetention> ApplyRetention(const pipeline::Lakehouse& lakehouse, std::string_view table,
                                      const RetentionPolicy& policy, int64_t now_us,
                                      const table::CommitPolicy& commit = {}, const RetentionScope& scope = {});

}  // namespace k2::maintenance
