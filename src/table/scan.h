// Planning: which data files a snapshot's reader must open, and which ones a layer has not seen.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "iceberg/data_file.h"
#include "iceberg/pruning.h"
#include "iceberg/table_metadata.h"
#include "io/file_io.h"

namespace k2 {

// Live data files of a snapshot that may hold rows matching all conjuncts: pruned by partition summaries, partition
// values and column bounds. A snapshot with live delete files is kUnsupported unless the delete files cannot touch any
// file that is left. Files come with spec_id and their data sequence number.
struct ScanFile {
  iceberg::DataFile file;
  int64_t sequence_number = 0;
  int64_t snapshot_id = 0;           // that added it
  int64_t file_sequence_number = 0;  // of that snapshot; of a rewritten file later than its rows
};
Result<std::vector<ScanFile>> PlanScan(FileIo& io, const iceberg::TableMetadata& metadata, int64_t snapshot_id,
                                       const std::vector<iceberg::ColumnPredicate>& conjuncts);

// Snapshot that was current on main at a time (snapshot log), for time travel. kNotFound names the oldest one there is.
Result<int64_t> SnapshotAsOf(const iceberg::TableMetadata& metadata, int64_t timestamp_ms);

// Whether a snapshot may hold rows that its parent has not: `replace` and `delete` have none, nor has what K2 rebuilt.
bool MayAddRows(const iceberg::Snapshot& snapshot);

// What was added to `main` after `from_snapshot` (exclusive; nullopt: from the beginning) up to `to_snapshot`.
struct Increment {
  std::vector<ScanFile> files;  // in commit order
  bool complete = true;  // false: from_snapshot is not an ancestor any more (expired, rolled back): read the current
                         // snapshot and cut by offsets instead; `files` is empty then
};
// `append` adds its files; snapshots of which MayAddRows is false add none; an `overwrite` without our key
// "k2.commit-id" is kOffsetMismatch: the layer stops (docs/source-offsets.md).
Result<Increment> PlanIncrement(FileIo& io, const iceberg::TableMetadata& metadata,
                                std::optional<int64_t> from_snapshot, int64_t to_snapshot);

}  // namespace k2
