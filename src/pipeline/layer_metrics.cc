#include "pipeline/layer_metrics.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <memory>
#include <mutex>
#include <utility>

#include "base/time.h"
#include "iceberg/literal.h"
#include "iceberg/table_metadata.h"
#include "trade/reject.h"

namespace k2::pipeline {
namespace {

// The layers' own state, made at the first look and kept for the process.
template <typename State>
State& StateOf(std::string_view layer) {
  static std::mutex mutex;
  static auto* const states = new std::map<std::string, std::unique_ptr<State>, std::less<>>;
  const std::lock_guard lock(mutex);
  const auto found = states->find(layer);
  if (found != states->end()) return *found->second;
  return *states->emplace(layer, std::make_unique<State>(std::string(layer))).first->second;
}

// How far a layer is behind, in time. Whatever came before it was last level has been read; so has what came before
// the newest message it has committed. The later of the two is how far it has come.
class LagClock {
 public:
  explicit LagClock(const std::string& layer)
      : gauge_(GaugeOf("k2_lag_seconds", "How far the layer is behind its upstream, in time; 0 when it is up to date.",
                       {{"layer", layer}})) {
    AtScrape([this] { Update(); });
  }

  void Committed(int64_t newest_us) {
    newest_us = std::min(newest_us, NowMicros());  // a producer's clock may be ahead
    int64_t known = newest_us_;
    while (newest_us > known && !newest_us_.compare_exchange_weak(known, newest_us)) {
    }
  }
  void Behind(bool behind) {
    if (!behind) level_us_ = NowMicros();
    behind_ = behind;
    reported_ = true;
    Update();
  }

 private:
  void Update() {
    const int64_t reached_us = std::max(newest_us_.load(), level_us_.load());
    // Not told yet, or behind from the start on and nothing committed: not known.
    if (!reported_ || (behind_ && reached_us == 0)) return gauge_.Hide();
    gauge_.Set(behind_ ? static_cast<double>(std::max<int64_t>(NowMicros() - reached_us, 0)) / 1e6 : 0);
  }

  Gauge& gauge_;
  std::atomic<int64_t> newest_us_{0};
  std::atomic<int64_t> level_us_{0};
  std::atomic<bool> behind_{false};
  std::atomic<bool> reported_{false};
};

// The gauges of a layer's partitions.
class LagGauges {
 public:
  explicit LagGauges(std::string layer) : layer_(std::move(layer)) {}

  void Set(const std::vector<PartitionLag>& lags) {
    // A topic that was made anew has two keys of one name.
    std::map<std::pair<std::string, int32_t>, int64_t> messages;
    for (const PartitionLag& lag : lags) {
      messages[{lag.key.topic, lag.key.partition}] += std::max<int64_t>(lag.messages, 0);
    }
    const std::lock_guard lock(mutex_);
    for (auto& [key, gauge] : gauges_) {
      if (!messages.contains(key)) gauge->Hide();
    }
    for (const auto& [key, count] : messages) {
      auto found = gauges_.find(key);
      if (found == gauges_.end()) {
        Gauge& gauge = GaugeOf("k2_lag_messages", "Messages in the upstream layer that the layer has not yet read.",
                               {{"layer", layer_}, {"topic", key.first}, {"partition", std::to_string(key.second)}});
        found = gauges_.emplace(key, &gauge).first;
      }
      found->second->Set(static_cast<double>(count));
    }
  }

