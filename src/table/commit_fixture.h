// A table on a real catalog and real files, and other writers of it, for tests of the commit protocol.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <random>
#include <set>

#include "base/uuid.h"
#include "catalog/sqlite_catalog.h"
#include "iceberg/reachable_files.h"
#include "iceberg/snapshot_producer.h"
#include "storage/testing/faulty_file_io.h"
#include "table/metadata_store.h"
#include "table/scan.h"
#include "table/table.h"

namespace k2::table {

namespace fs = std::filesystem;

const inline catalog::TableName kName{"market_data", "t"};

inline SourceKey Key(int number) { return {"c", "topic", "id", number}; }
inline SourcePosition At(int64_t offset) { return {.next_offset = offset}; }

inline uint64_t Seed() {
  const char* set = std::getenv("K2_SEED");
  return set != nullptr ? std::strtoull(set, nullptr, 10) : std::random_device{}();
}

inline const Error& ErrorOf(const LayerCommitOutcome& outcome) {
  static const Error kNone{ErrorKind::kInternal, "it was committed"};
  if (const auto* failed = std::get_if<NotCommitted>(&outcome)) return failed->error();
  if (const auto* unknown = std::get_if<OutcomeUnknown>(&outcome)) return unknown->error;
  return kNone;
}

#define EXPECT_COMMITTED(outcome_expression)                                                    \
  do {                                                                                          \
    const LayerCommitOutcome& k2_outcome = (outcome_expression);                                \
    EXPECT_TRUE(std::holds_alternative<CommitDone>(k2_outcome)) << ErrorOf(k2_outcome).message; \
  } while (false)

class CommitTest : public testing::Test {
 protected:
  void SetUp() override {
    catalog_ = Open();
    ASSERT_TRUE(catalog_->CreateNamespaceIfMissing("market_data"));
    catalog::CreateTableRequest request;
    request.schema.fields = {{1, "id", true, iceberg::Type::Primitive(iceberg::TypeId::kLong)}};
    request.properties = {{"k2.history.max-snapshots", "6"},
                          {"history.expire.min-snapshots-to-keep", "3"},
                          {"write.metadata.previous-versions-max", "4"},
                          {"write.metadata.delete-after-commit.enabled", "true"},
                          {"commit.manifest.min-count-to-merge", "5"}};
    ASSERT_TRUE(catalog_->Create(kName, request));
    EXPECT_COMMITTED(Load().Commit({}));
  }
  void TearDown() override { fs::remove_all(root_); }

  std::shared_ptr<catalog::Catalog> Open(catalog::SqliteCatalogOptions options = {}) {
    auto catalog = catalog::OpenSqliteCatalog(root_, io_, std::move(options));
    EXPECT_TRUE(catalog) << catalog.error().message;
    return *catalog;
  }
  std::shared_ptr<catalog::Catalog> OpenWithFaults(std::vector<catalog::SwapFault> faults) {
    return Open({.swap_fault = [faults, next = size_t{0}]() mutable {
      return next < faults.size() ? faults[next++] : catalog::SwapFault::kNone;
    }});
  }
  Table Load(std::shared_ptr<catalog::Catalog> catalog = nullptr) {
    auto table = Table::Load(catalog ? std::move(catalog) : catalog_, io_, kName);
    EXPECT_TRUE(table) << table.error().message;
    return *table;
  }

