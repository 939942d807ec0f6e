#include "iceberg/manifest_merge.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "iceberg/manifest.h"

namespace k2::iceberg {

MergePolicy MergePolicy::Of(const TableMetadata& metadata) {
  MergePolicy policy;
  const auto enabled = metadata.properties.find("commit.manifest-merge.enabled");
  policy.enabled = enabled == metadata.properties.end() || enabled->second != "false";
  policy.min_count = std::max<int64_t>(2, metadata.PropertyOr("commit.manifest.min-count-to-merge", policy.min_count));
  policy.target_bytes =
      std::max<int64_t>(1, metadata.PropertyOr("commit.manifest.target-size-bytes", policy.target_bytes));
  return policy;
}

std::vector<size_t> ChooseMerge(const std::vector<int64_t>& sizes, const MergePolicy& policy) {
  const auto small = std::ranges::count_if(sizes, [&](int64_t size) { return size < policy.target_bytes / 2; });
  if (!policy.enabled || small < policy.min_count) return {};
  std::vector<size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) { return sizes[i]; });
  int64_t sum = 0;
  size_t chosen = 0;
  for (; chosen < order.size(); ++chosen) {
    const int64_t size = sizes[order[chosen]];
    if (sum + size > policy.target_bytes || (chosen >= 2 && size / 2 > sum)) break;
    sum += size;
  }
  order.resize(chosen < 2 ? 0 : chosen);
  std::ranges::sort(order);
  return order;
}

Status MergeManifests(ManifestStore& store, const TableMetadata& metadata, int64_t snapshot_id,
                      const MergePolicy& policy, std::vector<ManifestFile>& manifests) {
  std::map<int32_t, std::vector<size_t>> by_spec;
  for (size_t i = 0; i < manifests.size(); ++i) {
    const bool ours = manifests[i].added_snapshot_id == snapshot_id;
    if (!ours && manifests[i].content == ManifestContent::kData) by_spec[manifests[i].partition_spec_id].push_back(i);
  }
  std::vector<bool> gone(manifests.size());
  std::vector<ManifestFile> merged;
  for (const auto& [spec_id, group] : by_spec) {
    std::vector<int64_t> sizes;
    for (const size_t i : group) sizes.push_back(manifests[i].manifest_length);
    std::vector<ManifestEntry> entries;
    for (const size_t chosen : ChooseMerge(sizes, policy)) {
      const size_t i = group[chosen];
      gone[i] = true;
      K2_ASSIGN(std::vector<ManifestEntry> read, ReadEntries(store, metadata, manifests[i]));
      for (ManifestEntry& entry : read) {
        if (!IsLive(entry)) continue;
        entry.status = EntryStatus::kExisting;
        entries.push_back(std::move(entry));
      }
    }
    if (entries.empty()) continue;
    K2_ASSIGN(ManifestFile file, WriteManifest(store, metadata, spec_id, ManifestContent::kData, snapshot_id, entries));
    merged.push_back(std::move(file));
  }
  size_t i = 0;
  std::erase_if(manifests, [&](const ManifestFile&) { return gone[i++]; });
  manifests.insert(manifests.end(), std::make_move_iterator(merged.begin()), std::make_move_iterator(merged.end()));
  return {};
}

}  // namespace k2::iceberg
