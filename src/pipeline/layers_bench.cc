// The three layers on one core, each alone, commits included: rows a CPU second and a wall second, as JSON lines.
// Usage: layers_bench RECORDING_OF_BINANCE FOLDER
#include <sys/resource.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "base/time.h"
#include "base/uuid.h"
#include "catalog/sqlite_catalog.h"
#include "pipeline/gold/gold_layer.h"
#include "pipeline/silver/silver_layer.h"
#include "recording/recording.h"
#include "storage/local_file_io.h"
#include "task/market_tables.h"

namespace {

using k2::Result;
using k2::Status;

double CpuSeconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

struct Stopwatch {
  double cpu = CpuSeconds();
  int64_t wall_us = k2::MonotonicMicros();
  void Print(const char* name, int64_t rows) const {
    const double cpu_s = CpuSeconds() - cpu;
    const double wall_s = static_cast<double>(k2::MonotonicMicros() - wall_us) / 1e6;
    std::printf("{\"layer\": \"%s\", \"rows\": %lld, \"rows_per_cpu_second\": %.0f, \"rows_per_second\": %.0f}\n", name,
                static_cast<long long>(rows), static_cast<double>(rows) / cpu_s, static_cast<double>(rows) / wall_s);
    std::fflush(stdout);
  }
};

// Hands out batches that were read before the clock started.
class ReadyReader final : public k2::source::SourceReader {
 public:
  ReadyReader(k2::table::SourceKey key, std::vector<k2::source::RawBatch> batches)
      : key_(std::move(key)), batches_(std::move(batches)) {}
  const k2::table::SourceKey& key() const override { return key_; }
  Status Seek(const k2::table::SourcePosition& /*position*/) override { return {}; }
  Result<k2::source::RawBatch> Read(const k2::source::ReadLimits& /*limits*/) override {
    return std::move(batches_[next_++]);
  }
  bool AtEnd() const override { return next_ == batches_.size(); }
  k2::source::SourceCounts counts() const override { return {}; }
  int64_t stored_bytes() const override { return -1; }
  int64_t stored_bytes_read() const override { return -1; }

 private:
  k2::table::SourceKey key_;
  std::vector<k2::source::RawBatch> batches_;
  size_t next_ = 0;
};

Result<k2::pipeline::Lakehouse> Make(const std::string& folder) {
  std::filesystem::remove_all(folder);
  std::shared_ptr<k2::storage::FileIo> io = k2::storage::MakeLocalFileIo();
  K2_ASSIGN(std::shared_ptr<k2::catalog::Catalog> catalog, k2::catalog::OpenSqliteCatalog(folder, io));
  k2::pipeline::Lakehouse lakehouse(catalog, io);
  K2_TRY(lakehouse.CreateTables());
  return lakehouse;
}

Result<int64_t> Bronze(const k2::pipeline::Lakehouse& lakehouse, ReadyReader& reader, k2::task::BatchCache* cache) {
  K2_ASSIGN(k2::table::Table table, lakehouse.Open(k2::task::kBronzeTable));
  k2::pipeline::LayerStats stats;
  k2::table::SourcePosition position;
  int64_t rows = 0;
  while (!reader.AtEnd()) {
    const k2::task::BronzeTask task{.inputs = {{reader.key(), "binance", {}, position}},
                                    .output = *k2::pipeline::OutputOf(table),
                                    .attempt_id = k2::RandomHex64()};
    k2::task::TaskContext context;
    context.io = table.io_ptr();
    context.cache = cache;
    context.readers = {&reader};
    K2_ASSIGN(const k2::task::TaskResult result, k2::task::RunBronzeTask(task, context));
    k2::table::LayerCommit commit;
    commit.added = k2::pipeline::FilesFor({result}, k2::task::kBronzeTable);
    if (position.next_line > 0) commit.base.positions[reader.key()] = position;
    commit.next.positions[reader.key()] = result.ends.at(0);
    K2_TRY(k2::pipeline::CommitStep(table, commit, {}, k2::pipeline::LayerId::kBronze, stats));
    position = result.ends.at(0);
    rows += result.rows_out;
  }
  return rows;
}

Status Below(const k2::pipeline::Lakehouse& lakehouse, k2::task::BatchCache* cache, const char* silver_name,
             const char* gold_name) {
  k2::pipeline::LayerOptions options;
  options.threads = 1;
  {
    const Stopwatch watch;
    K2_ASSIGN(const auto silver, k2::pipeline::SilverLayer::Open(
                                     lakehouse, options, std::make_shared<k2::registry::FileSchemaSource>(), cache));
    int64_t rows = 0;
    while (true) {
      K2_ASSIGN(const int64_t moved, silver->Step());
      if (moved == 0) break;
      rows += moved;
    }
    watch.Print(silver_name, rows);
  }
  const Stopwatch watch;
  K2_ASSIGN(const auto gold, k2::pipeline::GoldLayer::Open(lakehouse, options, cache));
  int64_t rows = 0;
  while (true) {
    K2_ASSIGN(const int64_t moved, gold->Step());
    if (moved == 0) break;
    rows += moved;
  }
  watch.Print(gold_name, rows);
  return {};
}

Status Bench(const std::string& recording, const std::string& folder) {
  for (const bool handed_over : {false, true}) {
    K2_ASSIGN(const auto source, k2::recording::RecordingReader::Open(*k2::exchange::Exchanges().front(), recording));
    std::vector<k2::source::RawBatch> batches;
    int64_t messages = 0;
    const Stopwatch reading;
    while (!source->AtEnd()) {
      K2_ASSIGN(k2::source::RawBatch batch, source->Read({.max_messages = 262'144, .max_bytes = 128 << 20}));
      messages += static_cast<int64_t>(batch.size());
      if (batch.size() > 0) batches.push_back(std::move(batch));
    }
    if (!handed_over) reading.Print("recording to messages", messages);
    ReadyReader reader(source->key(), std::move(batches));
    K2_ASSIGN(const k2::pipeline::Lakehouse lakehouse, Make(folder));
    k2::task::BatchCache cache(int64_t{16} << 30);
    k2::task::BatchCache* used = handed_over ? &cache : nullptr;
    const Stopwatch watch;
    K2_ASSIGN(const int64_t rows, Bronze(lakehouse, reader, used));
    if (!handed_over) watch.Print("messages to bronze", rows);
    K2_TRY(Below(lakehouse, used,
                 handed_over ? "bronze to silver, handed over in memory" : "bronze to silver, from storage",
                 handed_over ? "silver to gold, handed over in memory" : "silver to gold, from storage"));
  }
  std::filesystem::remove_all(folder);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: layers_bench RECORDING_OF_BINANCE FOLDER\n");
    return 2;
  }
  if (const Status status = Bench(argv[1], argv[2]); !status) {
    std::fprintf(stderr, "%s\n", status.error().message.c_str());
    return 1;
  }
  return 0;
}
