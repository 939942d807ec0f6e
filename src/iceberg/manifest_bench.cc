#include <benchmark/benchmark.h>

#include "iceberg/manifest.h"
#include "iceberg/manifest_list.h"
#include "iceberg/table_fixture.h"

namespace k2::iceberg {
namespace {

std::vector<ManifestEntry> Entries(int64_t count) {
  std::vector<ManifestEntry> entries;
  for (int64_t i = 0; i < count; ++i) {
    DataFile file = TestFile(fmt::format("s3://lake/market_data/gold/data/{:016x}-{}.parquet", i * 7919, i),
                             static_cast<int32_t>(19000 + i / 24), 100'000 + i);
    for (int32_t id = 1; id <= 17; ++id) {
      file.column_sizes[id] = 1000 * id + i;
      file.value_counts[id] = 100'000 + i;
      file.null_value_counts[id] = 0;
      file.lower_bounds[id] = fmt::format("lower{:08}", i);
      file.upper_bounds[id] = fmt::format("upper{:08}", i);
    }
    entries.push_back({.snapshot_id = 7, .file = std::move(file)});
  }
  return entries;
}

void BM_EncodeManifest(benchmark::State& state) {
  const TableMetadata table = TestTable();
  const auto entries = Entries(state.range(0));
  size_t bytes = 0;
  for (auto _ : state) bytes = EncodeManifest(table, 0, ManifestContent::kData, 7, entries)->bytes.size();
  state.SetItemsProcessed(state.iterations() * state.range(0));
  state.counters["bytes_per_entry"] = static_cast<double>(bytes) / static_cast<double>(state.range(0));
}
BENCHMARK(BM_EncodeManifest)->Arg(1)->Arg(10'000);

void BM_DecodeManifest(benchmark::State& state) {
  const TableMetadata table = TestTable();
  EncodedManifest encoded = EncodeManifest(table, 0, ManifestContent::kData, 7, Entries(state.range(0))).value();
  encoded.file.sequence_number = 1;
  for (auto _ : state) benchmark::DoNotOptimize(DecodeManifest(encoded.bytes, encoded.file, table));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_DecodeManifest)->Arg(1)->Arg(10'000);

// A commit of one file on a table with as many manifests as the merging lets stand.
void BM_Append(benchmark::State& state) {
  MemoryStore store;
  TableMetadata table = TestTable();
  int64_t id = 0;
  for (auto _ : state) {
    SnapshotRequest request{.added = {Entries(1)[0].file}, .snapshot_id = ++id};
    request.added[0].file_path += std::to_string(id);
    Apply(table, ProduceSnapshot(store, table, request)->snapshot);
    if (table.snapshots.size() > 50) table.snapshots.erase(table.snapshots.begin());
  }
  state.counters["bytes_per_commit"] = static_cast<double>(store.written_bytes) / static_cast<double>(id);
}
BENCHMARK(BM_Append)->Iterations(2000);

}  // namespace
}  // namespace k2::iceberg

BENCHMARK_MAIN();
