#include "maintenance/relocate.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/failpoint.h"
#include "catalog/metadata_files.h"
#include "catalog/metadata_history.h"
#include "catalog/warehouse_place.h"
#include "iceberg/manifest.h"
#include "iceberg/relocation.h"
#include "maintenance/recover.h"
#include "maintenance/whole_table.h"
#include "storage/location.h"
#include "storage/moved_file_io.h"
#include "table/metadata_store.h"
#include "table/position_deletes.h"

namespace k2::maintenance {
namespace {

using iceberg::TableMetadata;

constexpr std::string_view kWritePaths[] = {"write.metadata.path", "write.data.path", "write.object-storage.path",
                                            "write.folder-storage.path"};

// What a copy must not have in common with its original.
Status CheckApart(const TableMetadata& metadata, const storage::LocationMap& map) {
  const std::string to = map.ApplyOrKeep(metadata.location);
  if (!storage::LiesUnder(to, map.to())) {
    return Fail(ErrorKind::kInvalidArgument,
                "its files are at {}, outside the copied warehouse: both warehouses would write there. Drop it from "
                "this catalog (its files stay), or copy it to a folder below {}",
                metadata.location, map.to());
  }
  for (const std::string_view name : kWritePaths) {
    const auto set = metadata.properties.find(std::string(name));
    if (set == metadata.properties.end() || storage::LiesUnder(map.ApplyOrKeep(set->second), map.to())) continue;
    return Fail(ErrorKind::kInvalidArgument,
                "its property {} is {}, outside the copied warehouse: both warehouses would write there. Remove the "
                "property from the original, then copy again",
                name, set->second);
  }
  const auto before = storage::LocalPath(metadata.location);
  const auto now = storage::LocalPath(to);
  if (map.Apply(metadata.location) && before && now && catalog::IsSameFile(*before, *now)) {
    return Fail(ErrorKind::kInvalidArgument, "{} is a link to the original's {}: copy the files themselves", *now,
                *before);
  }
  return {};
}

class TableRelocation {
 public:
  TableRelocation(const std::shared_ptr<storage::FileIo>& io, const storage::LocationMap& map,
                  catalog::MetadataFile current, const RelocateOptions& options)
      : io_(io),
        map_(map),
        before_(storage::MakeMovedFileIo(io, map, "it is read-only while the tables are relocated")),
        current_(std::move(current)),
        options_(options) {}

  Result<RelocatedTable> Run() {
    const TableMetadata& metadata = *current_.metadata;
    done_.snapshots = static_cast<int64_t>(metadata.snapshots.size());
    done_.metadata_location = current_.location;
    if (options_.copied) K2_TRY(CheckApart(metadata, map_));
    StoredFiles stored(io_);
    K2_TRY(stored.AddFolder(map_.ApplyOrKeep(metadata.location)));
    StoredFiles named_before = stored.NamedBefore(map_);
    K2_TRY(CheckWhole(named_before, metadata));
    K2_TRY(Prepare());
    if (options_.dry_run) {
      done_.outcome = "to relocate";
      return done_;
    }
    K2_TRY(RewriteDeletes());
    std::map<std::string, std::string> lists;
    for (const iceberg::Snapshot& snapshot : metadata.snapshots) {
      if (lists.contains(snapshot.manifest_list)) continue;
      K2_ASSIGN(lists[snapshot.manifest_list], RewriteList(snapshot));
    }
    K2_ASSIGN(TableMetadata moved,
              Moved([&](const iceberg::Snapshot& snapshot) { return lists.at(snapshot.manifest_list); }));
    StoredFiles stored_now(io_);
    K2_TRY(stored_now.AddFolder(moved.location));
    K2_TRY(CheckWhole(stored_now, moved));
    const std::string log_entry = map_.ApplyOrKeep(current_.location);
    (void)iceberg::AddToMetadataLog(moved, log_entry, metadata.last_updated_ms);
    done_.metadata_location = catalog::NewMetadataLocation(moved, current_.location);
    K2_TRY(io_->WriteNew(done_.metadata_location, iceberg::TableMetadataToJson(moved)));
    Failpoint("relocate.metadata-written");
    done_.outcome = "relocated";
    return done_;
  }

