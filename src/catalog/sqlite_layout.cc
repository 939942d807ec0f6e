#include "catalog/sqlite_layout.h"

namespace k2::catalog {
namespace {

// Iceberg's JdbcUtil, version 1 of the layout.
constexpr const char* kCreateTables =
    "CREATE TABLE IF NOT EXISTS iceberg_tables (catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT "
    "NULL, table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), previous_metadata_location "
    "VARCHAR(1000), iceberg_type VARCHAR(5), PRIMARY KEY (catalog_name, table_namespace, table_name))";
constexpr const char* kCreateProperties =
    "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (catalog_name VARCHAR(255) NOT NULL, namespace "
    "VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL, property_value VARCHAR(1000), PRIMARY KEY "
    "(catalog_name, namespace, property_key))";

}  // namespace

// The write lock is taken at the beginning: a reader that turns writer while another process writes is refused at once,
// without waiting.
Status CreateLayoutIfMissing(SqliteDb& db) {
  bool complete = false;
  {
    K2_ASSIGN(auto present, db.Query("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN "
                                     "('iceberg_tables', 'iceberg_namespace_properties')"));
    K2_ASSIGN(const bool row, present.Step());
    complete = row && present.Text(0) == "2";
  }
  if (complete) return {};
  K2_TRY(db.Run("BEGIN IMMEDIATE"));
  for (const char* statement : {kCreateTables, kCreateProperties, "COMMIT"}) {
    if (Status done = db.Run(statement); !done) {
      db.Rollback();
      return done;
    }
  }
  return {};
}

Result<bool> HasTypeColumn(SqliteDb& db) {
  K2_ASSIGN(auto columns,
            db.Query("SELECT count(*) FROM pragma_table_info('iceberg_tables') WHERE name = 'iceberg_type'"));
  K2_ASSIGN(const bool row, columns.Step());
  return row && columns.Text(0) == "1";
}

}  // namespace k2::catalog
