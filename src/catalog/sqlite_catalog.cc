#include "catalog/sqlite_catalog.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <mutex>
#include <optional>

#include "base/age.h"
#include "base/log.h"
#include "base/time.h"
#include "base/uuid.h"
#include "catalog/metadata_files.h"
#include "catalog/metadata_history.h"
#include "catalog/sqlite_db.h"
#include "catalog/sqlite_layout.h"
#include "catalog/warehouse_place.h"
#include "iceberg/metadata_folder.h"
#include "iceberg/own_files.h"
#include "storage/disk.h"
#include "storage/location.h"
#include "storage/moved_file_io.h"

namespace k2::catalog {
namespace {

constexpr std::string_view kDeleteAfterCommit = "write.metadata.delete-after-commit.enabled";
constexpr std::string_view kPreviousVersionsMax = "write.metadata.previous-versions-max";

Status CheckName(std::string_view what, std::string_view name) {
  const bool odd = name.empty() || name.size() > 255 || name == "." || name == ".." || name.starts_with('.') ||
                   name.ends_with('.') || name.find("..") != std::string_view::npos ||
                   name.find_first_of("/?#\\") != std::string_view::npos;
  if (odd) return Fail(ErrorKind::kInvalidArgument, "'{}' is not a valid name of a {}", name, what);
  return {};
}

bool IsTrue(const iceberg::TableMetadata& metadata, std::string_view property) {
  const auto found = metadata.properties.find(std::string(property));
  return found != metadata.properties.end() && found->second == "true";
}

class SqliteCatalog : public Catalog {
 public:
  SqliteCatalog(std::string folder, std::shared_ptr<storage::FileIo> io, SqliteCatalogOptions options)
      : folder_(std::move(folder)), path_(folder_ + "/catalog.db"), io_(std::move(io)), options_(std::move(options)) {}

  Status Open();
  [[nodiscard]] std::optional<Displacement> displacement() const override { return displacement_; }
  [[nodiscard]] bool RemembersPlace() const override { return true; }
  Status SettlePlace() override;
  Status RememberPlace(const std::string& location) override;
  [[nodiscard]] std::optional<std::string> LocationOfNew(const TableName& table) const override;
  Result<std::optional<std::string>> MetadataLocation(const TableName& table) override;
  Status Register(const TableName& table, const std::string& metadata_location,
                  const std::optional<std::string>& instead_of) override;
  Status CreateNamespaceIfMissing(const std::string& name_space) override;
  Result<std::vector<std::string>> ListNamespaces() override;
  Result<std::vector<TableName>> ListTables(const std::string& name_space) override;
  Result<TableState> Load(const TableName& table) override;
  Result<TableState> Create(const TableName& table, const CreateTableRequest& request) override;
  CommitOutcome Commit(const TableName& table, const TableState& base,
                       const std::vector<iceberg::TableRequirement>& requirements,
                       const std::vector<iceberg::TableUpdate>& updates, const BeforeSwap& before_swap) override;
  [[nodiscard]] std::string Describe() const override { return "SQLite catalog " + path_; }

 private:
  // A metadata file that was written and is about to be named.
  struct WrittenMetadata {
    std::string file;
    int64_t bytes = 0;
    StartTime begun = StartTime::Now();
  };
  Result<WrittenMetadata> Write(const iceberg::TableMetadata& metadata, const std::string& previous) const;
  [[nodiscard]] Status CheckStillThere(const WrittenMetadata& written) const;
  // The swap's result: rows that were changed, or an error after which nothing was applied, or the doubt.
  struct Swap {
    std::optional<Unknown> unknown;
    Status status;
    int rows = 0;
  };
  Status OpenPlace();
  [[nodiscard]] Status CheckPlace() const;
  Swap Transact(const std::string& sql, std::initializer_list<std::string_view> values,
                const BeforeSwap& before_commit = nullptr);
  Swap SwapPointer(const TableName& table, const std::string& from, const std::string& to, const BeforeSwap& before);
  Status Insert(const TableName& table, const WrittenMetadata& written);
  Result<std::optional<std::string>> Pointer(const TableName& table);
  Result<bool> NamespaceExists(const std::string& name_space);
  void DeleteOld(const iceberg::TableMetadata& metadata, const std::vector<std::string>& dropped);

