// Drops a table as another program does, behind K2's back: K2 itself never drops one.
#pragma once

#include <string>

#include "catalog/catalog.h"
#include "catalog/sqlite_db.h"

namespace k2::catalog {

// Out of the SQLite catalog of a warehouse's folder; its files stay. Error kNotFound.
inline Status DropTable(const std::string& warehouse, const TableName& table) {
  K2_ASSIGN(const auto db, SqliteDb::Open(warehouse + "/catalog.db", 1000));
  K2_TRY(db->Run("DELETE FROM iceberg_tables WHERE table_namespace = ?1 AND table_name = ?2",
                 {table.name_space, table.name}));
  if (db->rows_changed() == 0) return Fail(ErrorKind::kNotFound, "table {} does not exist", table.ToString());
  return {};
}

}  // namespace k2::catalog
