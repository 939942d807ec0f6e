// Tables whose files and whose catalog do not agree any more: moved, copied, lost, restored (docs/recovery.md).
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "base/time.h"
#include "cli/commands.h"
#include "cli/rows_output.h"
#include "cli/storage_settings.h"
#include "maintenance/recover.h"
#include "maintenance/relocate.h"
#include "storage/location.h"
#include "task/market_tables.h"

namespace k2::cli {
namespace {

struct RelocateFlags {
  std::string from;
  std::string to;
  bool dry_run = false;
};

struct RecoverFlags {
  std::vector<std::string> use;
  std::vector<std::string> folders;
  bool dry_run = false;
};

// A place as a command line names it: a URI, or a path of this machine.
std::string PlaceOf(const std::string& text) {
  if (text.find("://") != std::string::npos) return text;
  return "file://" + std::filesystem::absolute(text).lexically_normal().string();
}

Status PrintRelocated(const std::vector<maintenance::RelocatedTable>& tables, const std::string& output) {
  query::QueryResult rows;
  rows.columns = {
      {"table", "VARCHAR", query::CellKind::kText},         {"outcome", "VARCHAR", query::CellKind::kText},
      {"snapshots", "BIGINT", query::CellKind::kNumber},    {"manifests", "BIGINT", query::CellKind::kNumber},
      {"delete_files", "BIGINT", query::CellKind::kNumber}, {"metadata", "VARCHAR", query::CellKind::kText},
      {"note", "VARCHAR", query::CellKind::kText}};
  for (const maintenance::RelocatedTable& table : tables) {
    rows.rows.push_back({table.table, table.outcome, std::to_string(table.snapshots), std::to_string(table.manifests),
                         std::to_string(table.delete_files), table.metadata_location, table.note});
  }
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  return PrintRows(rows, output);
}

// What is left to do where K2 does not know which catalog shall have the tables.
void PrintSteps(const std::vector<maintenance::RelocatedTable>& tables, const storage::LocationMap& map,
                const Settings& settings) {
  std::string text = fmt::format(
      "\nNothing was registered. In a catalog that has no such tables yet:\n  k2 tables recover --catalog {} "
      "--warehouse "
      "{}\nor for each table, as the catalog's API has it:\n",
      settings.Text("catalog").empty() ? "URL" : settings.Text("catalog"), map.to());
  for (const maintenance::RelocatedTable& table : tables) {
    if (table.outcome == "failed") continue;
    const size_t dot = table.table.rfind('.');
    text += fmt::format(
        "  POST /v1/{{prefix}}/namespaces/{}/register {{\"name\": \"{}\", \"metadata-location\": \"{}\"}}\n",
        table.table.substr(0, dot), table.table.substr(dot + 1), table.metadata_location);
  }
  text +=
      "A catalog that still has the tables at the old place must give them up first, without purging their files: "
      "DELETE …/tables/NAME?purgeRequested=false.\n";
  std::fputs(text.c_str(), stderr);
}

bool AnyFailed(const std::vector<maintenance::RelocatedTable>& tables) {
  return std::ranges::any_of(tables,
                             [](const maintenance::RelocatedTable& table) { return table.outcome == "failed"; });
}

Result<int> RelocateByFiles(const Settings& settings, const RelocateFlags& flags) {
  if (flags.from.empty() || flags.to.empty()) {
    return Fail(
        ErrorKind::kInvalidArgument,
        "a REST catalog does not know that its files were moved: name the old place and the new one with --from "
        "and --to");
  }
  K2_ASSIGN(const storage::StorageOptions storage, StorageOptionsOf(settings));
  K2_ASSIGN(const storage::LocationMap map, storage::LocationMap::Create(PlaceOf(flags.from), PlaceOf(flags.to)));
  const std::shared_ptr<storage::FileIo> io = storage::MakeFileIo(storage);
  K2_ASSIGN(const auto tables, maintenance::RelocateFiles(io, map, {.dry_run = flags.dry_run, .copied = true}));
  if (tables.empty()) return Fail(ErrorKind::kNotFound, "there is no table under {}", map.to());
  K2_TRY(PrintRelocated(tables, settings.Text("output")));
  if (!flags.dry_run) PrintSteps(tables, map, settings);
  return AnyFailed(tables) ? 1 : 0;
}

Result<int> RunRelocate(const Settings& settings, const RelocateFlags& flags) {
  if (HasRestCatalog(settings) || !flags.to.empty()) return RelocateByFiles(settings, flags);
  // An empty catalog would be no help.
  std::error_code error;
  K2_ASSIGN(const std::string folder, storage::LocalPath(WarehouseUri(settings)));
  if (!std::filesystem::exists(folder + "/catalog.db", error)) {
    return Fail(ErrorKind::kNotFound, "{} has no catalog.db: `k2 tables recover` makes one of the tables' files first",
                folder);
  }
  K2_ASSIGN(const auto lakehouse, OpenLakehouseToRecover(settings));
  const auto displacement = lakehouse->catalog()->displacement();
  if (!displacement && flags.from.empty()) {
    std::fprintf(stderr, "%s lies where its catalog says: there is nothing to relocate\n", folder.c_str());
    return 0;
  }
  std::optional<storage::LocationMap> map;
  if (displacement) map = displacement->map;
  if (!flags.from.empty()) {
    K2_ASSIGN(map, storage::LocationMap::Create(PlaceOf(flags.from), "file://" + folder));
  }
  const bool copied = displacement && displacement->copied;
  K2_ASSIGN(const auto tables, maintenance::RelocateTables(*lakehouse->catalog(), lakehouse->io(), *map,
                                                           {.dry_run = flags.dry_run, .copied = copied}));
  K2_TRY(PrintRelocated(tables, settings.Text("output")));
  return AnyFailed(tables) ? 1 : 0;
}

Result<maintenance::RecoverOptions> RecoverOptionsOf(const RecoverFlags& flags) {
  maintenance::RecoverOptions options{.dry_run = flags.dry_run};
  for (const std::string& folder : flags.folders) options.metadata_folders.push_back(PlaceOf(folder));
  for (const std::string& text : flags.use) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
      return Fail(ErrorKind::kInvalidArgument, "--use {}: expected TABLE=METADATA_FILE", text);
    }
    std::string name = text.substr(0, equals);
    if (name.find('.') == std::string::npos) name = fmt::format("{}.{}", task::kNamespace, name);
    options.use[name] = PlaceOf(text.substr(equals + 1));
  }
  return options;
}