  [[nodiscard]] int64_t NowMs() const { return options_.now_ms ? options_.now_ms() : NowMicros() / 1'000; }
  void Step(std::string_view step) const {
    if (options_.on_step) options_.on_step(step);
  }

  const std::string folder_;
  const std::string path_;
  // Constant after Open.
  std::string warehouse_;  // URI, as the tables' locations spell it
  std::optional<Displacement> displacement_;
  dev_t device_ = 0;  // of the folder
  ino_t inode_ = 0;
  std::shared_ptr<storage::FileIo> io_;
  const SqliteCatalogOptions options_;
  std::mutex mutex_;  // guards what follows; not held while metadata is written
  std::unique_ptr<SqliteDb> db_;
  std::optional<MetadataCache> cache_;
  bool has_type_column_ = true;  // version 1 of the layout
  std::string only_tables_;      // condition that leaves views out
};

Status SqliteCatalog::Open() {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), error);
  if (error) {
    const bool denied = error == std::errc::permission_denied || error == std::errc::read_only_file_system;
    return Fail(denied ? ErrorKind::kPermission : ErrorKind::kIo, "cannot create the warehouse folder of {}: {}", path_,
                error.message());
  }
  K2_ASSIGN(db_, SqliteDb::Open(path_, options_.busy_timeout_ms));
  // Write-ahead log: one sync a commit, and readers of other processes never block a commit. FULL: a commit that was
  // reported is on disk.
  Status wal = db_->Run("PRAGMA journal_mode=WAL");
  if (!wal && wal.error().kind != ErrorKind::kUnavailable) return wal;  // busy: it stays as it is, which is safe too
  K2_TRY(db_->Run("PRAGMA synchronous=FULL"));
  K2_TRY(CreateLayoutIfMissing(*db_));
  K2_ASSIGN(has_type_column_, HasTypeColumn(*db_));
  if (has_type_column_) only_tables_ = " AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)";
  return OpenPlace();
}

Status SqliteCatalog::OpenPlace() {
  K2_ASSIGN(WarehousePlace place, FindPlace(*db_, options_.catalog_name, folder_));
  warehouse_ = place.location;
  displacement_ = std::move(place.displacement);
  if (displacement_) io_ = storage::MakeMovedFileIo(io_, displacement_->map, displacement_->Describe());
  cache_.emplace(io_);
  struct stat info{};
  if (::stat(folder_.c_str(), &info) != 0) return std::unexpected(storage::ErrnoError(errno, "stat", folder_));
  device_ = info.st_dev;
  inode_ = info.st_ino;
  return {};
}

// Before anything is written: the warehouse is where its catalog says, and no other folder has taken its place since it
// was opened.
Status SqliteCatalog::CheckPlace() const {
  if (displacement_) return Fail(ErrorKind::kInvalidArgument, "{}", displacement_->Describe());
  struct stat info{};
  if (::stat(folder_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_) return {};
  return Fail(ErrorKind::kInvalidArgument,
              "{} was moved or replaced while this process had it open: nothing was committed; start again with its "
              "present location",
              folder_);
}

// One statement in one transaction. A failed COMMIT that SQLite says it did not do (busy, no space: the transaction is
// rolled back from its log) is certain; any other may be on disk.
SqliteCatalog::Swap SqliteCatalog::Transact(const std::string& sql, std::initializer_list<std::string_view> values,
                                            const BeforeSwap& before_commit) {
  if (Status begun = db_->Run("BEGIN IMMEDIATE"); !begun) return {.status = begun};
  if (Status changed = db_->Run(sql, values); !changed) {
    db_->Rollback();
    return {.status = changed};
  }
  const int rows = db_->rows_changed();
  if (Status ready = before_commit ? before_commit() : Status{}; !ready) {  // it may have waited long for the lock
    db_->Rollback();
    return {.status = ready};
  }
  if (Status committed = db_->Run("COMMIT"); !committed) {
    db_->Rollback();
    const ErrorKind kind = committed.error().kind;
    if (kind == ErrorKind::kUnavailable || kind == ErrorKind::kNoSpace) return {.status = committed};
    return {.unknown = Unknown{{ErrorKind::kCommitUnknown, committed.error().message}}};
  }
  return {.rows = rows};
}

Result<bool> SqliteCatalog::NamespaceExists(const std::string& name_space) {
  K2_ASSIGN(auto rows,
            db_->Query("SELECT 1 FROM iceberg_namespace_properties WHERE catalog_name = ?1 AND namespace = ?2 "
                       "UNION SELECT 1 FROM iceberg_tables WHERE catalog_name = ?1 AND table_namespace = ?2",
                       {options_.catalog_name, name_space}));
  return rows.Step();
}

Status SqliteCatalog::CreateNamespaceIfMissing(const std::string& name_space) {
  K2_TRY(CheckName("namespace", name_space));
  const std::lock_guard lock(mutex_);
  K2_ASSIGN(const bool exists, NamespaceExists(name_space));
  if (exists) return {};
  return db_->Run(
      "INSERT OR IGNORE INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value) "
      "VALUES "
      "(?1, ?2, 'exists', 'true')",
      {options_.catalog_name, name_space});
}

Result<std::vector<std::string>> SqliteCatalog::ListNamespaces() {
  const std::lock_guard lock(mutex_);
  K2_ASSIGN(auto rows,
            db_->Query("SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = ?1 UNION SELECT "
                       "table_namespace FROM iceberg_tables WHERE catalog_name = ?1 ORDER BY 1",
                       {options_.catalog_name}));
  std::vector<std::string> names;
  while (true) {
    K2_ASSIGN(const bool row, rows.Step());
    if (!row) return names;
    names.push_back(rows.Text(0).value_or(""));
  }
}

Result<std::vector<TableName>> SqliteCatalog::ListTables(const std::string& name_space) {
  const std::lock_guard lock(mutex_);
  K2_ASSIGN(auto rows,
            db_->Query("SELECT table_name FROM iceberg_tables WHERE catalog_name = ?1 AND table_namespace = ?2" +
                           only_tables_ + " ORDER BY 1",
                       {options_.catalog_name, name_space}));
  std::vector<TableName> tables;
  while (true) {
    K2_ASSIGN(const bool row, rows.Step());
    if (!row) return tables;
    tables.push_back({name_space, rows.Text(0).value_or("")});
  }
}

Result<std::optional<std::string>> SqliteCatalog::Pointer(const TableName& table) {
  K2_ASSIGN(auto rows, db_->Query("SELECT metadata_location FROM iceberg_tables WHERE catalog_name = ?1 AND "
                                  "table_namespace = ?2 AND table_name = ?3" +
                                      only_tables_,
                                  {options_.catalog_name, table.name_space, table.name}));
  K2_ASSIGN(const bool row, rows.Step());
  if (!row) return std::nullopt;
  return rows.Text(0);
}

Result<TableState> SqliteCatalog::Load(const TableName& table) {
  const std::lock_guard lock(mutex_);
  // Twice: the file that the pointer named may be cleaned up by the commits of others before it is read.
  for (int attempt = 0;; ++attempt) {
    K2_ASSIGN(const auto location, Pointer(table));
    if (!location) return Fail(ErrorKind::kNotFound, "table {} does not exist in {}", table.ToString(), Describe());
    auto metadata = cache_->Get(*location);
    if (metadata) return TableState{*location, *std::move(metadata)};
    if (metadata.error().kind != ErrorKind::kNotFound) {
      return std::unexpected(metadata.error().With("table " + table.ToString()));
    }
    if (attempt == 3) return std::unexpected(MissingMetadata(*io_, table, *location, Describe()));
  }
}

std::optional<std::string> SqliteCatalog::LocationOfNew(const TableName& table) const {
  std::string folders = table.name_space;
  std::replace(folders.begin(), folders.end(), '.', '/');
  return fmt::format("{}/{}/{}", warehouse_, folders, table.name);
}

Result<std::optional<std::string>> SqliteCatalog::MetadataLocation(const TableName& table) {
  const std::lock_guard lock(mutex_);
  return Pointer(table);
}

Status SqliteCatalog::Register(const TableName& table, const std::string& metadata_location,
                               const std::optional<std::string>& instead_of) {
  K2_TRY(CheckName("table", table.name));
  if (!instead_of) {
    K2_ASSIGN(const int64_t bytes, io_->Size(metadata_location));
    const std::lock_guard lock(mutex_);
    return Insert(table, {.file = metadata_location, .bytes = bytes});
  }
  Step("before-swap");
  const Swap swap = SwapPointer(table, *instead_of, metadata_location, nullptr);
  Step("after-swap");
  if (swap.unknown) return std::unexpected(swap.unknown->error);
  K2_TRY(swap.status);
  if (swap.rows == 1) return {};
  return Fail(ErrorKind::kConflict, "table {} was changed concurrently", table.ToString());
}

Status SqliteCatalog::SettlePlace() {
  const std::lock_guard lock(mutex_);
  return k2::catalog::SettlePlace(*db_, folder_);
}

Status SqliteCatalog::RememberPlace(const std::string& location) {
  const std::lock_guard lock(mutex_);
  return k2::catalog::RememberPlace(*db_, location);
}

Status SqliteCatalog::Insert(const TableName& table, const WrittenMetadata& written) {
  const std::string sql =
      has_type_column_ ? "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, "
                         "previous_metadata_location, iceberg_type) VALUES (?1, ?2, ?3, ?4, NULL, 'TABLE')"
                       : "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, "
                         "previous_metadata_location) VALUES (?1, ?2, ?3, ?4, NULL)";
  const Swap swap = Transact(sql, {options_.catalog_name, table.name_space, table.name, written.file},
                             [&] { return CheckStillThere(written); });
  if (swap.unknown) return std::unexpected(swap.unknown->error);
  return swap.status;
}

Result<TableState> SqliteCatalog::Create(const TableName& table, const CreateTableRequest& request) {
  K2_TRY(CheckName("table", table.name));
  K2_TRY(CheckPlace());
  const std::string location = request.location.empty() ? *LocationOfNew(table) : request.location;
  const auto exists = [&] { return Fail(ErrorKind::kAlreadyExists, "table {} already exists", table.ToString()); };
  {
    const std::lock_guard lock(mutex_);
    K2_ASSIGN(const bool has_namespace, NamespaceExists(table.name_space));
    if (!has_namespace) return Fail(ErrorKind::kNotFound, "namespace {} does not exist", table.name_space);
    K2_ASSIGN(const auto pointer, Pointer(table));
    if (pointer) return exists();
  }
  auto properties = request.properties;
  properties.emplace(kPreviousVersionsMax, "20");
  properties.emplace(kDeleteAfterCommit, "true");
  K2_ASSIGN(auto made, iceberg::NewTableMetadata(RandomUuid().ToString(), location, request.schema, request.spec,
                                                 request.sort_order, properties, NowMs()));
  auto metadata = std::make_shared<const iceberg::TableMetadata>(std::move(made));
  K2_TRY(CheckNoTableAt(*io_, table, iceberg::MetadataFolder(*metadata)));
  K2_ASSIGN(const WrittenMetadata written, Write(*metadata, ""));
  const std::string& file = written.file;
  Step("metadata-written");
  Step("before-swap");
  {
    const std::lock_guard lock(mutex_);
    if (const Status inserted = Insert(table, written); !inserted) {
      if (inserted.error().kind != ErrorKind::kCommitUnknown) (void)io_->Delete(file);
      if (inserted.error().kind == ErrorKind::kAlreadyExists) return exists();
      return std::unexpected(inserted.error().With("create table " + table.ToString()));
    }
    cache_->Put(file, metadata);
  }
  Step("after-swap");
  return TableState{file, metadata};
}

Result<SqliteCatalog::WrittenMetadata> SqliteCatalog::Write(const iceberg::TableMetadata& metadata,
                                                            const std::string& previous) const {
  const std::string json = iceberg::TableMetadataToJson(metadata);
  WrittenMetadata written{.file = NewMetadataLocation(metadata, previous), .bytes = static_cast<int64_t>(json.size())};
  K2_TRY(io_->WriteNew(written.file, json));
  return written;
}

// A process that slept since may find that the file was removed as an orphan.
Status SqliteCatalog::CheckStillThere(const WrittenMetadata& written) const {
  K2_TRY(CheckAttemptAge(written.begun));
  if (AgeMicros(written.begun) <= kLookAgainAfterUs) return {};
  const Result<int64_t> bytes = io_->Size(written.file);
  if (!bytes && bytes.error().kind != ErrorKind::kNotFound) return std::unexpected(bytes.error());
  if (bytes && *bytes == written.bytes) return {};
  return Fail(ErrorKind::kConflict, "the metadata file {} was removed or changed before the commit", written.file);
}

SqliteCatalog::Swap SqliteCatalog::SwapPointer(const TableName& table, const std::string& from, const std::string& to,
                                               const BeforeSwap& before) {
  const SwapFault fault = options_.swap_fault ? options_.swap_fault() : SwapFault::kNone;
  const Unknown lost{{ErrorKind::kCommitUnknown, "the catalog's reply was lost"}};
  if (fault == SwapFault::kRequestLost) return {.unknown = lost};
  const std::lock_guard lock(mutex_);
  Swap swap = Transact(
      "UPDATE iceberg_tables SET metadata_location = ?1, previous_metadata_location = ?2 WHERE catalog_name = ?3 AND "
      "table_namespace = ?4 AND table_name = ?5 AND metadata_location = ?2" +
          only_tables_,
      {to, from, options_.catalog_name, table.name_space, table.name}, before);
  if (fault == SwapFault::kReplyLost && swap.status) swap.unknown = lost;
  return swap;
}

CommitOutcome SqliteCatalog::Commit(const TableName& table, const TableState& base,
                                    const std::vector<iceberg::TableRequirement>& requirements,
                                    const std::vector<iceberg::TableUpdate>& updates, const BeforeSwap& before_swap) {
  const Conflict moved{"table " + table.ToString() + " was changed since it was loaded"};
  const auto refused = [&](const Error& error) -> CommitOutcome {
    // Busy: nothing was applied and another try may go through.
    if (error.kind == ErrorKind::kConflict || error.kind == ErrorKind::kUnavailable) return Conflict{error.message};
    return Rejected{error.With("commit to " + table.ToString())};
  };
  if (const Status here = CheckPlace(); !here) return refused(here.error());
  if (const Status holds = iceberg::CheckRequirements(base.metadata.get(), requirements); !holds) {
    return refused(holds.error());
  }
  {
    const std::lock_guard lock(mutex_);
    const auto pointer = Pointer(table);
    if (!pointer) return refused(pointer.error());
    if (!*pointer) return Rejected{{ErrorKind::kNotFound, "table " + table.ToString() + " no longer exists"}};
    if (**pointer != base.metadata_location) return moved;
  }
  auto made = iceberg::ApplyUpdates(*base.metadata, updates, NowMs());
  if (!made) return refused(made.error());
  const auto dropped = iceberg::AddToMetadataLog(*made, base.metadata_location, base.metadata->last_updated_ms);
  auto metadata = std::make_shared<const iceberg::TableMetadata>(*std::move(made));
  const Result<WrittenMetadata> written = Write(*metadata, base.metadata_location);
  if (!written) return Rejected{written.error().With("commit to " + table.ToString())};
  const std::string& file = written->file;
  Step("metadata-written");
  Step("before-swap");
  std::optional<Error> stopped;
  const BeforeSwap before = [&]() -> Status {
    Status ready = CheckStillThere(*written);
    if (ready && before_swap) ready = before_swap();
    if (!ready) stopped = ready.error();
    return ready;
  };
  Swap swap{.status = before()};  // looks at files, if any, before others wait for the lock
  if (swap.status) swap = SwapPointer(table, base.metadata_location, file, before);
  Step("after-swap");
  if (swap.unknown) return *swap.unknown;
  if (!swap.status || swap.rows != 1) {
    (void)io_->Delete(file);
    if (stopped) return Rejected{*std::move(stopped)};
    return swap.status ? moved : refused(swap.status.error());
  }
  {
    const std::lock_guard lock(mutex_);
    cache_->Put(file, metadata);
  }
  DeleteOld(*metadata, dropped);
  return Committed{{file, metadata}};
}

void SqliteCatalog::DeleteOld(const iceberg::TableMetadata& metadata, const std::vector<std::string>& dropped) {
  if (!IsTrue(metadata, kDeleteAfterCommit) || !iceberg::GarbageCollected(metadata)) return;
  const iceberg::OwnFiles own(metadata);
  for (const std::string& file : dropped) {
    if (!own.Hold(file) || !file.ends_with(".metadata.json")) {
      log::Warn("the metadata log references a file that is not the table's own metadata; not deleting it",
                {{"table", metadata.location}, {"file", file}});
      continue;
    }
    if (const Status deleted = io_->Delete(file); !deleted) {
      log::Warn("cannot delete old table metadata", {{"file", file}, {"error", deleted.error().message}});
    }
  }
}

}  // namespace

Result<std::shared_ptr<Catalog>> OpenSqliteCatalog(const std::string& warehouse, std::shared_ptr<storage::FileIo> io,
                                                   SqliteCatalogOptions options) {
  K2_ASSIGN(const std::string folder, storage::LocalPath(warehouse));
  auto catalog = std::make_shared<SqliteCatalog>(folder, std::move(io), std::move(options));
  K2_TRY(catalog->Open());
  return catalog;
}

}  // namespace k2::catalog
