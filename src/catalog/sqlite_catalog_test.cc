#include "catalog/sqlite_catalog.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <thread>

#include "base/uuid.h"
#include "catalog/sqlite_db.h"
#include "catalog/testing/drop_table.h"
#include "storage/testing/faulty_file_io.h"

namespace k2::catalog {
namespace {

namespace fs = std::filesystem;
using iceberg::SetProperties;

const TableName kTrades{"market_data", "trades"};

// What the program prints; its exit code is checked.
std::string Python(const std::string& script) {
  const std::string file = (fs::temp_directory_path() / ("k2-" + RandomHex64() + ".py")).string();
  std::FILE* out = std::fopen(file.c_str(), "w");
  std::fputs(script.c_str(), out);
  std::fclose(out);
  std::FILE* pipe = popen((std::string(K2_SOURCE_DIR) + "/.venv/bin/python -W ignore " + file + " 2>&1").c_str(), "r");
  std::string printed;
  std::array<char, 4096> buffer{};
  while (const size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe)) printed.append(buffer.data(), got);
  EXPECT_EQ(pclose(pipe), 0) << printed;
  fs::remove(file);
  return printed;
}

class SqliteCatalogTest : public ::testing::Test {
 protected:
  void TearDown() override { fs::remove_all(root_); }

  std::shared_ptr<Catalog> Open(SqliteCatalogOptions options = {}) {
    auto catalog = OpenSqliteCatalog(root_, io_, std::move(options));
    EXPECT_TRUE(catalog) << catalog.error().message;
    return *catalog;
  }
  static CreateTableRequest Request() {
    CreateTableRequest request;
    request.schema.fields = {{1, "id", true, iceberg::Type::Primitive(iceberg::TypeId::kLong)},
                             {2, "name", false, iceberg::Type::Primitive(iceberg::TypeId::kString)}};
    return request;
  }
  static std::vector<iceberg::TableUpdate> Set(const std::string& key, const std::string& value) {
    return {SetProperties{{{key, value}}}};
  }
  [[nodiscard]] size_t MetadataFiles() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(root_ + "/market_data/trades/metadata"), fs::directory_iterator()));
  }
  TableState MakeTable(Catalog& catalog) {
    EXPECT_TRUE(catalog.CreateNamespaceIfMissing("market_data"));
    auto state = catalog.Create(kTrades, Request());
    EXPECT_TRUE(state) << state.error().message;
    return *state;
  }

  std::string root_ = (fs::temp_directory_path() / ("k2-catalog-" + RandomHex64())).string();
  std::shared_ptr<storage::FileIo> io_ = storage::MakeFileIo();
};

TEST_F(SqliteCatalogTest, CreatesLoadsLists) {
  const auto catalog = Open();
  EXPECT_EQ(catalog->Create(kTrades, Request()).error().kind, ErrorKind::kNotFound);
  const TableState made = MakeTable(*catalog);
  ASSERT_TRUE(catalog->CreateNamespaceIfMissing("market_data"));
  EXPECT_EQ(catalog->Create(kTrades, Request()).error().kind, ErrorKind::kAlreadyExists);
  EXPECT_EQ(MetadataFiles(), 1U);
  EXPECT_TRUE(made.metadata_location.starts_with("file://" + root_ + "/market_data/trades/metadata/00000-"));
  EXPECT_EQ(made.metadata->properties.at("write.metadata.previous-versions-max"), "20");

  const auto other = Open();  // nothing of the first one's cache
  EXPECT_EQ(*other->Load(kTrades)->metadata, *made.metadata);
  EXPECT_EQ(other->ListNamespaces().value(), std::vector<std::string>{"market_data"});
  EXPECT_EQ(other->ListTables("market_data").value(), std::vector<TableName>{kTrades});
  ASSERT_TRUE(DropTable(root_, kTrades));
  EXPECT_EQ(catalog->Load(kTrades).error().kind, ErrorKind::kNotFound) << "nothing of its cache either";
  for (const char* name : {"", "a/b", "..", "a?b"}) {
    EXPECT_EQ(catalog->Create({"market_data", name}, Request()).error().kind, ErrorKind::kInvalidArgument) << name;
  }
}

