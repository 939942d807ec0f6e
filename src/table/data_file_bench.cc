// Rows per second and core that the Parquet writer takes, by encoding: K2's wall. Into memory, without a disk.
#include <arrow/buffer.h>
#include <arrow/io/memory.h>
#include <arrow/record_batch.h>
#include <benchmark/benchmark.h>

#include <functional>

#include "table/data_file_io.h"
#include "table/trade_batches_for_tests.h"

namespace k2::table {
namespace {

constexpr int64_t kRows = 250'000;

class MemoryFileIo : public storage::FileIo {
 public:
  Result<std::shared_ptr<arrow::io::OutputStream>> Create(const std::string& /*location*/) override {
    sink_ = arrow::io::BufferOutputStream::Create(64 << 20).ValueOrDie();
    return sink_;
  }
  Status Sync(const std::string& /*location*/) override { return {}; }
  Result<int64_t> Size(const std::string& /*location*/) override { return Bytes()->size(); }
  Result<std::shared_ptr<arrow::io::RandomAccessFile>> Open(const std::string& /*location*/) override {
    return std::make_shared<arrow::io::BufferReader>(Bytes());
  }
  Result<std::string> Read(const std::string& /*location*/, int64_t /*max_bytes*/) override {
    return Bytes()->ToString();
  }
  Status WriteNew(const std::string& /*location*/, std::string_view /*bytes*/) override { return {}; }
  Result<std::vector<storage::FileInfo>> List(const std::string& /*folder*/) override {
    return std::vector<storage::FileInfo>{};
  }
  Status Delete(const std::string& /*location*/) override { return {}; }

 private:
  std::shared_ptr<arrow::Buffer> Bytes() {
    if (!bytes_ || sink_) bytes_ = sink_->Finish().ValueOrDie();
    sink_.reset();
    return bytes_;
  }
  std::shared_ptr<arrow::io::BufferOutputStream> sink_;
  std::shared_ptr<arrow::Buffer> bytes_;
};

struct Variant {
  std::string name;
  BatchShape shape;
  std::function<void(WriteOptions&)> change;
};

void Write(benchmark::State& state, const iceberg::Schema& schema,
           const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches, const WriteOptions& options) {
  int64_t bytes = 0;
  for (auto _ : state) {
    auto writer = DataFileWriter::Create(std::make_shared<MemoryFileIo>(), "memory", schema, {}, {}, options);
    for (const auto& batch : batches) {
      if (const Status status = (*writer)->Write(*batch); !status) state.SkipWithError(status.error().message.c_str());
    }
    const auto file = (*writer)->Finish();
    if (!file) return state.SkipWithError(file.error().message.c_str());
    bytes = file->file_size_in_bytes;
  }
  state.SetItemsProcessed(state.iterations() * kRows);
  state.counters["B/row"] = static_cast<double>(bytes) / static_cast<double>(kRows);
}

void WriteSilver(benchmark::State& state, const Variant& variant) {
  BatchShape shape = variant.shape;
  shape.rows = kRows / 2;
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  for (shape.first_row = 0; shape.first_row < kRows; shape.first_row += shape.rows) {
    batches.push_back(SilverBatchForTests(shape));
  }
  WriteOptions options{.plain_fields = {1, 2}};
  variant.change(options);
  Write(state, SilverSchemaForTests(), batches, options);
}

void WriteBronze(benchmark::State& state, const Variant& variant) {
  WriteOptions options{.plain_fields = {2}};
  variant.change(options);
  Write(state, BronzeSchemaForTests(), {BronzeBatchForTests(kRows / 2), BronzeBatchForTests(kRows / 2, kRows / 2)},
        options);
}

const BatchShape kDense{};
const BatchShape kDictionaries{.dictionaries = true};
const BatchShape kAllDictionaries{.dictionaries = true, .key_dictionaries = true, .value_dictionaries = true};
const BatchShape kKeyDictionaries{.dictionaries = true, .key_dictionaries = true};
const BatchShape kNoMap{.dictionaries = true, .vendor_data = false};

void Best(WriteOptions& options) { options.plain_fields = {1, 2, 6, 12, 13, 19}; }

std::vector<Variant> SilverVariants() {
  return {
      {"dense", kDense, [](auto&) {}},
      {"dictionaries", kDictionaries, [](auto&) {}},
      {"all-dictionaries", kAllDictionaries, [](auto&) {}},
      {"all-dictionaries-4MiB", kAllDictionaries, [](auto& o) { o.dictionary_bytes = 4 << 20; }},
      {"no-map", kNoMap, [](auto&) {}},
      {"plain-decimals", kDictionaries, [](auto& o) { o.plain_fields = {1, 2, 7, 8}; }},
      {"map-values-plain", kDictionaries, [](auto& o) { o.plain_fields = {1, 2, 19}; }},
      {"best", kKeyDictionaries, Best},
      {"best-dense-keys", kDictionaries, Best},
      {"best-values-dictionary", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.plain_fields.pop_back();
       }},
      {"best-no-map", kNoMap, Best},
      {"best-batch-8k", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.write_batch_rows = 8'192;
       }},
      {"best-batch-20k", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.write_batch_rows = 20'000;
       }},
      {"best-page-rows-off", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.page_rows = 1 << 20;
       }},
      {"best-page-256k", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.page_bytes = 256 << 10;
       }},
      {"best-page-128k", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.page_bytes = 128 << 10;
       }},
      {"best-bloom-id", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.bloom_fields = {1};
       }},
      {"best-no-stats-ids", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.no_stats_fields = {1, 2};
       }},
      {"best-no-stats", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.no_stats_fields = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
       }},
      {"best-lz4", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.codec = "lz4";
       }},
      {"best-none", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.codec = "none";
       }},
      {"best-zstd--1", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.level = -1;
       }},
      {"best-zstd--5", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.level = -5;
       }},
      {"best-zstd-3", kKeyDictionaries,
       [](auto& o) {
         Best(o);
         o.level = 3;
       }},
  };
}

void Bronze(WriteOptions& options) {
  options.plain_fields = {2, 5, 6, 7};
  options.no_stats_fields = {1, 2};
}

std::vector<Variant> BronzeVariants() {
  return {
      {"dictionary-payload", kDense, [](auto& o) { o.plain_fields.clear(); }},
      {"plain-payload", kDense, [](auto&) {}},
      {"plain-times", kDense, [](auto& o) { o.plain_fields = {2, 5, 6, 7}; }},
      {"no-payload-stats", kDense, [](auto& o) { Bronze(o); }},
      {"no-payload-stats-lz4", kDense,
       [](auto& o) {
         Bronze(o);
         o.codec = "lz4";
       }},
      {"no-payload-stats-page-128k", kDense,
       [](auto& o) {
         Bronze(o);
         o.page_bytes = 128 << 10;
       }},
  };
}

}  // namespace
}  // namespace k2::table

int main(int argc, char** argv) {
  for (const auto& variant : k2::table::SilverVariants()) {
    benchmark::RegisterBenchmark(("WriteSilver/" + variant.name).c_str(),
                                 [variant](benchmark::State& state) { k2::table::WriteSilver(state, variant); });
  }
  for (const auto& variant : k2::table::BronzeVariants()) {
    benchmark::RegisterBenchmark(("WriteBronze/" + variant.name).c_str(),
                                 [variant](benchmark::State& state) { k2::table::WriteBronze(state, variant); });
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
