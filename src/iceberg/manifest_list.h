// Manifest lists: one a snapshot (format/spec.md, "Manifest Lists"). Written as version 2, read as version 1 or 2.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "iceberg/data_file.h"

namespace k2::iceberg {

// The list of a snapshot's manifests. Sequence numbers that are kUnassignedSequence become the snapshot's. Error
// kInvalidArgument: a count is kUnknownCount.
Result<std::string> EncodeManifestList(int64_t snapshot_id, std::optional<int64_t> parent_snapshot_id,
                                       int64_t sequence_number, const std::vector<ManifestFile>& manifests);

// Errors: kInvalidData, kUnsupported. Counts that a version 1 list leaves out are kUnknownCount.
Result<std::vector<ManifestFile>> DecodeManifestList(std::string_view bytes);

}  // namespace k2::iceberg