TEST_F(SqliteCatalogTest, CommitSwapsOrConflicts) {
  const auto catalog = Open();
  const TableState base = MakeTable(*catalog);
  auto outcome = catalog->Commit(kTrades, base, {iceberg::AssertTableUuid{base.metadata->table_uuid}}, Set("a", "1"));
  ASSERT_TRUE(std::holds_alternative<Committed>(outcome));
  const TableState next = std::get<Committed>(outcome).state;
  EXPECT_EQ(next.metadata->properties.at("a"), "1");
  EXPECT_NE(next.metadata_location.find("/00001-"), std::string::npos);
  EXPECT_EQ(next.metadata->metadata_log.back().metadata_file, base.metadata_location);

  EXPECT_TRUE(std::holds_alternative<Conflict>(catalog->Commit(kTrades, base, {}, Set("b", "1"))));
  outcome =
      catalog->Commit(kTrades, next, {iceberg::AssertTableUuid{"00000000-0000-4000-8000-000000000000"}}, Set("b", "1"));
  EXPECT_TRUE(std::holds_alternative<Conflict>(outcome));
  EXPECT_EQ(MetadataFiles(), 2U);
  EXPECT_EQ(Open()->Load(kTrades)->metadata_location, next.metadata_location);
  ASSERT_TRUE(DropTable(root_, kTrades));
  EXPECT_TRUE(std::holds_alternative<Rejected>(catalog->Commit(kTrades, next, {}, Set("b", "1"))));
}

TEST_F(SqliteCatalogTest, ALoserBetweenWriteAndSwapLeavesNothing) {
  const auto other = Open();
  const TableState base = MakeTable(*other);
  std::string steps;
  const auto catalog = Open({.on_step = [&](std::string_view step) {
    steps += std::string(step) + " ";
    if (step == "before-swap") {
      EXPECT_TRUE(std::holds_alternative<Committed>(other->Commit(kTrades, base, {}, Set("winner", "other"))));
    }
  }});
  EXPECT_TRUE(std::holds_alternative<Conflict>(catalog->Commit(kTrades, base, {}, Set("winner", "me"))));
  EXPECT_EQ(steps, "metadata-written before-swap after-swap ");
  EXPECT_EQ(MetadataFiles(), 2U);
  EXPECT_EQ(catalog->Load(kTrades)->metadata->properties.at("winner"), "other");
}

TEST_F(SqliteCatalogTest, LostRepliesAreUnknownAndKeepTheFile) {
  SwapFault fault = SwapFault::kReplyLost;
  const auto catalog = Open({.swap_fault = [&] { return fault; }});
  const TableState base = MakeTable(*catalog);
  EXPECT_TRUE(std::holds_alternative<Unknown>(catalog->Commit(kTrades, base, {}, Set("a", "1"))));
  const TableState next = *catalog->Load(kTrades);
  EXPECT_EQ(next.metadata->properties.at("a"), "1");
  fault = SwapFault::kRequestLost;
  EXPECT_TRUE(std::holds_alternative<Unknown>(catalog->Commit(kTrades, next, {}, Set("a", "2"))));
  EXPECT_EQ(catalog->Load(kTrades)->metadata->properties.at("a"), "1");
  EXPECT_EQ(MetadataFiles(), 3U);
}

TEST_F(SqliteCatalogTest, OldMetadataGoesAfterTheWin) {
  const auto catalog = Open();
  TableState state = MakeTable(*catalog);
  for (int i = 0; i < 30; ++i) {
    const auto outcome = catalog->Commit(kTrades, state, {}, Set("i", std::to_string(i)));
    ASSERT_TRUE(std::holds_alternative<Committed>(outcome));
    state = std::get<Committed>(outcome).state;
  }
  EXPECT_EQ(state.metadata->metadata_log.size(), 20U);
  EXPECT_EQ(MetadataFiles(), 21U);
  EXPECT_NE(state.metadata_location.find("/00030-"), std::string::npos);
}