  // A data file that stands on disk; nobody reads its rows here.
  iceberg::DataFile NewFile(int64_t rows = 10) {
    const std::string location = Load().metadata().location;
    iceberg::DataFile file{.file_path = fmt::format("{}/data/{}.parquet", location, RandomHex64()),
                           .record_count = rows,
                           .file_size_in_bytes = 4};
    EXPECT_TRUE(io_->WriteNew(file.file_path, "PAR1"));
    return file;
  }
  LayerCommit Move(int key, int64_t from, int64_t to) {
    LayerCommit commit;
    commit.added = {NewFile(to - from)};
    if (from > 0) commit.base.positions[Key(key)] = At(from);
    commit.next.positions[Key(key)] = At(to);
    return commit;
  }
  // The same in another writer's way: main moves, and that is all.
  void ForeignSnapshot(const std::string& operation, std::vector<iceberg::DataFile> added,
                       std::vector<iceberg::DataFile> removed = {}) {
    for (int attempt = 0; attempt < 50; ++attempt) {
      auto state = catalog_->Load(kName);
      ASSERT_TRUE(state);
      MetadataStore store(*io_, state->metadata->location);
      iceberg::SnapshotRequest request;
      request.operation = operation;
      request.added = added;
      request.removed = removed;
      request.snapshot_id = RandomPositiveInt64();
      request.planned_sequence = state->metadata->last_sequence_number;
      auto produced = iceberg::ProduceSnapshot(store, *state->metadata, request);
      ASSERT_TRUE(produced) << produced.error().message;
      const auto outcome =
          catalog_->Commit(kName, *state, {},
                           {iceberg::AddSnapshot{produced->snapshot},
                            iceberg::SetSnapshotRef{"main", {.snapshot_id = request.snapshot_id, .is_branch = true}}});
      if (std::holds_alternative<catalog::Committed>(outcome)) return;
      for (const auto& file : store.written()) ASSERT_TRUE(io_->Delete(file.path));
    }
    FAIL() << "the foreign commit never won";
  }
  void ForeignExpiry() {  // all but what a ref names, as expire_snapshots with retain_last = 1 does
    auto state = catalog_->Load(kName);
    ASSERT_TRUE(state);
    std::set<int64_t> named;
    for (const auto& [name, ref] : state->metadata->refs) named.insert(ref.snapshot_id);
    std::vector<int64_t> expired;
    for (const auto& snapshot : state->metadata->snapshots) {
      if (!named.contains(snapshot.snapshot_id)) expired.push_back(snapshot.snapshot_id);
    }
    if (expired.empty()) return;
    MetadataStore store(*io_, state->metadata->location);
    const auto files = iceberg::FilesOnlyIn(store, *state->metadata, expired);
    ASSERT_TRUE(files);
    const auto outcome = catalog_->Commit(kName, *state, {}, {iceberg::RemoveSnapshots{expired}});
    ASSERT_TRUE(std::holds_alternative<catalog::Committed>(outcome));
    for (const auto* list : {&files->data_files, &files->manifests, &files->manifest_lists}) {
      for (const std::string& path : *list) ASSERT_TRUE(io_->Delete(path));
    }
  }

  int64_t Rows() {
    const Table table = Load();
    const auto files = PlanScan(*io_, table.metadata(), *table.metadata().current_snapshot_id, {});
    EXPECT_TRUE(files) << files.error().message;
    int64_t rows = 0;
    for (const ScanFile& file : *files) rows += file.file.record_count;
    return rows;
  }
  LayerProgress Progress() {
    const auto progress = ReadProgress(Load().metadata());
    EXPECT_TRUE(progress) << progress.error().message;
    return progress.value_or(LayerProgress{});
  }
  int64_t OffsetOf(int key) {
    const LayerProgress progress = Progress();
    const auto found = progress.positions.find(Key(key));
    return found == progress.positions.end() ? 0 : found->second.next_offset;
  }

  std::set<std::string> OnDisk() {
    std::set<std::string> files;
    const auto list = io_->List(Load().metadata().location);
    EXPECT_TRUE(list);
    for (const storage::FileInfo& file : *list) files.insert(file.location);
    return files;
  }
  // Everything that the table's metadata names, data files of all its snapshots among it.
  std::set<std::string> Named() {
    const Table table = Load();
    std::set<std::string> files{table.state().metadata_location};
    for (const auto& entry : table.metadata().metadata_log) files.insert(entry.metadata_file);
    MetadataStore store(*io_, table.metadata().location);
    EXPECT_TRUE(iceberg::ForEachReachable(store, table.metadata(), [&](auto, const std::string& path) {
      files.insert(path);
      return Status{};
    }));
    return files;
  }
  void ExpectNoLiveFileMissing() {
    const auto on_disk = OnDisk();
    for (const std::string& file : Named()) EXPECT_TRUE(on_disk.contains(file)) << file;
  }
  void ExpectDiskIsExactlyWhatIsNamed() { EXPECT_EQ(OnDisk(), Named()); }

  std::string root_ = (fs::temp_directory_path() / ("k2-commit-" + RandomHex64())).string();
  std::shared_ptr<storage::FaultyFileIo> io_ = storage::FaultyFileIo::OverLocalDisk();
  std::shared_ptr<catalog::Catalog> catalog_;
};

}  // namespace k2::table
