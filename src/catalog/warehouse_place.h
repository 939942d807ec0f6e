// Where a warehouse lies, as its own catalog remembers it: a copied catalog.db names the files of the original, a moved
// one files that are not there any more. Kept in a table of its own beside Iceberg's, which other clients of the file
// do not mind.
#pragma once

#include <optional>
#include <string>

#include "catalog/displacement.h"
#include "catalog/sqlite_db.h"

namespace k2::catalog {

struct WarehousePlace {
  // The warehouse as its tables' locations name it: another spelling of the folder where a link leads to it.
  std::string location;
  std::optional<Displacement> displacement;
};

// Compares the place that the catalog in `folder` remembers with the folder itself: by device and inode, so that links,
// bind mounts and other spellings are the same place. A catalog that remembers none takes the place where its tables
// are, when they prove to lie in this folder (or it has none yet); else, where their files lie in this folder under
// other names, it is displaced.
Result<WarehousePlace> FindPlace(SqliteDb& db, const std::string& catalog_name, const std::string& folder);

// The warehouse lies in `folder` from now on, and is one of its own (a new identity).
Status SettlePlace(SqliteDb& db, const std::string& folder);

// The catalog's place is `location`, wherever it lies now: for a catalog that is made for files that were moved.
Status RememberPlace(SqliteDb& db, const std::string& location);

// Whether both paths are one and the same folder or file.
bool IsSameFile(const std::string& path, const std::string& other);

}  // namespace k2::catalog
