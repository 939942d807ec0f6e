#include "catalog/warehouse_place.h"

#include <sys/stat.h>

#include <filesystem>
#include <vector>

#include "base/log.h"
#include "base/uuid.h"
#include "storage/location.h"

namespace k2::catalog {
namespace {

namespace fs = std::filesystem;

struct RememberedPlace {
  std::string location;
  std::string id;
};

Result<std::optional<RememberedPlace>> ReadPlace(SqliteDb& db) {
  K2_ASSIGN(auto table, db.Query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'k2_warehouse'"));
  K2_ASSIGN(const bool exists, table.Step());
  if (!exists) return std::nullopt;
  K2_ASSIGN(auto row, db.Query("SELECT location, id FROM k2_warehouse WHERE place = 1"));
  K2_ASSIGN(const bool found, row.Step());
  if (!found) return std::nullopt;
  return RememberedPlace{row.Text(0).value_or(""), row.Text(1).value_or("")};
}

// One row at most: `place` is always 1.
Status WritePlace(SqliteDb& db, const RememberedPlace& place, bool only_if_none) {
  K2_TRY(db.Run("BEGIN IMMEDIATE"));
  const std::string insert = fmt::format("INSERT OR {} INTO k2_warehouse (place, location, id) VALUES (1, ?1, ?2)",
                                         only_if_none ? "IGNORE" : "REPLACE");
  Status written = db.Run(
      "CREATE TABLE IF NOT EXISTS k2_warehouse (place INTEGER PRIMARY KEY CHECK (place = 1), location VARCHAR(1000) "
      "NOT "
      "NULL, id VARCHAR(36) NOT NULL)");
  if (written) written = db.Run(insert, {place.location, place.id});
  if (written) written = db.Run("COMMIT");
  if (!written) db.Rollback();
  return written;
}

// The folder above `path` that is `folder` itself, as `path` spells it.
std::optional<std::string> SpellingOf(const std::string& folder, const fs::path& path) {
  for (fs::path above = path.parent_path(); above.has_relative_path(); above = above.parent_path()) {
    if (IsSameFile(above.string(), folder)) return above.string();
  }
  return std::nullopt;
}

// Where the warehouse was, if a file of a table lies in `folder` under the same names below it.
std::optional<std::string> FormerPlaceOf(const std::string& folder, const fs::path& path) {
  std::vector<fs::path> above;
  for (fs::path at = path.parent_path(); at.has_relative_path(); at = at.parent_path()) above.push_back(at);
  for (auto at = above.rbegin(); at != above.rend(); ++at) {
    std::error_code error;
    if (fs::is_regular_file(fs::path(folder) / path.lexically_relative(*at), error)) return at->string();
  }
  return std::nullopt;
}

// What a catalog that remembers no place has to say of it.
struct Evidence {
  size_t tables = 0;
  std::optional<std::string> here;    // a table lies in the folder, which it spells so
  std::optional<std::string> former;  // a table's file lies in the folder, but is named by another place
};

Result<Evidence> LookAtTables(SqliteDb& db, const std::string& catalog_name, const std::string& folder) {
  Evidence found;
  K2_ASSIGN(auto rows,
            db.Query("SELECT metadata_location FROM iceberg_tables WHERE catalog_name = ?1", {catalog_name}));
  for (;;) {
    K2_ASSIGN(const bool row, rows.Step());
    if (!row) return found;
    ++found.tables;
    const auto path = storage::LocalPath(rows.Text(0).value_or(""));
    if (!path) continue;  // a table on a store
    if (!found.here) found.here = SpellingOf(folder, *path);
    if (!found.former) found.former = FormerPlaceOf(folder, *path);
  }
}

// The catalog of the place that is remembered is another one than that of `folder`, and has the same identity.
bool IsCopyOf(const std::string& original, const std::string& id, const std::string& folder) {
  const std::string file = original + "/catalog.db";
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return false;
  if (IsSameFile(file, folder + "/catalog.db")) return true;  // a hard link, or a link: both work on one catalog
  const auto db = SqliteDb::OpenUntouched(file);
  if (!db) return true;  // something is there: be careful
  const auto place = ReadPlace(**db);
  return id.empty() || !place || (*place && (*place)->id == id);
}

Result<Displacement> Displaced(const std::string& from, const std::string& id, const std::string& folder) {
  K2_ASSIGN(const std::string to, storage::LocationOfPath(folder));
  K2_ASSIGN(storage::LocationMap map, storage::LocationMap::Create(from, to));
  K2_ASSIGN(const std::string path, storage::LocalPath(from));
  return Displacement{.map = std::move(map), .copied = IsCopyOf(path, id, folder)};
}

}  // namespace

bool IsSameFile(const std::string& path, const std::string& other) {
  struct stat one{};
  struct stat two{};
  return ::stat(path.c_str(), &one) == 0 && ::stat(other.c_str(), &two) == 0 && one.st_dev == two.st_dev &&
         one.st_ino == two.st_ino;
}

std::string Displacement::Describe() const {
  const std::string_view to = storage::BareLocation(map.to());
  const std::string_view from = storage::BareLocation(map.from());
  return copied ? fmt::format(
                      "{} is a copy of the warehouse {}: its tables reference the files of the original, which writing "
                      "here would change. `k2 tables relocate --warehouse {}` makes it an independent warehouse; until "
                      "then it is read-only",
                      to, from, to)
                : fmt::format(
                      "the warehouse {} was moved to {}: its tables reference their files at the old location. `k2 "
                      "tables relocate --warehouse {}` updates them; until then it is read-only",
                      from, to, to);
}

Result<WarehousePlace> FindPlace(SqliteDb& db, const std::string& catalog_name, const std::string& folder) {
  WarehousePlace place;
  K2_ASSIGN(place.location, storage::LocationOfPath(folder));
  K2_ASSIGN(const auto remembered, ReadPlace(db));
  if (remembered) {
    const auto path = storage::LocalPath(remembered->location);
    if (path && IsSameFile(*path, folder)) {
      place.location = remembered->location;
    } else {
      K2_ASSIGN(place.displacement, Displaced(remembered->location, remembered->id, folder));
    }
    return place;
  }
  K2_ASSIGN(const Evidence found, LookAtTables(db, catalog_name, folder));
  if (!found.here && found.former) {
    K2_ASSIGN(place.displacement, Displaced(*found.former, "", folder));
    return place;
  }
  if (found.here) {
    K2_ASSIGN(place.location, storage::LocationOfPath(*found.here));
  } else if (found.tables > 0) {
    return place;  // its tables lie elsewhere altogether: nothing is known of the folder
  }
  // Another process may note it at the same time. Where it cannot be noted, the next one that opens the catalog will.
  const Status noted = WritePlace(db, {place.location, RandomUuid().ToString()}, /*only_if_none=*/true);
  if (!noted) log::Debug("cannot store the warehouse's location in the catalog", {{"error", noted.error().message}});
  return place;
}

Status SettlePlace(SqliteDb& db, const std::string& folder) {
  K2_ASSIGN(const std::string location, storage::LocationOfPath(folder));
  return WritePlace(db, {location, RandomUuid().ToString()}, /*only_if_none=*/false);
}

Status RememberPlace(SqliteDb& db, const std::string& location) {
  return WritePlace(db, {location, RandomUuid().ToString()}, /*only_if_none=*/false);
}

}  // namespace k2::catalog
