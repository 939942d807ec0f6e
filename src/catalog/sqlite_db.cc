#include "catalog/sqlite_db.h"

#include <sqlite3.h>

#include <cerrno>
#include <cstring>

namespace k2::catalog {

void SqliteStatement::Finalize::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
void SqliteDb::Close::operator()(sqlite3* db) const { sqlite3_close_v2(db); }

Result<bool> SqliteStatement::Step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return std::unexpected(db_->LastError("read or write"));
}

std::optional<std::string> SqliteStatement::Text(int column) const {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  if (text == nullptr) return std::nullopt;
  return std::string(text, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column)));
}

Result<std::unique_ptr<SqliteDb>> SqliteDb::Open(const std::string& path, int busy_timeout_ms) {
  sqlite3* raw = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  std::unique_ptr<SqliteDb> db(new SqliteDb(raw, path));
  if (code != SQLITE_OK) return std::unexpected(db->LastError("open"));
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, busy_timeout_ms);
  return db;
}

Result<std::unique_ptr<SqliteDb>> SqliteDb::OpenUntouched(const std::string& path) {
  std::string uri = "file:";
  for (const char c : path) uri += c == '%' ? "%25" : std::string(1, c);
  uri += "?immutable=1";
  sqlite3* raw = nullptr;
  const int code =
      sqlite3_open_v2(uri.c_str(), &raw, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_FULLMUTEX, nullptr);
  std::unique_ptr<SqliteDb> db(new SqliteDb(raw, path));
  if (code != SQLITE_OK) return std::unexpected(db->LastError("open"));
  sqlite3_extended_result_codes(raw, 1);
  return db;
}

Result<SqliteStatement> SqliteDb::Query(const std::string& sql, std::initializer_list<std::string_view> values) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(db_.get(), sql.c_str(), -1, &raw, nullptr) != SQLITE_OK) {
    return std::unexpected(LastError("prepare a statement for"));
  }
  SqliteStatement statement(*this, raw);
  int position = 0;
  for (const std::string_view value : values) {
    if (sqlite3_bind_text(raw, ++position, value.data(), static_cast<int>(value.size()), SQLITE_TRANSIENT) !=
        SQLITE_OK) {
      return std::unexpected(LastError("bind a value for"));
    }
  }
  return statement;
}

Status SqliteDb::Run(const std::string& sql, std::initializer_list<std::string_view> values) {
  K2_ASSIGN(SqliteStatement statement, Query(sql, values));
  while (true) {
    K2_ASSIGN(const bool row, statement.Step());
    if (!row) return {};
  }
}

int SqliteDb::rows_changed() const { return sqlite3_changes(db_.get()); }
bool SqliteDb::in_transaction() const { return sqlite3_get_autocommit(db_.get()) == 0; }

void SqliteDb::Rollback() {
  if (in_transaction()) (void)Run("ROLLBACK");
}

Error SqliteDb::LastError(std::string_view action) const {
  const int code = sqlite3_extended_errcode(db_.get());
  const int system = sqlite3_system_errno(db_.get());
  const auto error = [&](ErrorKind kind, std::string_view what_to_do) {
    return Error{kind, fmt::format("cannot {} catalog {}: {} (SQLite {}{}){}", action, path_, sqlite3_errmsg(db_.get()),
                                   code, system == 0 ? "" : fmt::format(", {}", std::strerror(system)), what_to_do)};
  };
  constexpr std::string_view kFreeSpace = "; free space there, then run again: nothing committed is lost";
  constexpr std::string_view kAccess = "; give this user write access to the folder and the files in it";
  switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return error(ErrorKind::kUnavailable, "; another process holds it: try again");
    case SQLITE_FULL: return error(ErrorKind::kNoSpace, kFreeSpace);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH: return error(ErrorKind::kPermission, kAccess);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return error(ErrorKind::kInvalidData,
                   "; move it elsewhere and run `k2 tables recover`, which creates a new one from the tables' files");
    case SQLITE_CONSTRAINT: return error(ErrorKind::kAlreadyExists, "");
    case SQLITE_CANTOPEN:
      if (system == EACCES || system == EROFS || system == EPERM) return error(ErrorKind::kPermission, kAccess);
      if (system == ENOSPC) return error(ErrorKind::kNoSpace, kFreeSpace);
      return error(ErrorKind::kIo, "; does its folder exist?");
    default: return error(system == ENOSPC ? ErrorKind::kNoSpace : ErrorKind::kIo, "");
  }
}

}  // namespace k2::catalog
