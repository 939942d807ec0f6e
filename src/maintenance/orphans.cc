#include "maintenance/orphans.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "base/log.h"
#include "catalog/metadata_files.h"
#include "catalog/metadata_history.h"
#include "iceberg/own_files.h"
#include "iceberg/reachable_files.h"
#include "table/metadata_store.h"

namespace k2::maintenance {
namespace {

std::string_view LastName(std::string_view path) { return path.substr(path.rfind('/') + 1); }

// What is no file of a table is somebody's own.
bool IsTablesKind(std::string_view below_location) {
  static constexpr std::array<std::string_view, 3> kData = {".parquet", ".avro", ".orc"};
  static constexpr std::array<std::string_view, 4> kMetadata = {".avro", ".metadata.json", ".stats", ".puffin"};
  const auto ends = [&](std::string_view ending) { return below_location.ends_with(ending); };
  return (below_location.starts_with("/data/") && std::ranges::any_of(kData, ends)) ||
         (below_location.starts_with("/metadata/") && std::ranges::any_of(kMetadata, ends));
}

Status AddStatistics(const std::vector<iceberg::StatisticsEntry>& entries, std::set<std::string>& names) {
  for (const iceberg::StatisticsEntry& entry : entries) {
    const auto json = nlohmann::json::parse(entry.json, nullptr, /*allow_exceptions=*/false);
    const auto path = json.is_object() ? json.find("statistics-path") : json.end();
    if (!json.is_object() || path == json.end() || !path->is_string()) {
      return Fail(ErrorKind::kInvalidData,
                  "a statistics file of snapshot {} has no path: cannot search for orphan files", entry.snapshot_id);
    }
    names.emplace(LastName(path->get_ref<const std::string&>()));
  }
  return {};
}

// Last names of all that the table names.
Result<std::set<std::string>> NamesInUse(const table::Table& table) {
  const iceberg::TableMetadata& metadata = table.metadata();
  std::set<std::string> names{std::string(LastName(table.state().metadata_location))};
  for (const iceberg::MetadataLogEntry& entry : metadata.metadata_log) names.emplace(LastName(entry.metadata_file));
  K2_TRY(AddStatistics(metadata.statistics, names));
  K2_TRY(AddStatistics(metadata.partition_statistics, names));
  table::MetadataStore store(table.io(), metadata.location);
  K2_TRY(iceberg::ForEachReachable(store, metadata, [&](iceberg::ReachableKind, const std::string& path) {
    names.emplace(LastName(path));
    return Status{};
  }));
  return names;
}

// A metadata file that this table's history does not name may name files of its own that do. Those of another table, or
// of commits that this catalog has forgotten, would be lost with all their rows. What killed attempts and creations
// have left, cut-off files among it, names nothing that counts.
Status CheckMetadataFile(table::Table& table, const std::string& location) {
  const auto refuse = [&](std::string_view why) {
    return Fail(ErrorKind::kConflict,
                "{}: {} {}: no orphan file was removed. `k2 tables recover --dry-run` shows the state of the tables "
                "(docs/recovery.md); move the file elsewhere if it is not needed",
                table.name().ToString(), location, why);
  };
  const auto file = catalog::ReadMetadataFile(table.io(), location);
  if (!file) {
    const ErrorKind kind = file.error().kind;
    if (kind == ErrorKind::kInvalidData || kind == ErrorKind::kNotFound) return {};
    return kind == ErrorKind::kUnsupported ? refuse("cannot be read") : Status(std::unexpected(file.error()));
  }
  const iceberg::TableMetadata& metadata = *file->metadata;
  if (!catalog::HoldsDataFiles(metadata)) return {};
  if (metadata.table_uuid != table.metadata().table_uuid) {
    return refuse(fmt::format("is the metadata of another table (uuid {})", metadata.table_uuid));
  }
  if (metadata.last_sequence_number > table.metadata().last_sequence_number + 1) {
    return refuse("is newer than the metadata in the catalog");
  }
  return {};
}

}  // namespace

Result<OrphanReport> RemoveOrphans(table::Table& table, int64_t now_us, const OrphanOptions& options) {
  if (options.older_than_us < kOrphanAgeMinUs) {
    return Fail(ErrorKind::kInvalidArgument,
                "orphan files younger than {} hours are not removed: they may belong to a running commit, which times "
                "out after {} hours",
                kOrphanAgeMinUs / kMicrosPerHour, kAttemptAgeMaxUs / kMicrosPerHour);
  }
  K2_TRY(iceberg::CheckGarbageCollected(table.metadata(), table.name().ToString(), "no orphan file was removed"));
  const std::string location = table.metadata().location;
  // Listed before the table is read: what is committed in between is named then.
  K2_ASSIGN(std::vector<storage::FileInfo> files, table.io().List(location));
  K2_TRY(table.Refresh());
  if (table.metadata().location != location) {
    return Fail(ErrorKind::kConflict, "{} was moved to {} during the run: start again", table.name().ToString(),
                table.metadata().location);
  }
  K2_ASSIGN(const std::set<std::string> names, NamesInUse(table));
  OrphanReport report;
  const std::string_view root = iceberg::WithoutScheme(location);
  for (storage::FileInfo& file : files) {
    const std::string_view path = iceberg::WithoutScheme(file.location);
    if (!path.starts_with(root)) continue;
    if (catalog::IsMetadataFileName(path) && !names.contains(std::string(LastName(path)))) {
      K2_TRY(CheckMetadataFile(table, file.location));
    }
    if (!IsTablesKind(path.substr(root.size()))) continue;
    if (file.modified_us > now_us - options.older_than_us || names.contains(std::string(LastName(path)))) continue;
    report.bytes += file.size_bytes;
    report.files.push_back(std::move(file));
  }
  std::ranges::sort(report.files, {}, &storage::FileInfo::location);
  if (options.dry_run) return report;
  for (const storage::FileInfo& file : report.files) {
    const Status deleted = table.io().Delete(file.location);
    if (deleted) continue;
    if (++report.not_deleted == 1) {
      log::Warn("cannot remove an orphan file", {{"file", file.location}, {"error", deleted.error().message}});
    }
  }
  return report;
}

}  // namespace k2::maintenance
