#include "catalog/metadata_history.h"

#include <algorithm>

#include "base/time.h"
#include "catalog/metadata_files.h"

namespace k2::catalog {
namespace {

// Names of the metadata files of a folder, the highest version first.
Result<std::vector<std::string>> MetadataFilesIn(storage::FileIo& io, const std::string& folder) {
  K2_ASSIGN(const std::vector<storage::FileInfo> files, io.List(folder));
  std::vector<std::string> names;
  for (const storage::FileInfo& file : files) {
    if (IsMetadataFileName(file.location)) names.push_back(file.location);
  }
  std::ranges::sort(names, std::ranges::greater{},
                    [](const std::string& name) { return std::pair(MetadataVersionOf(name), name); });
  return names;
}

std::string TimeOf(int64_t time_ms) { return FormatTimestamp(time_ms * 1000); }

// "…, which is 21 commits behind the newest one there, of <time>; it is older than <time>".
std::string HowFarBehind(storage::FileIo& io, const std::string& location) {
  const std::string folder = location.substr(0, location.rfind('/'));
  const auto names = MetadataFilesIn(io, folder);
  if (!names) return fmt::format("cannot list {}: {}", folder, names.error().message);
  for (const std::string& name : *names) {
    const auto file = ReadMetadataFile(io, name);
    if (!file) continue;
    const iceberg::TableMetadata& newest = *file->metadata;
    std::string text =
        fmt::format("The newest file there is {}, of {}", LastNameOf(name), TimeOf(newest.last_updated_ms));
    const int64_t commits = MetadataVersionOf(name) - MetadataVersionOf(location);
    if (commits > 0 && MetadataVersionOf(location) >= 0) text += fmt::format(", {} commits later", commits);
    const auto logged = std::ranges::find_if(newest.metadata_log, [&](const iceberg::MetadataLogEntry& entry) {
      return LastNameOf(entry.metadata_file) == LastNameOf(location);
    });
    if (logged != newest.metadata_log.end()) {
      text += fmt::format("; the catalog's is of {}", TimeOf(logged->timestamp_ms));
    } else if (!newest.metadata_log.empty()) {
      text += fmt::format("; the catalog's is older than {}", TimeOf(newest.metadata_log.front().timestamp_ms));
    }
    return text;
  }
  return fmt::format("There is no metadata file in {}", folder);
}

}  // namespace

std::string_view LastNameOf(std::string_view location) { return location.substr(location.rfind('/') + 1); }

MetadataHistory::MetadataHistory(const std::vector<MetadataFile>& files) {
  for (const MetadataFile& file : files) {
    std::string_view before;
    const auto follows = [&](std::string_view name) {
      if (!before.empty() && before != name) parent_.try_emplace(std::string(name), before);
      before = name;
    };
    for (const iceberg::MetadataLogEntry& entry : file.metadata->metadata_log) follows(LastNameOf(entry.metadata_file));
    follows(LastNameOf(file.location));
  }
}

int64_t MetadataHistory::Depth(std::string_view location) const {
  std::string_view name = LastNameOf(location);
  int64_t steps = 0;
  for (auto at = parent_.find(name); at != parent_.end() && steps <= static_cast<int64_t>(parent_.size()); ++steps) {
    name = at->second;
    at = parent_.find(name);
  }
  return steps + std::max<int64_t>(0, MetadataVersionOf(name));
}

bool MetadataHistory::WasCurrent(std::string_view location) const {
  const std::string_view name = LastNameOf(location);
  return std::ranges::any_of(parent_, [&](const auto& pair) { return pair.second == name; });
}

bool MetadataHistory::Descends(std::string_view location, std::string_view ancestor) const {
  std::string_view name = LastNameOf(location);
  for (size_t steps = 0; steps <= parent_.size(); ++steps) {
    const auto above = parent_.find(name);
    if (above == parent_.end()) return false;
    name = above->second;
    if (name == LastNameOf(ancestor)) return true;
  }
  return false;
}

Result<MetadataFile> ReadMetadataFile(storage::FileIo& io, const std::string& location) {
  MetadataCache cache(std::shared_ptr<storage::FileIo>(std::shared_ptr<storage::FileIo>(), &io));  // not owned
  K2_ASSIGN(auto metadata, cache.Get(location));
  return MetadataFile{location, std::move(metadata)};
}

bool HoldsDataFiles(const iceberg::TableMetadata& metadata) {
  return std::ranges::any_of(metadata.snapshots, [](const iceberg::Snapshot& snapshot) {
    const auto total = snapshot.summary.find("total-data-files");
    return total == snapshot.summary.end() || total->second != "0";
  });
}

Status CheckNoTableAt(storage::FileIo& io, const TableName& table, const std::string& metadata_folder,
                      std::string_view own_uuid) {
  K2_ASSIGN(const std::vector<std::string> names, MetadataFilesIn(io, metadata_folder));
  for (const std::string& name : names) {
    const auto file = ReadMetadataFile(io, name);
    // A first file that is cut short was never named by anything.
    if (!file && (file.error().kind == ErrorKind::kNotFound ||
                  (file.error().kind == ErrorKind::kInvalidData && MetadataVersionOf(name) <= 0))) {
      continue;
    }
    if (file && (!HoldsDataFiles(*file->metadata) || file->metadata->table_uuid == own_uuid)) continue;
    return Fail(
        ErrorKind::kInvalidArgument,
        "cannot create {}: {} holds the metadata of a table that is not in the catalog ({}{}). `k2 tables recover` "
        "registers it; or move the files elsewhere if they are not needed",
        table.ToString(), metadata_folder, LastNameOf(name),
        file ? fmt::format(", uuid {}, {} snapshots", file->metadata->table_uuid, file->metadata->snapshots.size())
             : "");
  }
  return {};
}

Error MissingMetadata(storage::FileIo& io, const TableName& table, const std::string& location,
                      const std::string& catalog) {
  return {ErrorKind::kInvalidData,
          fmt::format("table {}: the metadata file that the {} references is gone: {}. {}. `k2 tables recover` finds "
                      "the newest state of the table in its files and registers it (docs/recovery.md)",
                      table.ToString(), catalog, location, HowFarBehind(io, location))};
}

}  // namespace k2::catalog
