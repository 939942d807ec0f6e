#include <algorithm>
#include <chrono>
#include <thread>

#include "base/log.h"
#include "exchange/registry.h"
#include "pipeline/bronze/source_set.h"
#include "recording/recording.h"

namespace k2::pipeline {
namespace {

class RecordingSet final : public SourceSet {
 public:
  Status Open(const std::vector<RecordingSpec>& recordings, bool follow) {
    for (const RecordingSpec& spec : recordings) {
      const Result<const exchange::Exchange*> exchange = exchange::KnownExchange(spec.exchange);
      if (!exchange) return std::unexpected(exchange.error().With(spec.path));
      recording::RecordingOptions options;
      options.follow = follow;
      K2_ASSIGN(auto reader, recording::RecordingReader::Open(**exchange, spec.path, options));
      const auto same = std::ranges::find_if(inputs_, [&](const Input& input) {
        return !reader->key().topic_id.empty() && input.reader->key() == reader->key();
      });
      if (same == inputs_.end()) {
        inputs_.push_back({.spec = spec, .reader = std::move(reader)});
        continue;
      }
      // A renamed or longer copy is the same source: the longest copy holds all that the others do.
      log::Warn("recording given twice", {{"first", same->spec.path}, {"second", spec.path}});
      if (same->reader->stored_bytes() < reader->stored_bytes()) *same = {.spec = spec, .reader = std::move(reader)};
    }
    return {};
  }

  // A followed file that has no whole line yet has no key, and is no source before it has.
  Result<std::vector<Source>> Sources(const table::LayerProgress& /*progress*/) override {
    for (Input& input : inputs_) {
      if (input.known) continue;
      const Result<bool> known = input.reader->WaitForKey(0);
      if (!known) return std::unexpected(known.error().With(input.spec.path));
      if (!*known) continue;
      input.known = true;
      const auto same =
          std::ranges::find_if(sources_, [&](const Source& one) { return one.reader->key() == input.reader->key(); });
      if (same != sources_.end()) {
        log::Warn("recording given twice; ignoring the second",
                  {{"first", same->recording}, {"second", input.spec.path}});
        continue;
      }
      sources_.push_back({.reader = input.reader.get(),
                          .name = input.spec.path,
                          .exchange = input.spec.exchange,
                          .recording = input.spec.path});
    }
    return sources_;
  }
  [[nodiscard]] bool MayGrow() const override { return !std::ranges::all_of(inputs_, &Input::known); }

  Result<table::SourcePositions> Starts(const std::vector<table::SourceKey>& /*unknown*/,
                                        const table::LayerProgress& /*progress*/) override {
    return table::SourcePositions{};
  }
  [[nodiscard]] bool FailIndependently() const override { return true; }
  void Wait(int64_t wait_us) override { std::this_thread::sleep_for(std::chrono::microseconds(wait_us)); }
  [[nodiscard]] int64_t Available() const override { return -1; }
  [[nodiscard]] std::optional<int64_t> EndOf(const table::SourceKey& /*key*/) const override { return std::nullopt; }
  Status Confirm(const table::SourcePositions& /*read*/) override { return {}; }
  void Committed(const table::SourcePositions& /*positions*/) override {}

 private:
  struct Input {
    RecordingSpec spec;
    std::unique_ptr<recording::RecordingReader> reader;
    bool known = false;
  };
  std::vector<Input> inputs_;
  std::vector<Source> sources_;
};

}  // namespace

Result<std::unique_ptr<SourceSet>> OpenRecordings(const std::vector<RecordingSpec>& recordings, bool follow) {
  auto set = std::make_unique<RecordingSet>();
  K2_TRY(set->Open(recordings, follow));
  return set;
}

}  // namespace k2::pipeline
