// SQLite behind Result: a connection, statements, and what its error codes mean to a caller.
#pragma once

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace k2::catalog {

class SqliteDb;

class SqliteStatement {
 public:
  // True when there is a row.
  Result<bool> Step();
  [[nodiscard]] std::optional<std::string> Text(int column) const;  // nullopt: NULL

 private:
  friend class SqliteDb;
  struct Finalize {
    void operator()(sqlite3_stmt* statement) const;
  };
  SqliteStatement(SqliteDb& db, sqlite3_stmt* statement) : db_(&db), statement_(statement) {}
  SqliteDb* db_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

// One connection; not for several threads at once. Error kinds: kUnavailable (busy for longer than the time-out:
// nothing was done), kNoSpace, kPermission, kInvalidData (not a database, damaged), kAlreadyExists (a key that is
// there), kIo.
class SqliteDb {
 public:
  // Makes the file where it is missing. Waits up to busy_timeout_ms for other processes, here and in each call.
  static Result<std::unique_ptr<SqliteDb>> Open(const std::string& path, int busy_timeout_ms);
  // For a look at a file that must not be touched: takes no lock, makes no file, and does not see what lies in a
  // write-ahead log beside it.
  static Result<std::unique_ptr<SqliteDb>> OpenUntouched(const std::string& path);

  Status Run(const std::string& sql, std::initializer_list<std::string_view> values = {});
  Result<SqliteStatement> Query(const std::string& sql, std::initializer_list<std::string_view> values = {});
  [[nodiscard]] int rows_changed() const;  // by the last Run
  [[nodiscard]] bool in_transaction() const;
  void Rollback();  // if there is something to roll back

  [[nodiscard]] Error LastError(std::string_view action) const;

 private:
  struct Close {
    void operator()(sqlite3* db) const;
  };
  SqliteDb(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}
  std::unique_ptr<sqlite3, Close> db_;
  std::string path_;
};

}  // namespace k2::catalog