 private:
  static Status CheckWhole(StoredFiles& stored, const TableMetadata& metadata) {
    K2_ASSIGN(const std::vector<std::string> faults, FaultsOf(stored, metadata));
    if (faults.empty()) return {};
    return Fail(ErrorKind::kInvalidData, "not all of its files are at the new location: {}",
                fmt::to_string(fmt::join(faults, "; ")));
  }

  Result<TableMetadata> Moved(const std::function<std::string(const iceberg::Snapshot&)>& list) const {
    return iceberg::RelocateMetadata(
        *current_.metadata,
        [&](std::string_view location) -> std::optional<std::string> {
          if (const auto to = map_.Apply(location)) return to;
          return storage::LiesUnder(location, map_.to()) ? std::optional(std::string(location)) : std::nullopt;
        },
        list);
  }

  // Where what is written goes; what there is to write.
  Status Prepare() {
    K2_ASSIGN(target_, Moved([](const iceberg::Snapshot& snapshot) { return snapshot.manifest_list; }));
    table::MetadataStore store(*before_, *current_.metadata);
    std::map<std::string, bool> seen;
    for (const iceberg::Snapshot& snapshot : current_.metadata->snapshots) {
      K2_ASSIGN(const auto manifests, iceberg::ReadManifests(store, snapshot));
      for (const iceberg::ManifestFile& manifest : manifests) {
        if (!seen.emplace(manifest.manifest_path, true).second) continue;
        ++done_.manifests;
        if (manifest.content != iceberg::ManifestContent::kDeletes) continue;
        K2_ASSIGN(const auto entries, iceberg::ReadEntries(store, *current_.metadata, manifest));
        for (const iceberg::ManifestEntry& entry : entries) {
          if (iceberg::IsLive(entry) && entry.file.content == iceberg::FileContent::kPositionDeletes) {
            rewritten_.try_emplace(entry.file.file_path);
          }
        }
      }
    }
    done_.delete_files = static_cast<int64_t>(rewritten_.size());
    return {};
  }

  [[nodiscard]] std::string NameOf(const std::string& location) const { return map_.ApplyOrKeep(location); }

  Status RewriteDeletes() {
    for (auto& [path, rewritten] : rewritten_) {
      const auto moved = map_.Apply(path);
      const std::string folder = moved ? moved->substr(0, moved->rfind('/')) : target_.location + "/data";
      const std::string to = fmt::format("{}/{}-deletes.parquet", folder, RandomUuid().ToString());
      K2_ASSIGN(rewritten, table::RewritePositionDeletes(
                               *io_, NameOf(path), to, [&](const std::string& location) { return NameOf(location); }));
    }
    return {};
  }

  Result<iceberg::MovedManifest> RewriteManifest(const std::string& path) {
    if (const auto found = manifests_.find(path); found != manifests_.end()) return found->second;
    K2_ASSIGN(const std::string bytes, before_->Read(path));
    auto written = iceberg::RelocateManifest(
        bytes, [&](const std::string& location) { return NameOf(location); },
        [&](const std::string& location) -> const iceberg::RewrittenFile* {
          const auto found = rewritten_.find(location);
          return found == rewritten_.end() ? nullptr : &found->second;
        });
    if (!written) return std::unexpected(written.error().With("manifest " + path));
    table::MetadataStore store(*io_, target_);
    const iceberg::MovedManifest moved{store.NewPath(iceberg::MetadataFileKind::kManifest),
                                       static_cast<int64_t>(written->size())};
    K2_TRY(store.WriteNew(moved.location, *written));
    Failpoint("relocate.manifest");
    return manifests_[path] = moved;
  }

  Result<std::string> RewriteList(const iceberg::Snapshot& snapshot) {
    K2_ASSIGN(const std::string bytes, before_->Read(snapshot.manifest_list));
    auto written = iceberg::RelocateManifestList(bytes, [&](const std::string& path) { return RewriteManifest(path); });
    if (!written) return std::unexpected(written.error().With("manifest list " + snapshot.manifest_list));
    table::MetadataStore store(*io_, target_);
    const std::string path = store.NewPath(iceberg::MetadataFileKind::kManifestList);
    K2_TRY(store.WriteNew(path, *written));
    return path;
  }

