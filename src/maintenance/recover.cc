#include "maintenance/recover.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/time.h"
#include "catalog/metadata_files.h"
#include "maintenance/newest_state.h"
#include "maintenance/whole_table.h"
#include "storage/location.h"

namespace k2::maintenance {
namespace {

// Where a metadata file belongs, by where it lies and what it says.
struct Belonging {
  std::optional<catalog::TableName> name;
  std::string former;  // the warehouse that its table's location names, where it is another one than that it lies in
};

// The table whose folder is `below` a warehouse: "market_data/gold" is market_data.gold.
std::optional<catalog::TableName> NameOfFolder(std::string_view below) {
  while (below.starts_with('/')) below.remove_prefix(1);
  const size_t last = below.rfind('/');
  if (last == std::string_view::npos || last == 0 || last + 1 == below.size()) return std::nullopt;
  std::string name_space(below.substr(0, last));
  if (name_space.ends_with(".db")) name_space.resize(name_space.size() - 3);  // as Hive and older PyIceberg call it
  std::ranges::replace(name_space, '/', '.');
  return catalog::TableName{std::move(name_space), std::string(below.substr(last + 1))};
}

Belonging BelongingOf(const catalog::MetadataFile& file, const std::string& warehouse) {
  const std::string& location = file.metadata->location;
  const auto below = [&](std::string_view folder) {
    return storage::BareLocation(folder).substr(storage::BareLocation(warehouse).size());
  };
  if (storage::LiesUnder(location, warehouse)) return {.name = NameOfFolder(below(location)), .former = ""};
  std::string_view folder = std::string_view(file.location).substr(0, file.location.rfind('/'));
  if (!folder.ends_with("/metadata") || !storage::LiesUnder(folder, warehouse)) return {};
  folder.remove_suffix(std::string_view("/metadata").size());
  const std::string_view rest = below(folder);
  Belonging found{.name = NameOfFolder(rest), .former = ""};
  std::string_view named = location;
  while (named.ends_with('/')) named.remove_suffix(1);
  if (!rest.empty() && named.ends_with(rest)) found.former = named.substr(0, named.size() - rest.size());
  return found;
}

struct FoundTable {
  std::string uuid;
  std::vector<catalog::MetadataFile> files;
  [[nodiscard]] bool HasSnapshots() const {
    return std::ranges::any_of(files,
                               [](const catalog::MetadataFile& file) { return !file.metadata->snapshots.empty(); });
  }
};

// A table of the catalog.
struct KnownTable {
  std::string pointer;  // empty: the catalog does not say
  std::string folder;   // of the pointer's file, where it lies now
  std::string uuid;     // empty: its metadata cannot be read
};

int64_t RowsOf(const iceberg::TableMetadata& metadata) {
  const iceberg::Snapshot* head = metadata.CurrentSnapshot();
  if (head == nullptr) return 0;
  const auto found = head->summary.find("total-records");
  int64_t rows = 0;
  if (found != head->summary.end()) {
    (void)std::from_chars(found->second.data(), found->second.data() + found->second.size(), rows);
  }
  return rows;
}

std::string Listed(const std::vector<catalog::MetadataFile>& files) {
  std::string text;
  for (const catalog::MetadataFile& file : files) {
    text += fmt::format("{}{} of {} with {} snapshots and {} rows", text.empty() ? "" : ", ", file.location,
                        FormatTimestamp(file.metadata->last_updated_ms * 1000), file.metadata->snapshots.size(),
                        RowsOf(*file.metadata));
  }
  return text;
}

class Recovery {
 public:
  Recovery(catalog::Catalog* catalog, const std::shared_ptr<storage::FileIo>& io, std::string warehouse,
           const RecoverOptions& options)
      : catalog_(catalog), io_(io), warehouse_(std::move(warehouse)), options_(options), stored_(io) {
    while (warehouse_.ends_with('/')) warehouse_.pop_back();
  }

