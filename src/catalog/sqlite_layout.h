// The tables of the embedded catalog: those of Iceberg's JDBC catalog.
#pragma once

#include "catalog/sqlite_db.h"

namespace k2::catalog {

// Version 1 of the layout, where the file has neither version.
Status CreateLayoutIfMissing(SqliteDb& db);
// Of version 1: views stand beside tables.
Result<bool> HasTypeColumn(SqliteDb& db);

}  // namespace k2::catalog
