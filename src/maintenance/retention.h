// How long rows are kept: whole partitions are dropped, by metadata alone (docs/retention.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "maintenance/retention_rules.h"
#include "pipeline/lakehouse.h"
#include "table/dropped_unread.h"
#include "table/scan.h"

namespace k2::maintenance {

struct PartitionRetention {
  std::string partition;  // ingestion_date_day=2024-08-08
  PartitionFate fate = PartitionFate::kKept;
  std::string reason;  // for people
  int64_t rows = 0;
  int64_t bytes = 0;
  int64_t oldest_commit_us = 0;  // of its files; at the latest then, where the snapshot that added one is expired
  int64_t newest_commit_us = 0;
  int64_t due_us = kNever;  // when it is past the limit
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
  [[nodiscard]] int64_t UnreadDropped() const;  // rows among the dropped that the downstream layer has not read
  [[nodiscard]] int64_t LongestHeldUs(int64_t now_us) const;  // since when what is held has been due
};

struct RetentionScope {
  // Partitions that are too young by their date too, for people to see; else they are not even looked for.
  bool with_young = false;
};

// What retention would do with a table now, by the rules of retention_rules.h.
Result<TableRetention> PlanRetention(const table::Table& table, const pipeline::Lakehouse& lakehouse,
                                     const RetentionPolicy& policy, int64_t now_us, const RetentionScope& scope = {});

// Does it, in one commit, and says what it did. Files that came into such a partition since stay. Plans again where
// another writer has removed a file; kConflict when that happens again and again.
Result<TableRetention> ApplyRetention(const pipeline::Lakehouse& lakehouse, std::string_view table,
                                      const RetentionPolicy& policy, int64_t now_us,
                                      const table::CommitPolicy& commit = {}, const RetentionScope& scope = {});

}  // namespace k2::maintenance