  Result<std::vector<RecoveredTable>> Run() {
    K2_TRY(ReadCatalog());
    K2_TRY(Survey());
    K2_ASSIGN(catalog_is_old_, IsOld());
    for (auto& [name, known] : known_) K2_TRY(LookAtKnown(name, known));
    for (const auto& [key, table] : found_) {
      if (!taken_.contains(key)) K2_TRY(LookAtUnknown(table));
    }
    for (const auto& [name, location] : options_.use) {
      if (!used_.contains(name)) K2_TRY(Use(NameOfText(name), location, ""));
    }
    std::ranges::sort(done_, {}, &RecoveredTable::table);
    return std::move(done_);
  }

 private:
  static catalog::TableName NameOfText(const std::string& text) {
    const size_t dot = text.rfind('.');
    return dot == std::string::npos ? catalog::TableName{"", text}
                                    : catalog::TableName{text.substr(0, dot), text.substr(dot + 1)};
  }

  Status ReadCatalog() {
    if (catalog_ == nullptr) return {};
    const auto displacement = catalog_->displacement();
    if (displacement) former_ = displacement->map.from();
    const auto now = [&](const std::string& location) {
      return displacement ? displacement->map.ApplyOrKeep(location) : location;
    };
    K2_ASSIGN(const std::vector<std::string> name_spaces, catalog_->ListNamespaces());
    for (const std::string& name_space : name_spaces) {
      K2_ASSIGN(const std::vector<catalog::TableName> names, catalog_->ListTables(name_space));
      for (const catalog::TableName& name : names) {
        KnownTable& known = known_[name];
        const auto pointer = catalog_->MetadataLocation(name);
        if (pointer) known.pointer = pointer->value_or("");
        known.folder = now(known.pointer).substr(0, now(known.pointer).rfind('/'));
        const auto state = catalog_->Load(name);
        for (const auto* error : {pointer ? nullptr : &pointer.error(), state ? nullptr : &state.error()}) {
          const bool away =
              error != nullptr && (error->kind == ErrorKind::kUnavailable || error->kind == ErrorKind::kPermission ||
                                   error->kind == ErrorKind::kIo);
          if (away) return std::unexpected(*error);
        }
        if (state) known.uuid = state->metadata->table_uuid;
        if (state) K2_TRY(AddFile({now(state->metadata_location), state->metadata}));
      }
    }
    return {};
  }

  Status AddFile(catalog::MetadataFile file) {
    if (!names_.emplace(catalog::LastNameOf(file.location)).second) return {};
    const std::string& uuid = file.metadata->table_uuid;
    FoundTable& table = found_[uuid.empty() ? file.metadata->location : uuid];
    table.uuid = uuid;
    table.files.push_back(std::move(file));
    return {};
  }

  // All metadata files of the warehouse, of the folders that were named, and of those that the catalog names.
  Status Survey() {
    std::set<std::string> folders{warehouse_};
    folders.insert(options_.metadata_folders.begin(), options_.metadata_folders.end());
    for (const auto& [name, known] : known_) {
      if (!known.pointer.empty() && !storage::LiesUnder(known.folder, warehouse_)) folders.insert(known.folder);
    }
    for (const std::string& folder : folders) K2_TRY(stored_.AddFolder(folder));
    for (const storage::FileInfo& info : stored_.listed()) {
      if (!catalog::IsMetadataFileName(info.location) || names_.contains(catalog::LastNameOf(info.location))) continue;
      auto file = catalog::ReadMetadataFile(*io_, info.location);
      if (file) {
        K2_TRY(AddFile(*std::move(file)));
      } else if (file.error().kind != ErrorKind::kInvalidData && file.error().kind != ErrorKind::kUnsupported &&
                 file.error().kind != ErrorKind::kNotFound) {
        return std::unexpected(file.error());
      } else {
        log::Warn("ignoring a metadata file", {{"file", info.location}, {"error", file.error().message}});
      }
    }
    return {};
  }

  Result<std::vector<std::string>> Faults(const catalog::MetadataFile& file) {
    const std::string former = BelongingOf(file, warehouse_).former;
    if (former.empty()) return FaultsOf(stored_, *file.metadata);
    K2_ASSIGN(const storage::LocationMap map, storage::LocationMap::Create(former, warehouse_));
    StoredFiles before = stored_.NamedBefore(map);
    return FaultsOf(before, *file.metadata);
  }