TEST_F(SqliteCatalogTest, AFullDiskOrALockedCatalogRejectsOrConflicts) {
  const auto faulty = storage::FaultyFileIo::OverLocalDisk();
  io_ = faulty;
  const auto catalog = Open({.busy_timeout_ms = 50});
  const TableState base = MakeTable(*catalog);
  faulty->Inject({.operation = "disk.write", .errno_value = ENOSPC});
  const auto full = catalog->Commit(kTrades, base, {}, Set("a", "1"));
  ASSERT_TRUE(std::holds_alternative<Rejected>(full));
  EXPECT_EQ(std::get<Rejected>(full).error.kind, ErrorKind::kNoSpace);

  const auto db = SqliteDb::Open(root_ + "/catalog.db", 1).value();
  ASSERT_TRUE(db->Run("BEGIN IMMEDIATE"));
  EXPECT_TRUE(std::holds_alternative<Conflict>(catalog->Commit(kTrades, base, {}, Set("a", "1"))));
  EXPECT_TRUE(catalog->Load(kTrades));  // readers go on
  EXPECT_EQ(MetadataFiles(), 1U);
  ASSERT_TRUE(db->Run("ROLLBACK"));
  EXPECT_TRUE(std::holds_alternative<Committed>(catalog->Commit(kTrades, base, {}, Set("a", "1"))));
}

// The power goes at each step of a commit, and unsynced things survive or not by chance: the catalog's pointer names a
// whole metadata file, the new one if the commit was reported.
TEST_F(SqliteCatalogTest, PowerLossAtEachStep) {
  const std::string root = root_;
  for (int64_t step = 1; step <= 8; ++step) {
    for (const uint64_t seed : {0U, 1U, 2U}) {
      root_ = fmt::format("{}/{}-{}", root, step, seed);
      const auto faulty = storage::FaultyFileIo::OverLocalDisk();
      io_ = faulty;
      auto catalog = Open();
      const TableState base = MakeTable(*catalog);
      faulty->Inject({.operation = "disk.", .first = step, .times = -1, .errno_value = EIO});
      const auto outcome = catalog->Commit(kTrades, base, {}, Set("a", "1"));
      ASSERT_TRUE(faulty->PowerLoss(seed));
      catalog.reset();
      io_ = storage::MakeFileIo();
      const auto state = Open()->Load(kTrades);
      ASSERT_TRUE(state) << state.error().message << " step " << step << " seed " << seed;
      EXPECT_EQ(state->metadata->properties.contains("a"), std::holds_alternative<Committed>(outcome)) << step;
    }
  }
  root_ = root;
}

// The database cannot grow: SQLITE_FULL inside the swap.
TEST_F(SqliteCatalogTest, AFullDatabaseIsNoSpace) {
  const auto catalog = Open();
  MakeTable(*catalog);
  const auto db = SqliteDb::Open(root_ + "/catalog.db", 1000).value();
  ASSERT_TRUE(db->Run("PRAGMA max_page_count = 1"));
  Status status;
  for (int i = 0; i < 100 && status; ++i) {
    status = db->Run(
        "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value) "
        "VALUES ('iceberg', ?1, 'k', ?2)",
        {std::to_string(i), std::string(900, 'x')});
  }
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kNoSpace) << status.error().message;
}

