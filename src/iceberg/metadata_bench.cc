// The JSON work of one commit on a table with 100 snapshots.
#include <benchmark/benchmark.h>

#include "iceberg/metadata_samples.h"

namespace k2::iceberg {
namespace {

void ParseMetadata(benchmark::State& state) {
  const std::string json = TableMetadataToJson(*SampleTableWithSnapshots(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(ParseTableMetadata(json));
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(json.size()));
}
BENCHMARK(ParseMetadata)->Arg(100)->Unit(benchmark::kMicrosecond);

void WriteMetadata(benchmark::State& state) {
  const auto table = SampleTableWithSnapshots(state.range(0));
  size_t bytes = 0;
  for (auto _ : state) bytes = TableMetadataToJson(*table).size();
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}
BENCHMARK(WriteMetadata)->Arg(100)->Unit(benchmark::kMicrosecond);

void CommitOnMetadata(benchmark::State& state) {
  const auto table = SampleTableWithSnapshots(state.range(0));
  auto updates = SampleAppend(*table, state.range(0) + 1);
  updates.emplace_back(RemoveSnapshots{{kSampleIdBase + 1}});
  for (auto _ : state) benchmark::DoNotOptimize(ApplyUpdates(*table, updates, 0));
}
BENCHMARK(CommitOnMetadata)->Arg(100)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace k2::iceberg

BENCHMARK_MAIN();
