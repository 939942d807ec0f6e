// Manifests and manifest lists of one table as files under <location>/metadata/.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/uuid.h"
#include "iceberg/manifest_store.h"
#include "io/file_io.h"
#include "table/manifest_cache.h"

namespace k2 {

class MetadataStore final : public iceberg::ManifestStore {
 public:
  MetadataStore(FileIo& io, std::string location) : io_(io), location_(std::move(location)) {}

  Result<std::string> Read(const std::string& path) override { return ManifestCache::Shared().Read(io_, path); }
  Status WriteNew(const std::string& path, std::string_view bytes) override {
    K2_TRY(io_.WriteNew(path, bytes));
    ManifestCache::Shared().Wrote(path, bytes);
    written_.push_back(path);
    return {};
  }
  std::string NewPath(iceberg::MetadataFileKind kind) override {
    const bool list = kind == iceberg::MetadataFileKind::kManifestList;
    return fmt::format("{}/metadata/{}{}.avro", location_, list ? "snap-" : "", RandomUuid().ToString());
  }

  [[nodiscard]] const std::vector<std::string>& written() const { return written_; }

 private:
  FileIo& io_;
  std::string location_;
  std::vector<std::string> written_;
};

}  // namespace k2