  // What the catalog has under this name, by its uuid or, where its metadata is gone, by the name in others' logs or by
  // the folder.
  Result<std::string> KeyOf(const catalog::TableName& name, const KnownTable& known) {
    if (!known.uuid.empty() && found_.contains(known.uuid)) return known.uuid;
    std::vector<std::string> keys;
    for (const auto& [key, table] : found_) {
      const bool logged =
          !known.pointer.empty() && std::ranges::any_of(table.files, [&](const catalog::MetadataFile& file) {
            return std::ranges::any_of(file.metadata->metadata_log, [&](const iceberg::MetadataLogEntry& entry) {
              return catalog::LastNameOf(entry.metadata_file) == catalog::LastNameOf(known.pointer);
            });
          });
      if (logged) return key;
      const bool here = std::ranges::any_of(table.files, [&](const catalog::MetadataFile& file) {
        const std::string_view folder = std::string_view(file.location).substr(0, file.location.rfind('/'));
        const bool same_folder =
            !known.pointer.empty() && storage::BareLocation(folder) == storage::BareLocation(known.folder);
        return same_folder || BelongingOf(file, warehouse_).name == name;
      });
      if (here && table.HasSnapshots()) keys.push_back(key);
    }
    if (keys.size() == 1) return keys[0];
    return Fail(ErrorKind::kInvalidData, "{}",
                keys.empty()
                    ? "none of its metadata files exists any more"
                    : fmt::format("its folder holds metadata of {} tables: choose the file with --use", keys.size()));
  }

  // A catalog that is proven to be behind one table's files was restored as a whole: of the others, too, what came from
  // the state that it names was committed.
  Result<bool> IsOld() {
    for (const auto& [name, known] : known_) {
      const auto key = KeyOf(name, known);
      if (!key) continue;
      if (known.uuid.empty()) return true;
      K2_ASSIGN(const NewestState state,
                FindNewestState(found_.at(*key).files, known.pointer,
                                [&](const catalog::MetadataFile& file) { return Faults(file); }));
      if (state.chosen && catalog::LastNameOf(state.chosen->location) != catalog::LastNameOf(known.pointer))
        return true;
    }
    return false;
  }

  RecoveredTable& Note(const catalog::TableName& name, RecoveryOutcome outcome, std::string note) {
    done_.push_back({.table = name.ToString(), .outcome = outcome, .note = std::move(note)});
    return done_.back();
  }

  Status LookAtKnown(const catalog::TableName& name, const KnownTable& known) {
    const auto key = KeyOf(name, known);
    if (key) taken_.insert(*key);
    if (const auto use = options_.use.find(name.ToString()); use != options_.use.end()) {
      return Use(name, use->second, known.pointer);
    }
    if (!key) {
      Note(name, RecoveryOutcome::kFailed, key.error().message).before = known.pointer;
      return {};
    }
    return Decide(name, found_.at(*key), known.pointer);
  }

  Status LookAtUnknown(const FoundTable& table) {
    std::optional<catalog::TableName> name;
    for (const catalog::MetadataFile& file : table.files) {
      if (!name) name = BelongingOf(file, warehouse_).name;
    }
    const catalog::TableName shown = name.value_or(catalog::TableName{"?", table.files[0].metadata->location});
    if (name && options_.use.contains(name->ToString())) return {};
    if (!table.HasSnapshots()) {
      Note(shown, RecoveryOutcome::kLeft, "it never held a snapshot");
      return {};
    }
    const bool replaced = name && known_.contains(*name);
    const bool doubled = name && std::ranges::any_of(found_, [&](const auto& pair) {
                           const FoundTable& other = pair.second;
                           return &other != &table && other.HasSnapshots() && !taken_.contains(pair.first) &&
                                  BelongingOf(other.files[0], warehouse_).name == name;
                         });
    if (!name || replaced || doubled) {
      const std::string why = !name      ? "its location does not show its name"
                              : replaced ? "the catalog has another table of this name in the same folder"
                                         : "another table has the same folder";
      Note(shown, replaced ? RecoveryOutcome::kLeft : RecoveryOutcome::kFailed,
           fmt::format("table {}: {}; --use NAME=FILE registers it. Its newest files: {}", table.uuid, why,
                       Listed(Newest(table))));
      return {};
    }
    return Decide(*name, table, "");
  }