 private:
  std::string layer_;
  std::mutex mutex_;
  std::map<std::pair<std::string, int32_t>, Gauge*> gauges_;
};

enum class Outcome { kCommitted, kConflict, kRefused, kUnknown };
constexpr std::array<std::string_view, 4> kOutcomeTexts = {"committed", "conflict", "refused", "unknown"};

Outcome OutcomeOf(const table::LayerCommitOutcome& outcome) {
  if (std::holds_alternative<table::CommitDone>(outcome)) return Outcome::kCommitted;
  if (std::holds_alternative<table::OutcomeUnknown>(outcome)) return Outcome::kUnknown;
  const ErrorKind kind = std::get<table::NotCommitted>(outcome).error().kind;
  return kind == ErrorKind::kConflict || kind == ErrorKind::kOffsetMismatch ? Outcome::kConflict : Outcome::kRefused;
}

Counter& CommitsOf(std::string_view layer, const std::string& table, Outcome outcome) {
  return CounterOf("k2_commits_total", "Commits by outcome.",
                   {{"layer", std::string(layer)},
                    {"table", table},
                    {"outcome", std::string(kOutcomeTexts[static_cast<size_t>(outcome)])}});
}

Counter& RejectedOf(const std::string& reason) {
  return CounterOf("k2_rejected_rows_total", "Messages rejected by Silver, by reason.", {{"reason", reason}});
}
Counter& Duplicates() {
  return CounterOf("k2_duplicate_rows_total", "Rows dropped by Gold because it already holds their trade.");
}
Counter& IdentityConflicts() {
  return CounterOf("k2_identity_conflicts_total", "Trades that reached Gold with another trade's message_id.");
}

std::optional<int64_t> NumberIn(const std::map<std::string, std::string>& summary, const char* key) {
  const auto found = summary.find(key);
  if (found == summary.end()) return std::nullopt;
  int64_t value = 0;
  const char* last = found->second.data() + found->second.size();
  const auto [end, error] = std::from_chars(found->second.data(), last, value);
  if (error != std::errc() || end != last) return std::nullopt;
  return value;
}

}  // namespace

std::optional<MessageTimes> Join(std::optional<MessageTimes> a, std::optional<MessageTimes> b) {
  if (!a || !b) return a ? a : b;
  return MessageTimes{.oldest_us = std::min(a->oldest_us, b->oldest_us),
                      .newest_us = std::max(a->newest_us, b->newest_us)};
}

std::optional<MessageTimes> TimesOf(const iceberg::DataFile& file, const iceberg::Schema& schema) {
  const iceberg::NestedField* field = schema.Find("kafka_timestamp");
  if (field == nullptr) return std::nullopt;
  const auto bound = [&](const std::map<int32_t, std::string>& bounds) -> std::optional<int64_t> {
    const auto found = bounds.find(field->id);
    if (found == bounds.end()) return std::nullopt;
    const auto literal = iceberg::FromBytes(found->second, field->type);
    if (!literal || !std::holds_alternative<int64_t>(*literal)) return std::nullopt;
    return std::get<int64_t>(*literal);
  };
  const auto oldest = bound(file.lower_bounds);
  const auto newest = bound(file.upper_bounds);
  if (!oldest || !newest) return std::nullopt;
  return MessageTimes{.oldest_us = *oldest, .newest_us = *newest};
}

void WriteTimes(const MessageTimes& times, std::map<std::string, std::string>& summary) {
  summary[kOldestMessageKey] = std::to_string(times.oldest_us);
  summary[kNewestMessageKey] = std::to_string(times.newest_us);
}

std::optional<MessageTimes> ReadTimes(const std::map<std::string, std::string>& summary) {
  const auto oldest = NumberIn(summary, kOldestMessageKey);
  const auto newest = NumberIn(summary, kNewestMessageKey);
  if (!oldest || !newest) return std::nullopt;
  return MessageTimes{.oldest_us = *oldest, .newest_us = *newest};
}

LayerMetrics::LayerMetrics(const std::string& layer)
    : rows_in(CounterOf("k2_rows_total", "Rows read and rows written by a layer's commits.",
                        {{"layer", layer}, {"kind", "in"}})),
      rows_out(CounterOf("k2_rows_total", "", {{"layer", layer}, {"kind", "out"}})),
      data_files(CounterOf("k2_data_files_total", "Data files committed by a layer.", {{"layer", layer}})),
      data_file_bytes(
          CounterOf("k2_data_file_bytes_total", "Size of the data files committed by a layer.", {{"layer", layer}})),
      commit_attempts(CounterOf("k2_commit_attempts_total",
                                "Commit attempts; more than there are commits where writers conflicted.",
                                {{"layer", layer}})),
      commit_duration(HistogramOf("k2_commit_duration_seconds",
                                  "Duration of a commit, from its first attempt to its outcome.", {{"layer", layer}})),
      step_duration(HistogramOf("k2_step_duration_seconds",
                                "Duration of a layer's step that moved rows: plan, run and commit.",
                                {{"layer", layer}})),
      task_duration(
          HistogramOf("k2_task_duration_seconds", "Duration of one task of a layer's step.", {{"layer", layer}})),
      latency(
          HistogramOf("k2_latency_seconds",
                      "Time from the Kafka timestamp of a commit's oldest message until it is visible in the layer.",
                      {{"layer", layer}}, LatencyBuckets())) {
  if (layer == ToString(LayerId::kSilver)) {
    for (const std::string_view reason : trade::kRejectReasonTexts) {
      if (reason != ToString(trade::RejectReason::kNone)) RejectedOf(std::string(reason));
    }
  } else if (layer == ToString(LayerId::kGold)) {
    Duplicates();
    IdentityConflicts();
  }
}

LayerMetrics& MetricsOf(std::string_view layer) { return StateOf<LayerMetrics>(layer); }

void CountVerdicts(const task::TaskResult& result) {
  for (const auto& [reason, count] : result.rejected) RejectedOf(reason).Add(count);
  if (result.duplicates > 0) Duplicates().Add(result.duplicates);
  if (result.identity_conflicts > 0) IdentityConflicts().Add(result.identity_conflicts);
}

void CountCommit(std::string_view layer, const std::string& table, const table::LayerCommitOutcome& outcome,
                 int64_t duration_us, const std::optional<MessageTimes>& times) {
  const Outcome ended = OutcomeOf(outcome);
  for (const Outcome each : {Outcome::kCommitted, Outcome::kConflict, Outcome::kRefused, Outcome::kUnknown}) {
    CommitsOf(layer, table, each).Add(each == ended ? 1 : 0);
  }
  LayerMetrics& metrics = MetricsOf(layer);
  metrics.commit_duration.ObserveMicros(duration_us);
  if (ended != Outcome::kCommitted || !times) return;
  metrics.latency.ObserveMicros(std::max<int64_t>(NowMicros() - times->oldest_us, 0));
  StateOf<LagClock>(layer).Committed(times->newest_us);
}

void ReportTable(const std::string& table, const iceberg::TableMetadata& metadata) {
  GaugeOf("k2_table_snapshots", "Snapshots in the table's metadata.", {{"table", table}})
      .Set(static_cast<double>(metadata.snapshots.size()));
  // Its JSON is written out for this: a millisecond for a thousand snapshots.
  constexpr int64_t kSizeIntervalUs = 60 * kMicrosPerSecond;
  static std::mutex mutex;
  static auto* const sized_us = new std::map<std::string, int64_t>;
  {
    const std::lock_guard lock(mutex);
    const auto [found, first] = sized_us->try_emplace(table, MonotonicMicros());
    if (!first && MonotonicMicros() - found->second < kSizeIntervalUs) return;
    found->second = MonotonicMicros();
  }
  GaugeOf("k2_table_metadata_bytes", "Size of the table's metadata as JSON.", {{"table", table}})
      .Set(static_cast<double>(iceberg::TableMetadataToJson(metadata).size()));
}

int64_t Total(const std::vector<PartitionLag>& lags) {
  int64_t total = 0;
  for (const PartitionLag& lag : lags) total += lag.messages;
  return total;
}

void ReportLag(std::string_view layer, const std::vector<PartitionLag>& lags) {
  StateOf<LagGauges>(layer).Set(lags);
  const bool behind = std::ranges::any_of(lags, [](const PartitionLag& lag) { return lag.messages > 0; });
  StateOf<LagClock>(layer).Behind(behind);
}

}  // namespace k2::pipeline
