// Where manifests and manifest lists lie: the one thing that making a snapshot asks of the outside.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "iceberg/data_file.h"
#include "iceberg/table_metadata.h"

namespace k2::iceberg {

enum class MetadataFileKind { kManifest, kManifestList };

class ManifestStore {
 public:
  virtual ~ManifestStore() = default;
  virtual Result<std::string> Read(const std::string& path) = 0;
  // Writes a file that must not exist yet, durable when it returns. Who implements it remembers the paths: after a
  // failed commit, and only when the failure is certain, they are to be deleted.
  virtual Status WriteNew(const std::string& path, std::string_view bytes) = 0;
  // A path that no file had before.
  virtual std::string NewPath(MetadataFileKind kind) = 0;
};

// The manifests of a snapshot. Error kUnsupported: a version 1 snapshot that has no manifest list.
Result<std::vector<ManifestFile>> ReadManifests(ManifestStore& store, const Snapshot& snapshot);
Result<std::vector<ManifestEntry>> ReadEntries(ManifestStore& store, const TableMetadata& metadata,
                                               const ManifestFile& manifest);
// Encodes and writes a manifest under a new path.
Result<ManifestFile> WriteManifest(ManifestStore& store, const TableMetadata& metadata, int32_t spec_id,
                                   ManifestContent content, int64_t snapshot_id,
                                   const std::vector<ManifestEntry>& entries);

}  // namespace k2::iceberg
