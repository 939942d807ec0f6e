#include "iceberg/manifest_store.h"

#include "iceberg/manifest.h"
#include "iceberg/manifest_list.h"

namespace k2::iceberg {

Result<std::vector<ManifestFile>> ReadManifests(ManifestStore& store, const Snapshot& snapshot) {
  if (snapshot.manifest_list.empty()) {
    return Fail(ErrorKind::kUnsupported,
                "snapshot {} has no manifest list (Iceberg format version 1): upgrade the table to version 2",
                snapshot.snapshot_id);
  }
  K2_ASSIGN(const std::string bytes, store.Read(snapshot.manifest_list));
  auto manifests = DecodeManifestList(bytes);
  if (!manifests) return std::unexpected(manifests.error().With("manifest list " + snapshot.manifest_list));
  return manifests;
}

Result<std::vector<ManifestEntry>> ReadEntries(ManifestStore& store, const TableMetadata& metadata,
                                               const ManifestFile& manifest) {
  K2_ASSIGN(const std::string bytes, store.Read(manifest.manifest_path));
  return DecodeManifest(bytes, manifest, metadata);
}

Result<ManifestFile> WriteManifest(ManifestStore& store, const TableMetadata& metadata, int32_t spec_id,
                                   ManifestContent content, int64_t snapshot_id,
                                   const std::vector<ManifestEntry>& entries) {
  K2_ASSIGN(EncodedManifest encoded, EncodeManifest(metadata, spec_id, content, snapshot_id, entries));
  encoded.file.manifest_path = store.NewPath(MetadataFileKind::kManifest);
  K2_TRY(store.WriteNew(encoded.file.manifest_path, encoded.bytes));
  return std::move(encoded.file);
}

}  // namespace k2::iceberg