Status PrintRecovered(const std::vector<maintenance::RecoveredTable>& tables, const RecoverFlags& flags,
                      const std::string& output) {
  query::QueryResult rows;
  rows.columns = {{"table", "VARCHAR", query::CellKind::kText},     {"outcome", "VARCHAR", query::CellKind::kText},
                  {"committed", "VARCHAR", query::CellKind::kText}, {"snapshots", "BIGINT", query::CellKind::kNumber},
                  {"rows", "BIGINT", query::CellKind::kNumber},     {"metadata", "VARCHAR", query::CellKind::kText},
                  {"before", "VARCHAR", query::CellKind::kText},    {"note", "VARCHAR", query::CellKind::kText}};
  for (const maintenance::RecoveredTable& table : tables) {
    std::string outcome(ToString(table.outcome));
    if (flags.dry_run && table.outcome == maintenance::RecoveryOutcome::kRegistered) outcome = "to register";
    if (flags.dry_run && table.outcome == maintenance::RecoveryOutcome::kMovedOn) outcome = "to move on";
    const bool known = table.updated_ms != 0;
    rows.rows.push_back({table.table, outcome, known ? FormatTimestamp(table.updated_ms * 1000) : "",
                         std::to_string(table.snapshots), std::to_string(table.rows), table.metadata_location,
                         table.before, table.note});
  }
  rows.row_count = static_cast<int64_t>(rows.rows.size());
  return PrintRows(rows, output);
}

