// Manifests and manifest lists of one table as files of its metadata folder.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/uuid.h"
#include "iceberg/manifest_store.h"
#include "iceberg/metadata_folder.h"
#include "storage/file_io.h"
#include "table/manifest_cache.h"

namespace k2::table {

class MetadataStore final : public iceberg::ManifestStore {
 public:
  // For reading, and for writing to the folder `metadata` of a location.
  MetadataStore(storage::FileIo& io, const std::string& location) : io_(io), folder_(location + "/metadata") {}
  // For writing to a table: where its properties say.
  MetadataStore(storage::FileIo& io, const iceberg::TableMetadata& metadata)
      : io_(io), folder_(iceberg::MetadataFolder(metadata)) {}

  Result<std::string> Read(const std::string& path) override { return ManifestCache::Shared().Read(io_, path); }
  Status WriteNew(const std::string& path, std::string_view bytes) override {
    K2_TRY(io_.WriteNew(path, bytes));
    ManifestCache::Shared().Wrote(path, bytes);
    written_.push_back({path, static_cast<int64_t>(bytes.size())});
    return {};
  }
  std::string NewPath(iceberg::MetadataFileKind kind) override {
    const bool list = kind == iceberg::MetadataFileKind::kManifestList;
    return fmt::format("{}/{}{}.avro", folder_, list ? "snap-" : "", RandomUuid().ToString());
  }

  struct WrittenFile {
    std::string path;
    int64_t bytes = 0;
  };
  [[nodiscard]] const std::vector<WrittenFile>& written() const { return written_; }

 private:
  storage::FileIo& io_;
  std::string folder_;
  std::vector<WrittenFile> written_;
};

}  // namespace k2::table
