// Planning: which data files a snapshot's reader must open, and which ones a layer has not seen.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iceberg/data_file.h"
#include "iceberg/delete_index.h"
#include "iceberg/pruning.h"
#include "iceberg/table_metadata.h"
#include "storage/file_io.h"

namespace k2::table {

// Live data files of a snapshot that may hold rows matching all conjuncts: pruned by partition summaries, partition
// values and column bounds. Files come with spec_id, their data sequence number, and the delete files that apply to
// them at that snapshot. kUnsupported: one of these is no Parquet file.
struct ScanFile {
  iceberg::DataFile file;
  int64_t sequence_number = 0;
  int64_t snapshot_id = 0;            // that added it
  int64_t file_sequence_number = 0;   // of that snapshot; of a rewritten file later than its rows
  iceberg::DeleteFiles deletes = {};  // may remove rows of it: row_deletes.h reads what is left
};
Result<std::vector<ScanFile>> PlanScan(storage::FileIo& io, const iceberg::TableMetadata& metadata, int64_t snapshot_id,
                                       const std::vector<iceberg::ColumnPredicate>& conjuncts);

// Live delete files of a snapshot.
Result<iceberg::DeleteIndex> ReadDeleteIndex(storage::FileIo& io, const iceberg::TableMetadata& metadata,
                                             const iceberg::Snapshot& snapshot);

// Snapshot that was current on main at a time (snapshot log), for time travel. kNotFound names the oldest one there is.
Result<int64_t> SnapshotAsOf(const iceberg::TableMetadata& metadata, int64_t timestamp_ms);

// Whether a snapshot may hold rows that its parent has not: `replace` and `delete` have none, nor has what K2 rebuilt.
bool MayAddRows(const iceberg::Snapshot& snapshot);

// Made by another engine, and no plain append: rows of before may lie in its added files, and rows may be gone.
bool IsForeignRewrite(const iceberg::Snapshot& snapshot);
// `snapshot 12 (operation "overwrite", spark 3.5.6)`, for errors.
std::string DescribeSnapshot(const iceberg::Snapshot& snapshot);

// Data files that one snapshot added, and those that it removed.
struct SnapshotFiles {
  std::vector<ScanFile> added;
  std::vector<ScanFile> removed;
};
Result<SnapshotFiles> FilesOfSnapshot(storage::FileIo& io, const iceberg::TableMetadata& metadata,
                                      const iceberg::Snapshot& snapshot);

// Snapshots after `from` (exclusive; nullopt: from the beginning) up to `to`, oldest first; nullopt when `from` is no
// ancestor of `to`, or it cannot be told any more.
std::optional<std::vector<const iceberg::Snapshot*>> SnapshotsBetween(const iceberg::TableMetadata& metadata,
                                                                      std::optional<int64_t> from, int64_t to);

// What was added to `main` after `from_snapshot` (exclusive; nullopt: from the beginning) up to `to_snapshot`.
struct Increment {
  std::vector<ScanFile> files;  // in commit order
  // Snapshots of other engines that rewrote files (copy-on-write), in commit order: their added files, among `files`,
  // may hold rows that were there before, so that who reads them deduplicates.
  std::vector<int64_t> rewrites;
  bool complete = true;  // false: from_snapshot is not an ancestor any more (expired, rolled back): read the current
                         // snapshot and cut by offsets instead; `files` is empty then
};
// Every snapshot of which MayAddRows is true adds its files (docs/source-offsets.md).
// Files come with the delete files that apply to them at `to_snapshot`.
Result<Increment> PlanIncrement(storage::FileIo& io, const iceberg::TableMetadata& metadata,
                                std::optional<int64_t> from_snapshot, int64_t to_snapshot);

}  // namespace k2::table