  const std::shared_ptr<storage::FileIo>& io_;
  const storage::LocationMap& map_;
  std::shared_ptr<storage::FileIo> before_;  // by the old names
  catalog::MetadataFile current_;
  const RelocateOptions& options_;
  TableMetadata target_;  // as it will be, but for the manifest lists
  std::map<std::string, iceberg::RewrittenFile> rewritten_;
  std::unordered_map<std::string, iceberg::MovedManifest> manifests_;
  RelocatedTable done_;
};

// The original's catalog and this one must be two files.
Status CheckCatalogsApart(const storage::LocationMap& map) {
  const auto from = storage::LocalPath(map.from());
  const auto to = storage::LocalPath(map.to());
  if (!from || !to || !catalog::IsSameFile(*from + "/catalog.db", *to + "/catalog.db")) return {};
  return Fail(ErrorKind::kInvalidArgument,
              "{}/catalog.db is the same file as the original's, a hard or symbolic link: copy the file itself", *to);
}

}  // namespace

bool NeedsRelocation(const TableMetadata& metadata, const storage::LocationMap& map) {
  return map.Apply(metadata.location) ||
         std::ranges::any_of(metadata.snapshots, [&](const iceberg::Snapshot& snapshot) {
           return map.Apply(snapshot.manifest_list).has_value();
         });
}

Result<RelocatedTable> RelocateTable(const std::shared_ptr<storage::FileIo>& io, const storage::LocationMap& map,
                                     const std::string& current, const RelocateOptions& options) {
  const auto before = storage::MakeMovedFileIo(io, map, "it is read-only");
  K2_ASSIGN(catalog::MetadataFile file, catalog::ReadMetadataFile(*before, current));
  if (!NeedsRelocation(*file.metadata, map)) {
    if (options.copied) K2_TRY(CheckApart(*file.metadata, map));
    const bool inside = storage::LiesUnder(file.metadata->location, map.to());
    return RelocatedTable{.outcome = inside ? "in place" : "elsewhere",
                          .metadata_location = current,
                          .snapshots = static_cast<int64_t>(file.metadata->snapshots.size())};
  }
  return TableRelocation(io, map, std::move(file), options).Run();
}

Result<std::vector<RelocatedTable>> RelocateTables(catalog::Catalog& catalog,
                                                   const std::shared_ptr<storage::FileIo>& io,
                                                   const storage::LocationMap& map, const RelocateOptions& options) {
  if (options.copied) K2_TRY(CheckCatalogsApart(map));
  std::vector<RelocatedTable> tables;
  bool failed = false;
  K2_ASSIGN(const std::vector<std::string> name_spaces, catalog.ListNamespaces());
  for (const std::string& name_space : name_spaces) {
    K2_ASSIGN(const std::vector<catalog::TableName> names, catalog.ListTables(name_space));
    for (const catalog::TableName& name : names) {
      const Result<RelocatedTable> done = [&]() -> Result<RelocatedTable> {
        K2_ASSIGN(const auto current, catalog.MetadataLocation(name));
        if (!current) return Fail(ErrorKind::kConflict, "it was dropped concurrently");
        K2_ASSIGN(RelocatedTable table, RelocateTable(io, map, *current, options));
        if (table.outcome == "relocated") K2_TRY(catalog.Register(name, table.metadata_location, *current));
        Failpoint("relocate.table");
        return table;
      }();
      failed |= !done;
      tables.push_back(done ? *done : RelocatedTable{.outcome = "failed", .note = done.error().message});
      tables.back().table = name.ToString();
    }
  }
  if (!failed && !options.dry_run) K2_TRY(catalog.SettlePlace());
  return tables;
}

Result<std::vector<RelocatedTable>> RelocateFiles(const std::shared_ptr<storage::FileIo>& io,
                                                  const storage::LocationMap& map, const RelocateOptions& options) {
  K2_ASSIGN(const std::vector<RecoveredTable> found, Recover(nullptr, io, map.to(), {.dry_run = true}));
  std::vector<RelocatedTable> tables;
  for (const RecoveredTable& table : found) {
    if (table.outcome == RecoveryOutcome::kLeft) continue;
    const Result<RelocatedTable> done = [&]() -> Result<RelocatedTable> {
      if (table.outcome == RecoveryOutcome::kFailed) return Fail(ErrorKind::kInvalidData, "{}", table.note);
      return RelocateTable(io, map, table.metadata_location, options);
    }();
    tables.push_back(done ? *done : RelocatedTable{.outcome = "failed", .note = done.error().message});
    tables.back().table = table.table;
  }
  return tables;
}

}  // namespace k2::maintenance
