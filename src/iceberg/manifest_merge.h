// Keeping manifest lists short: many small manifests into one, now and then.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "iceberg/manifest_store.h"

namespace k2::iceberg {

// Table properties commit.manifest-merge.enabled, commit.manifest.min-count-to-merge,
// commit.manifest.target-size-bytes.
struct MergePolicy {
  bool enabled = true;
  int64_t min_count = 100;
  int64_t target_bytes = int64_t{8} << 20;
  static MergePolicy Of(const TableMetadata& metadata);
};

// Which manifests, by index in `sizes`, to merge into one: none until min_count of them are small (below half the
// target); then the smallest ones, up to the first that is more than twice what is before it. So an entry is written
// again only when its manifest at least grows by half: O(log n) times in all, and not at every merge.
std::vector<size_t> ChooseMerge(const std::vector<int64_t>& sizes, const MergePolicy& policy);

// Merges data manifests of one partition spec where the policy says so; those of `snapshot_id` itself are left alone,
// so that a retry may use them again. Merged ones keep live entries only, as EXISTING, with their sequence numbers.
Status MergeManifests(ManifestStore& store, const TableMetadata& metadata, int64_t snapshot_id,
                      const MergePolicy& policy, std::vector<ManifestFile>& manifests);

}  // namespace k2::iceberg
