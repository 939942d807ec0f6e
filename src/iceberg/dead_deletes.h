// Delete files within one commit that removes data files: which of them came since it was planned, and which have
// nothing left to apply to.
#pragma once

#include <cstdint>
#include <vector>

#include "iceberg/delete_index.h"
#include "iceberg/manifest_store.h"
#include "iceberg/snapshot_summary.h"

namespace k2::iceberg {

class DeadDeletes {
 public:
  DeadDeletes(ManifestStore& store, const TableMetadata& metadata, int64_t snapshot_id)
      : store_(store), metadata_(metadata), snapshot_id_(snapshot_id) {}

  // Reads the live delete files that these manifests list. Indexes into `manifests` are remembered.
  Status Read(const std::vector<ManifestFile>& manifests);
  [[nodiscard]] bool empty() const { return manifests_.empty(); }

  // kConflict: a position delete file (or, with `equality`, any) later than the sequence number may apply to one of
  // these data files, whose rows were read before it came.
  [[nodiscard]] Status CheckNoneSince(int64_t sequence_number, bool equality,
                                      const std::vector<ManifestEntry>& data_files) const;

  // Removes the delete files, none of them later than `sequence_number`, that applied to these data files and apply to
  // none that `manifests` still list: their manifests are written again.
  Status Drop(const std::vector<ManifestEntry>& data_files, int64_t sequence_number,
              std::vector<ManifestFile>& manifests, SnapshotChanges& changes) const;

 private:
  struct Listed {
    size_t manifest = 0;
    std::vector<ManifestEntry> entries;
  };

  ManifestStore& store_;
  const TableMetadata& metadata_;
  int64_t snapshot_id_;
  std::vector<Listed> manifests_;
};

}  // namespace k2::iceberg