  static std::vector<catalog::MetadataFile> Newest(const FoundTable& table) {
    const catalog::MetadataHistory history(table.files);
    return {*std::ranges::max_element(table.files, {}, [&](const auto& file) { return history.Depth(file.location); })};
  }

  Status Decide(const catalog::TableName& name, const FoundTable& table, const std::string& pointer) {
    K2_ASSIGN(
        const NewestState state,
        FindNewestState(
            table.files, pointer, [&](const catalog::MetadataFile& file) { return Faults(file); }, catalog_is_old_));
    std::string notes = fmt::to_string(fmt::join(state.notes, "; "));
    if (!state.tied.empty()) {
      Note(name, RecoveryOutcome::kFailed,
           fmt::format("the files do not show which of these was committed last; choose one with --use {}=FILE: {}",
                       name.ToString(), Listed(state.tied)))
          .before = pointer;
      return {};
    }
    if (!state.chosen) {
      if (notes.empty()) notes = "none of its metadata files exists any more";
      Note(name, RecoveryOutcome::kFailed, "no complete state of it exists: " + notes).before = pointer;
      return {};
    }
    return Take(name, *state.chosen, pointer, std::move(notes));
  }

  Status Use(const catalog::TableName& name, const std::string& location, const std::string& pointer) {
    used_.insert(name.ToString());
    const auto file = catalog::ReadMetadataFile(*io_, location);
    if (!file) {
      Note(name, RecoveryOutcome::kFailed, file.error().message).before = pointer;
      return {};
    }
    K2_ASSIGN(const std::vector<std::string> faults, Faults(*file));
    if (!faults.empty()) {
      Note(name, RecoveryOutcome::kFailed, fmt::to_string(fmt::join(faults, "; "))).before = pointer;
      return {};
    }
    return Take(name, *file, pointer, "as requested");
  }

  Status Take(const catalog::TableName& name, const catalog::MetadataFile& file, const std::string& pointer,
              std::string note) {
    RecoveredTable& row = Note(name, RecoveryOutcome::kInOrder, std::move(note));
    row.before = pointer;
    row.metadata_location = file.location;
    row.updated_ms = file.metadata->last_updated_ms;
    row.snapshots = static_cast<int64_t>(file.metadata->snapshots.size());
    row.rows = RowsOf(*file.metadata);
    const std::string former = BelongingOf(file, warehouse_).former;
    if (!former.empty() && !MayBeOf(former)) {
      row.outcome = RecoveryOutcome::kFailed;
      row.note = fmt::format(
          "its files reference the warehouse {}: `k2 tables relocate --from {} --to {}` rewrites its metadata; then "
          "recover again",
          former, former, warehouse_);
      return {};
    }
    const bool known = known_.contains(name);
    if (known && catalog::LastNameOf(pointer) == catalog::LastNameOf(file.location)) return {};
    row.outcome = known ? RecoveryOutcome::kMovedOn : RecoveryOutcome::kRegistered;
    if (options_.dry_run || catalog_ == nullptr) return {};
    K2_TRY(RememberFormerPlace());
    K2_TRY(catalog_->CreateNamespaceIfMissing(name.name_space));
    const Status registered = catalog_->Register(name, file.location, known ? std::optional(pointer) : std::nullopt);
    if (registered) {
      Failpoint("recover.table");
      return {};
    }
    row.outcome = RecoveryOutcome::kFailed;
    row.note = registered.error().message;
    return {};
  }

  // A catalog that is empty so far may be that of a warehouse which was moved: then all its tables were.
  bool MayBeOf(const std::string& former) {
    if (!former_.empty()) return storage::BareLocation(former) == storage::BareLocation(former_);
    const bool embedded = catalog_ == nullptr || catalog_->RemembersPlace();
    if (!embedded || !known_.empty()) return false;
    former_ = former;
    is_new_ = true;
    return true;
  }

