// Tables in a temporary folder, recordings to fill them, other writers that interfere, and what must hold of them
// afterwards: for tests of the layers.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "catalog/sqlite_catalog.h"
#include "pipeline/gold/gold_layer.h"
#include "pipeline/lakehouse.h"
#include "pipeline/runner.h"
#include "pipeline/silver/silver_layer.h"
#include "storage/testing/faulty_file_io.h"

namespace k2::pipeline {

// Drawn at random, or what the environment variable K2_SEED says; printed where a test fails.
uint64_t TestSeed();

struct BronzeRow {
  std::string topic;
  int32_t partition = 0;
  int64_t offset = 0;
  std::optional<std::string> payload;
  int64_t time_us = 1'704'153'600'000'000;
  std::vector<std::pair<std::string, std::optional<std::string>>> headers = {};
};
struct RejectedRow {
  std::string reason;
  std::string detail;
};
using OffsetKey = std::tuple<std::string, int32_t, int64_t>;

struct StoredTrade {
  std::string message_id;
  int64_t timestamp_us = 0;
  int32_t date = 0;
  int32_t hour = -1;    // Gold's
  std::string columns;  // all of TradeV3, as text
  std::string file;     // it was read from
  auto operator<=>(const StoredTrade&) const = default;
};

std::vector<BronzeRow> ReadBronze(const Lakehouse& lakehouse);
std::multimap<OffsetKey, RejectedRow> ReadRejected(const Lakehouse& lakehouse);
std::vector<StoredTrade> ReadTrades(const Lakehouse& lakehouse, std::string_view table);
// Text of every row of Gold, sorted.
std::vector<std::string> GoldContents(const Lakehouse& lakehouse);

// Live data files of the table's current snapshot.
std::vector<iceberg::DataFile> LiveFiles(const Lakehouse& lakehouse, std::string_view table);
int64_t LiveRows(const Lakehouse& lakehouse, std::string_view table);

// Writes rows of one day as a Bronze file, as another engine would; it is in no snapshot yet.
iceberg::DataFile WriteBronzeFile(const Lakehouse& lakehouse, const std::vector<BronzeRow>& rows);
// The rows as one batch of Kafka's: cluster "c", topic id "id", positions up to the highest offsets.
void CommitBronze(const Lakehouse& lakehouse, const std::vector<BronzeRow>& rows);
table::SourceKey KafkaKey(const std::string& topic, int32_t partition = 0);

// What other writers do; none of it knows of K2. Tries again until it wins.
void ForeignSnapshot(const Lakehouse& lakehouse, std::string_view table, const std::string& operation,
                     const std::vector<iceberg::DataFile>& added, const std::vector<iceberg::DataFile>& removed);
// Row-level deletes: rows of a file by their positions in it, or rows of the file's partition by a text column.
void ForeignPositionDeletes(const Lakehouse& lakehouse, std::string_view table, const iceberg::DataFile& file,
                            const std::vector<int64_t>& positions);
void ForeignEqualityDeletes(const Lakehouse& lakehouse, std::string_view table, const iceberg::DataFile& file,
                            const std::string& column, const std::vector<std::string>& values);
void ForeignCompaction(const Lakehouse& lakehouse, std::string_view table,
                       const std::string& operation = "replace");        // one file a partition
void ForeignExpiry(const Lakehouse& lakehouse, std::string_view table);  // all that no ref names; deletes the files

// Bronze holds each offset once and without gap; each of its rows is one row of Silver or of rejected_trades; Gold
// holds each id of Silver once, in its hour, `gold_trades` of them; every file that metadata names is there.
void CheckTables(const Lakehouse& lakehouse, int64_t gold_trades);

class LayerTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // An engineer of one's own: nothing shared with others but the files.
  Lakehouse OpenLakehouse(std::shared_ptr<storage::FileIo> io = storage::MakeFileIo(),
                          catalog::SqliteCatalogOptions options = {}) const;
  void MakeTables() const;
  // A recording of both exchanges that crosses midnight. Adds to trades_.
  void Simulate(int64_t trades_each, uint64_t seed = 1, int64_t duplicates_ppm = 20'000);
  [[nodiscard]] RunOptions Options() const;  // both recordings, all layers
  static Result<RunReport> RunAll(const Lakehouse& lakehouse, const RunOptions& options);

  std::string root_;
  std::vector<RecordingSpec> recordings_;
  int64_t trades_ = 0;     // distinct and valid
  int64_t malformed_ = 0;  // to be in rejected_trades
  LayerOptions layer_{.rows_per_step = 100, .threads = 2};
};

}  // namespace k2::pipeline
