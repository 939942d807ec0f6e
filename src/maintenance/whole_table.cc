#include "maintenance/whole_table.h"

#include <unordered_set>

#include "iceberg/manifest.h"
#include "iceberg/relocation.h"
#include "storage/moved_file_io.h"
#include "table/metadata_store.h"

namespace k2::maintenance {
namespace {

class WholeCheck {
 public:
  WholeCheck(StoredFiles& stored, const iceberg::TableMetadata& metadata, size_t lines_max)
      : stored_(stored), metadata_(metadata), store_(stored.io(), metadata), lines_max_(lines_max) {}

  Result<std::vector<std::string>> Run() {
    // The newest first: what is missing there matters most.
    for (auto snapshot = metadata_.snapshots.rbegin(); snapshot != metadata_.snapshots.rend(); ++snapshot) {
      K2_TRY(Look(*snapshot));
    }
    for (const auto* entries : {&metadata_.statistics, &metadata_.partition_statistics}) {
      for (const iceberg::StatisticsEntry& entry : *entries) {
        K2_ASSIGN(const std::string path, iceberg::StatisticsPath(entry));
        K2_TRY(CheckFile("statistics file", path, 0));
      }
    }
    if (faults_ > lines_.size()) lines_.push_back(fmt::format("and {} more", faults_ - lines_.size()));
    return std::move(lines_);
  }

 private:
  void Note(std::string line) {
    if (faults_++ < lines_max_) lines_.push_back(std::move(line));
  }

  // Size 0: not known.
  Result<bool> CheckFile(std::string_view kind, const std::string& location, int64_t size) {
    if (!seen_.insert(location).second) return true;
    K2_ASSIGN(const int64_t found, stored_.SizeOf(location));
    if (found < 0) {
      Note(fmt::format("{} {} is missing", kind, location));
    } else if (size > 0 && found != size) {
      Note(fmt::format("{} {} has {} bytes, not {}", kind, location, found, size));
    }
    return found >= 0 && (size <= 0 || found == size);
  }

  // A file that cannot be read is a fault of the table, a store that does not answer is none.
  static bool IsFault(const Error& error) {
    return error.kind == ErrorKind::kInvalidData || error.kind == ErrorKind::kNotFound ||
           error.kind == ErrorKind::kUnsupported;
  }

  Status Look(const iceberg::Snapshot& snapshot) {
    if (seen_.contains(snapshot.manifest_list)) return {};
    K2_ASSIGN(const bool there, CheckFile("manifest list", snapshot.manifest_list, 0));
    if (!there) return {};
    const auto manifests = iceberg::ReadManifests(store_, snapshot);
    if (!manifests) {
      if (!IsFault(manifests.error())) return std::unexpected(manifests.error());
      Note(manifests.error().message);
      return {};
    }
    for (const iceberg::ManifestFile& manifest : *manifests) {
      if (seen_.contains(manifest.manifest_path)) continue;
      K2_ASSIGN(const bool readable, CheckFile("manifest", manifest.manifest_path, manifest.manifest_length));
      if (readable) K2_TRY(LookInto(manifest));
    }
    return {};
  }

  Status LookInto(const iceberg::ManifestFile& manifest) {
    const auto entries = iceberg::ReadEntries(store_, metadata_, manifest);
    if (!entries) {
      if (!IsFault(entries.error())) return std::unexpected(entries.error());
      Note(entries.error().message);
      return {};
    }
    for (const iceberg::ManifestEntry& entry : *entries) {
      if (!iceberg::IsLive(entry)) continue;
      const bool data = entry.file.content == iceberg::FileContent::kData;
      K2_TRY(CheckFile(data ? "data file" : "delete file", entry.file.file_path, entry.file.file_size_in_bytes));
    }
    return {};
  }

  StoredFiles& stored_;
  const iceberg::TableMetadata& metadata_;
  table::MetadataStore store_;
  const size_t lines_max_;
  std::unordered_set<std::string> seen_;
  std::vector<std::string> lines_;
  size_t faults_ = 0;
};

}  // namespace

Status StoredFiles::AddFolder(const std::string& folder) {
  K2_ASSIGN(std::vector<storage::FileInfo> files, io_->List(folder));
  for (storage::FileInfo& file : files) {
    if (!sizes_.emplace(storage::BareLocation(file.location), file.size_bytes).second) continue;
    listed_.push_back(std::move(file));
  }
  return {};
}

StoredFiles StoredFiles::NamedBefore(const storage::LocationMap& map) const {
  StoredFiles before = *this;
  before.map_ = map;
  before.io_ = storage::MakeMovedFileIo(base_, map, "its files are read-only");
  return before;
}

Result<int64_t> StoredFiles::SizeOf(const std::string& location) {
  const std::string now = map_ ? map_->ApplyOrKeep(location) : location;
  const std::string key(storage::BareLocation(now));
  if (const auto found = sizes_.find(key); found != sizes_.end()) return found->second;
  const auto size = io_->Size(location);
  if (!size && size.error().kind != ErrorKind::kNotFound && size.error().kind != ErrorKind::kInvalidArgument) {
    return std::unexpected(size.error());
  }
  return sizes_[key] = size.value_or(-1);
}

Result<std::vector<std::string>> FaultsOf(StoredFiles& stored, const iceberg::TableMetadata& metadata,
                                          size_t lines_max) {
  return WholeCheck(stored, metadata, lines_max).Run();
}

}  // namespace k2::maintenance
