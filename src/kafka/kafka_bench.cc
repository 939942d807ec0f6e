// How fast partitions of a real topic are read, by two threads as in a run: K2_KAFKA names the brokers, K2_BENCH_TOPIC
// the topic (filled by `k2 produce`).
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <thread>

#include "base/time.h"
#include "kafka/kafka_source.h"

namespace k2::kafka {
namespace {

void ReadTopic(benchmark::State& state) {
  const char* const brokers = std::getenv("K2_KAFKA");
  const char* const topic = std::getenv("K2_BENCH_TOPIC");
  if (brokers == nullptr || topic == nullptr) {
    state.SkipWithError("K2_KAFKA and K2_BENCH_TOPIC are not set");
    return;
  }
  const auto threads = static_cast<size_t>(state.range(0));
  std::atomic<int64_t> messages{0};
  std::atomic<int64_t> bytes{0};
  for (auto _ : state) {
    KafkaOptions options;
    options.brokers = brokers;
    auto source = KafkaSource::Open(options, {topic});
    if (!source) {
      state.SkipWithError(source.error().message.c_str());
      return;
    }
    std::vector<std::thread> readers;
    for (size_t i = 0; i < threads; ++i) {
      readers.emplace_back([&, i] {
        const auto& all = (*source)->readers();
        for (size_t at = i; at < all.size(); at += threads) (void)all[at]->Seek({});
        for (bool more = true; more;) {
          more = false;
          for (size_t at = i; at < all.size(); at += threads) {
            const auto batch = all[at]->Read({.max_messages = 16'384, .max_bytes = 16 << 20, .max_wait_us = 1'000});
            if (!batch) return;
            messages += static_cast<int64_t>(batch->size());
            bytes += static_cast<int64_t>(batch->payloads.data.size());
            more |= !all[at]->CaughtUp();
          }
        }
      });
    }
    for (std::thread& reader : readers) reader.join();
  }
  state.SetItemsProcessed(messages);
  state.SetBytesProcessed(bytes);
}
BENCHMARK(ReadTopic)->Arg(1)->Arg(2)->Iterations(1)->Repetitions(3)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace k2::kafka

BENCHMARK_MAIN();
