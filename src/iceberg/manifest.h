// Manifests: which files a part of a table has, as Avro files (format/spec.md, "Manifests"). Written as version 2, read
// as version 1 or 2.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "iceberg/data_file.h"
#include "iceberg/table_metadata.h"

namespace k2::iceberg {

// Sequence numbers of a manifest that no snapshot has been given yet: the manifest list's writer fills them in.
inline constexpr int64_t kUnassignedSequence = -1;
// A count that a version 1 manifest list leaves out; to be taken as not zero.
inline constexpr int32_t kUnknownCount = -1;

inline bool IsLive(const ManifestEntry& entry) { return entry.status != EntryStatus::kDeleted; }
// May the manifest have live entries, by its counts?
inline bool MayHaveLiveFiles(const ManifestFile& manifest) {
  return manifest.added_files_count != 0 || manifest.existing_files_count != 0;
}

// Type of each partition value of a spec. A `void` field whose source column is gone counts as string.
// Errors: kInvalidData (no such column), kUnsupported (unknown transform).
Result<std::vector<Type>> PartitionTypes(const PartitionSpec& spec, const TableMetadata& metadata);

struct EncodedManifest {
  std::string bytes;
  // What a manifest list says of it: all but the path. sequence_number is kUnassignedSequence, and so is
  // min_sequence_number when live entries inherit theirs and no other is known.
  ManifestFile file;
};
// All entries must be of the spec and of the content; those that are not kAdded need sequence numbers.
// `snapshot_id` is the snapshot that writes it. Errors: kInvalidArgument.
Result<EncodedManifest> EncodeManifest(const TableMetadata& metadata, int32_t spec_id, ManifestContent content,
                                       int64_t snapshot_id, const std::vector<ManifestEntry>& entries);

// The entries of a manifest, in order, with what they inherit from `manifest` (its line in the manifest list) filled
// in. Partition values are of the spec's present types. Errors: kInvalidData, kUnsupported; they name the manifest.
Result<std::vector<ManifestEntry>> DecodeManifest(std::string_view bytes, const ManifestFile& manifest,
                                                  const TableMetadata& metadata);

}  // namespace k2::iceberg