Result<int> RunRecover(const Settings& settings, const RecoverFlags& flags) {
  const bool named = settings.Get("warehouse").origin != "default";
  if (HasRestCatalog(settings) && !named) {
    return Fail(ErrorKind::kInvalidArgument, "name the place where the tables' files lie with --warehouse");
  }
  K2_ASSIGN(const maintenance::RecoverOptions options, RecoverOptionsOf(flags));
  const std::string warehouse = WarehouseUri(settings);
  std::vector<maintenance::RecoveredTable> tables;
  std::error_code error;
  const bool has_catalog =
      HasRestCatalog(settings) ||
      std::filesystem::exists(std::filesystem::path(storage::BareLocation(warehouse)) / "catalog.db", error);
  if (!has_catalog) {  // made when there is something to put into it
    K2_ASSIGN(const storage::StorageOptions storage, StorageOptionsOf(settings));
    maintenance::RecoverOptions look = options;
    look.dry_run = true;
    K2_ASSIGN(tables, maintenance::Recover(nullptr, storage::MakeFileIo(storage), warehouse, look));
    if (tables.empty()) return Fail(ErrorKind::kNotFound, "there is no metadata file of a table in {}", warehouse);
  }
  if (has_catalog || !flags.dry_run) {
    K2_ASSIGN(const auto lakehouse, OpenLakehouseToRecover(settings));
    K2_ASSIGN(tables, maintenance::Recover(lakehouse->catalog().get(), lakehouse->io(), warehouse, options));
    if (tables.empty()) return Fail(ErrorKind::kNotFound, "there is no metadata file of a table in {}", warehouse);
  }
  K2_TRY(PrintRecovered(tables, flags, settings.Text("output")));
  const bool failed = std::ranges::any_of(tables, [](const maintenance::RecoveredTable& table) {
    return table.outcome == maintenance::RecoveryOutcome::kFailed;
  });
  if (!has_catalog && !flags.dry_run && !HasRestCatalog(settings)) {
    K2_ASSIGN(const auto made, OpenLakehouseToRecover(settings));
    if (const auto displacement = made->catalog()->displacement()) {
      std::fprintf(stderr, "%s\n", displacement->Describe().c_str());
    }
  }
  return failed ? 1 : 0;
}

}  // namespace

void AddPlaces(Program& program, CLI::App& tables) {
  CLI::App* relocate = tables.add_subcommand(
      "relocate", "Rewrite the metadata of a warehouse that was moved or copied for its new place");
  auto moved = std::make_shared<RelocateFlags>();
  relocate->add_option("--from", moved->from, "Old place; without one what the catalog remembers");
  relocate->add_option("--to", moved->to,
                       "New place, where there is no SQLite catalog: writes the metadata and says how to register it");
  relocate->add_flag("--dry-run", moved->dry_run, "Say what would be written");
  relocate->callback(
      [&program, moved] { program.action = [&program, moved] { return RunRelocate(program.settings, *moved); }; });
  relocate->footer(
      "Stop what writes to the warehouse first.\n"
      "Examples:\n  cp -r lake copy && k2 tables relocate --warehouse copy\n"
      "  k2 tables relocate --from s3://old/lake --to s3://new/lake");
  CLI::App* recover =
      tables.add_subcommand("recover", "Find tables by their files and register them: the catalog is lost or too old");
  auto lost = std::make_shared<RecoverFlags>();
  recover->add_option("--use", lost->use, "Take this metadata file, whatever else is found; repeatable");
  recover->add_option("--metadata", lost->folders,
                      "Folder outside of the warehouse that holds metadata files; repeatable");
  recover->add_flag("--dry-run", lost->dry_run, "Say what would be registered");
  recover->callback(
      [&program, lost] { program.action = [&program, lost] { return RunRecover(program.settings, *lost); }; });
  recover->footer(
      "Stop what writes to the warehouse first.\n"
      "Examples:\n  k2 tables recover --warehouse lake --dry-run\n"
      "  k2 tables recover --catalog http://catalog:8181 --warehouse s3://lake/warehouse");
}

}  // namespace k2::cli