  // Before the first table is registered: killed behind it, the next run finds a catalog that is not empty any more,
  // whose tables name a place that it does not know.
  Status RememberFormerPlace() {
    if (!is_new_ || remembered_) return {};
    K2_TRY(catalog_->RememberPlace(former_));
    remembered_ = true;
    return {};
  }

  catalog::Catalog* catalog_;
  const std::shared_ptr<storage::FileIo>& io_;
  std::string warehouse_;
  const RecoverOptions& options_;
  StoredFiles stored_;
  std::map<catalog::TableName, KnownTable> known_;
  std::map<std::string, FoundTable> found_;  // by uuid; of version 1 without one, by location
  std::set<std::string, std::less<>> names_;
  std::set<std::string> taken_;  // of found_
  std::set<std::string> used_;   // of options_.use
  std::string former_;           // the place that the catalog remembers, where it is another one
  bool catalog_is_old_ = false;
  bool is_new_ = false;  // former_ is of the files alone
  bool remembered_ = false;
  std::vector<RecoveredTable> done_;
};

}  // namespace

std::string_view ToString(RecoveryOutcome outcome) {
  switch (outcome) {
    case RecoveryOutcome::kInOrder: return "in order";
    case RecoveryOutcome::kRegistered: return "registered";
    case RecoveryOutcome::kMovedOn: return "moved on";
    case RecoveryOutcome::kLeft: return "left out";
    case RecoveryOutcome::kFailed: return "not recovered";
  }
  return "";
}

Result<std::vector<RecoveredTable>> Recover(catalog::Catalog* catalog, const std::shared_ptr<storage::FileIo>& io,
                                            const std::string& warehouse, const RecoverOptions& options) {
  return Recovery(catalog, io, warehouse, options).Run();
}

Status CheckCatalogIsNewest(catalog::Catalog& catalog, const std::shared_ptr<storage::FileIo>& io,
                            const catalog::TableName& table) {
  K2_ASSIGN(const auto before, catalog.MetadataLocation(table));
  if (!before) return {};
  const std::string folder = before->substr(0, before->rfind('/'));
  K2_ASSIGN(std::vector<storage::FileInfo> listed, io->List(folder));
  std::erase_if(listed, [](const storage::FileInfo& file) { return !catalog::IsMetadataFileName(file.location); });
  // Asked again: what was committed while the folder was listed is no newer than this.
  K2_ASSIGN(const auto current, catalog.MetadataLocation(table));
  if (!current) return {};
  const int64_t version = catalog::MetadataVersionOf(*current);
  const auto is_later = [&](const storage::FileInfo& file) {
    return catalog::MetadataVersionOf(file.location) > version + 1;
  };
  if (version < 0 || std::ranges::none_of(listed, is_later)) return {};
  std::vector<catalog::MetadataFile> files;
  for (const storage::FileInfo& info : listed) {
    if (auto file = catalog::ReadMetadataFile(*io, info.location)) files.push_back(*std::move(file));
  }
  StoredFiles stored(io);
  K2_ASSIGN(const NewestState state, FindNewestState(files, *current, [&](const catalog::MetadataFile& file) {
              return FaultsOf(stored, *file.metadata);
            }));
  const bool newest =
      state.tied.empty() && (!state.chosen || state.chosen->location.ends_with(catalog::LastNameOf(*current)));
  // A table that the catalog cannot read says so itself.
  const bool readable = std::ranges::any_of(files, [&](const catalog::MetadataFile& file) {
    return catalog::LastNameOf(file.location) == catalog::LastNameOf(*current);
  });
  if (newest || !readable) return {};
  const catalog::MetadataFile& later = state.chosen ? *state.chosen : state.tied[0];
  return Fail(ErrorKind::kInvalidData,
              "table {}: the {} is older than the table's files: it references {}, but {} of {} was derived from it. "
              "Was the catalog restored from a copy? A commit now would fork the table's history. `k2 tables recover` "
              "registers the newest state (docs/recovery.md)",
              table.ToString(), catalog.Describe(), catalog::LastNameOf(*current), catalog::LastNameOf(later.location),
              FormatTimestamp(later.metadata->last_updated_ms * 1000));
}

}  // namespace k2::maintenance