TEST_F(SqliteCatalogTest, ADamagedCatalogIsInvalidData) {
  fs::create_directories(root_);
  std::FILE* file = std::fopen((root_ + "/catalog.db").c_str(), "w");
  std::fputs(std::string(8192, 'x').c_str(), file);
  std::fclose(file);
  EXPECT_EQ(OpenSqliteCatalog(root_, io_).error().kind, ErrorKind::kInvalidData);
  EXPECT_EQ(OpenSqliteCatalog("relative", io_).error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(SqliteCatalogTest, EveryCommitOfManyWritersCounts) {
  MakeTable(*Open());
  constexpr int kThreads = 4;
  constexpr int kCommits = 15;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const auto catalog = Open();
      for (int i = 0; i < kCommits;) {
        const auto base = catalog->Load(kTrades);
        ASSERT_TRUE(base) << base.error().message;
        const auto outcome = catalog->Commit(kTrades, *base, {}, Set(fmt::format("{}-{}", t, i), "x"));
        if (std::holds_alternative<Committed>(outcome)) {
          ++i;
        } else {
          ASSERT_TRUE(std::holds_alternative<Conflict>(outcome));
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const auto state = Open()->Load(kTrades).value();
  EXPECT_EQ(state.metadata->properties.size(), 2U + kThreads * kCommits);
  EXPECT_NE(state.metadata_location.find("/00060-"), std::string::npos);
}

// The first layout of the JDBC catalog has no iceberg_type; the second may hold views and, from others, NULLs.
TEST_F(SqliteCatalogTest, ReadsTheOlderLayoutAndLeavesViewsOut) {
  fs::create_directories(root_);
  {
    const auto db = SqliteDb::Open(root_ + "/catalog.db", 1000).value();
    ASSERT_TRUE(
        db->Run("CREATE TABLE iceberg_tables (catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) "
                "NOT NULL, table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), "
                "previous_metadata_location VARCHAR(1000), PRIMARY KEY (catalog_name, table_namespace, "
                "table_name))"));
  }
  const TableState made = MakeTable(*Open());
  EXPECT_TRUE(std::holds_alternative<Committed>(Open()->Commit(kTrades, made, {}, Set("a", "1"))));
  {
    const auto db = SqliteDb::Open(root_ + "/catalog.db", 1000).value();
    ASSERT_TRUE(db->Run("ALTER TABLE iceberg_tables ADD COLUMN iceberg_type VARCHAR(5)"));
    ASSERT_TRUE(
        db->Run("INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, "
                "iceberg_type) VALUES ('iceberg', 'market_data', 'a_view', 'x', 'VIEW')"));
  }
  EXPECT_EQ(Open()->ListTables("market_data").value(), std::vector<TableName>{kTrades});
  EXPECT_EQ(Open()->Load({"market_data", "a_view"}).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(Open()->Load(kTrades)->metadata->properties.at("a"), "1");
}

TEST_F(SqliteCatalogTest, PyIcebergOpensTheSameFile) {
  const auto catalog = Open();
  MakeTable(*catalog);
  const std::string printed = Python(fmt::format(R"(
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
catalog = SqlCatalog("iceberg", uri="sqlite:///{0}/catalog.db", warehouse="file://{0}")
print(catalog.list_namespaces(), catalog.list_tables("market_data"))
table = catalog.load_table("market_data.trades")
print([(f.field_id, f.name, str(f.field_type), f.required) for f in table.schema().fields])
table.append(pa.table({{"id": pa.array([1, 2], pa.int64()), "name": ["a", None]}},
             schema=pa.schema([pa.field("id", pa.int64(), False), pa.field("name", pa.string())])))
theirs = catalog.create_table("market_data.theirs", table.schema())
theirs.append(pa.table({{"id": [7], "name": ["b"]}}, schema=pa.schema([pa.field("id", pa.int64(), False), pa.field("name", pa.string())])))
catalog.create_namespace("empty")
)",
                                                 root_));
  EXPECT_EQ(printed,
            "[('market_data',)] [('market_data', 'trades')]\n"
            "[(1, 'id', 'long', True), (2, 'name', 'string', False)]\n");
  const TableState ours = catalog->Load(kTrades).value();
  ASSERT_NE(ours.metadata->CurrentSnapshot(), nullptr);
  EXPECT_EQ(ours.metadata->CurrentSnapshot()->summary.at("total-records"), "2");
  EXPECT_EQ(catalog->ListNamespaces().value(), (std::vector<std::string>{"empty", "market_data"}));
  const TableName theirs{"market_data", "theirs"};
  const TableState state = catalog->Load(theirs).value();
  ASSERT_TRUE(std::holds_alternative<Committed>(catalog->Commit(theirs, state, {}, Set("k2", "was here"))));
  ASSERT_TRUE(std::holds_alternative<Committed>(catalog->Commit(kTrades, ours, {}, Set("k2", "was here"))));
  EXPECT_EQ(Python(fmt::format(R"(
from pyiceberg.catalog.sql import SqlCatalog
catalog = SqlCatalog("iceberg", uri="sqlite:///{0}/catalog.db", warehouse="file://{0}")
for name in "trades", "theirs":
    table = catalog.load_table("market_data." + name)
    print(table.properties["k2"], table.scan().to_arrow().num_rows, len(table.metadata.metadata_log))
catalog.drop_table("market_data.theirs")
catalog.drop_namespace("empty")
)",
                               root_)),
            "was here 2 2\nwas here 1 2\n");
  EXPECT_EQ(catalog->Load(theirs).error().kind, ErrorKind::kNotFound);
}

}  // namespace
}  // namespace k2::catalog
