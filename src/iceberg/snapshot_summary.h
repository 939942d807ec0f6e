// What a snapshot's summary says in numbers (format/spec.md, Appendix F).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "iceberg/manifest_store.h"

namespace k2::iceberg {

// Counts over all live files of a snapshot.
struct SnapshotTotals {
  int64_t data_files = 0;
  int64_t delete_files = 0;
  int64_t records = 0;  // of data files
  int64_t size_bytes = 0;
  int64_t position_deletes = 0;
  int64_t equality_deletes = 0;
  bool operator==(const SnapshotTotals&) const = default;

  // The totals in a summary; false when one is missing or no number.
  static bool Parse(const std::map<std::string, std::string>& summary, SnapshotTotals& totals);
  void Add(const DataFile& file);
};
Result<SnapshotTotals> CountTotals(ManifestStore& store, const TableMetadata& metadata,
                                   const std::vector<ManifestFile>& manifests);

// Files that one commit adds and removes.
class SnapshotChanges {
 public:
  void Added(const DataFile& file);
  void Removed(const DataFile& file);

  [[nodiscard]] const SnapshotTotals& added() const { return added_; }
  [[nodiscard]] const SnapshotTotals& removed() const { return removed_; }
  // Puts added-*, deleted-*, changed-partition-count and, from the parent's totals, total-* into a summary.
  void WriteTo(const SnapshotTotals& parent, std::map<std::string, std::string>& summary) const;

 private:
  SnapshotTotals added_;
  SnapshotTotals removed_;
  std::set<std::string> partitions_;
};

}  // namespace k2::iceberg
