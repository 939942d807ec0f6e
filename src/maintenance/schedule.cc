#include "maintenance/schedule.h"

#include <algorithm>
#include <condition_variable>
#include <utility>

#include "base/error_text.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/metrics.h"
#include "maintenance/expiry.h"
#include "pipeline/bronze/finished_sources.h"
#include "task/market_tables.h"

namespace k2::maintenance {

namespace {

// Kinds of work, as claims name them.
constexpr char kRetention[] = "retention";
constexpr char kCompaction[] = "compaction";
constexpr char kExpiry[] = "expiry";
constexpr char kArchive[] = "finished recordings";

struct OfMetrics {
  Counter& dropped_rows;
  Counter& unread_rows;
  Gauge& held_rows;
  Gauge& held_seconds;
  Counter& joined_files;
  Counter& joined_into;
};

OfMetrics MetricsOf(const std::string& table) {
  const MetricLabels labels = {{"table", table}};
  return {CounterOf("k2_retention_dropped_rows_total", "Rows dropped by retention.", labels),
          CounterOf("k2_retention_unread_rows_total",
                    "Rows dropped by retention before the downstream layer read them.", labels),
          GaugeOf("k2_retention_held_rows",
                  "Expired rows that retention holds because the downstream layer has not read them.", labels),
          GaugeOf("k2_retention_held_seconds", "How long the oldest of the held rows has been expired.", labels),
          CounterOf("k2_compaction_input_files_total", "Small files that compaction has replaced.", labels),
          CounterOf("k2_compaction_output_files_total", "Files that compaction has written in their place.", labels)};
}

}  // namespace

Maintenance::Maintenance(pipeline::Lakehouse lakehouse, MaintenanceOptions options)
    : lakehouse_(std::move(lakehouse)), options_(std::move(options)) {
  for (const std::string& name : task::AllTables()) (void)MetricsOf(name);  // seen before the first round
}

void Maintenance::RunDue(int64_t now_us, const std::stop_token& stop) {
  if (next_us_ == 0) next_us_ = now_us + std::min(options_.interval_us, 60 * kMicrosPerSecond);
  // A clock that was set back must not put the next round off for longer than a round's distance.
  next_us_ = std::min(next_us_, now_us + options_.interval_us);
  if (now_us < next_us_) return;
  next_us_ = now_us + options_.interval_us;
  Round(now_us, stop);
}

void Maintenance::Start() {
  thread_ = std::jthread([this](const std::stop_token& ended) {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    while (!ended.stop_requested()) {
      GuardedOrLogged("the scheduled maintenance", [&] { RunDue(NowMicros(), ended); });
      wake.wait_for(lock, ended, std::chrono::seconds(1), [] { return false; });
    }
  });
}

MaintenanceStatus Maintenance::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

// What this service would do; another one may be told to do other things.
std::set<std::string> Maintenance::WorkOn(const std::string& table) const {
  std::set<std::string> kinds = {kRetention};
  if (options_.compact.contains(table)) kinds.insert(kCompaction);
  if (options_.expire) kinds.insert(kExpiry);
  if (table == task::kBronzeTable) kinds.insert(kArchive);
  return kinds;
}

// Holds until the round after next would have renewed it, on a busy machine too: that of another service finds it held,
// unless this one is gone.
Result<ClaimOutcome> Maintenance::Claim(const std::string& name, int64_t now_us) {
  const int64_t holds_us = options_.interval_us + std::max(options_.interval_us / 2, 10 * kMicrosPerSecond);
  K2_ASSIGN(table::Table table, lakehouse_.Open(name));
  return ClaimMaintenance(table, WorkOn(name), name_, holds_us, now_us);
}

// The work on each table that is this service's.
std::map<std::string, std::set<std::string>> Maintenance::ClaimAll(int64_t now_us, const std::stop_token& stop) {
  std::map<std::string, std::set<std::string>> mine;
  std::set<std::string> taken;
  const auto claim = [&](const std::string& name) {
    const Result<ClaimOutcome> outcome = Claim(name, now_us);
    if (!outcome) {
      Failed("claim", name, outcome.error());
      mine.erase(name);
      return;
    }
    mine[name] = outcome->mine;
    if (outcome->taken) taken.insert(name);
    if (!outcome->another) {
      left_.erase(name);
      return;
    }
    next_us_ = std::min(next_us_, outcome->another->at_us + outcome->another->for_us + kMicrosPerSecond);
    if (left_.insert(name).second) {
      log::Info("another service maintains a table", {{"table", name}, {"by", outcome->another->by}});
    }
  };
  for (const std::string& name : task::AllTables()) claim(name);
  if (taken.empty()) return mine;
  // A catalog that does not compare the table's whole state takes two claims that are made at once: the later one
  // stands.
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  never.wait_for(lock, stop, std::chrono::microseconds(options_.claim_settles_us), [] { return false; });
  for (const std::string& name : taken) claim(name);
  return mine;
}

void Maintenance::Round(int64_t now_us, const std::stop_token& stop) {
  const auto mine = ClaimAll(now_us, stop);
  for (const std::string& name : task::AllTables()) {
    if (stop.stop_requested()) return;
    const auto found = mine.find(name);
    if (found == mine.end()) continue;
    const std::set<std::string>& work = found->second;
    if (work.contains(kRetention)) {
      if (const Status done = Retain(name, now_us); !done) Failed(kRetention, name, done.error());
    }
    // Before expiry, which deletes what was joined in earlier rounds.
    if (work.contains(kCompaction)) {
      if (const Status done = Join(name, now_us, stop); !done) Failed(kCompaction, name, done.error());
    }
    if (work.contains(kExpiry)) {
      if (const Status done = Expire(name, now_us); !done) Failed(kExpiry, name, done.error());
    }
    if (work.contains(kArchive)) {
      if (const Status done = Archive(); !done) Failed(kArchive, name, done.error());
    }
  }
  const std::lock_guard lock(mutex_);
  ++status_.rounds;
  status_.last_round_us = now_us;
}

// Of recordings that have not moved since the round before.
Status Maintenance::Archive() {
  const pipeline::ArchivePolicy policy{.unmoved_since = &recordings_, .commit = options_.commit};
  const Result<int64_t> archived = pipeline::ArchiveFinished(lakehouse_, policy);
  K2_ASSIGN(const table::Table bronze, lakehouse_.Open(task::kBronzeTable));
  K2_ASSIGN(table::LayerProgress progress, table::ReadProgress(bronze.metadata()));
  recordings_ = std::move(progress.positions);
  if (!archived) return std::unexpected(archived.error());
  return {};
}

Status Maintenance::Retain(const std::string& name, int64_t now_us) {
  K2_ASSIGN(const TableRetention done, ApplyRetention(lakehouse_, name, options_.retention, now_us, options_.commit));
  const int64_t files = done.FilesOf(PartitionFate::kDropped);
  {
    const std::lock_guard lock(mutex_);
    MaintenanceStatus::OfTable& table = status_.tables[name];
    table.rows_dropped += done.RowsOf(PartitionFate::kDropped);
    table.files_dropped += files;
    table.bytes_dropped += done.BytesOf(PartitionFate::kDropped);
    table.unread_rows_dropped += done.UnreadDropped();
    table.rows_held = done.RowsOf(PartitionFate::kHeld);
    table.held_us = done.LongestHeldUs(now_us);
    const OfMetrics& metrics = MetricsOf(name);
    metrics.held_rows.Set(static_cast<double>(table.rows_held));
    metrics.held_seconds.Set(static_cast<double>(table.held_us) / 1e6);
    metrics.dropped_rows.Add(done.RowsOf(PartitionFate::kDropped));
    metrics.unread_rows.Add(done.UnreadDropped());
  }
  if (files > 0) {
    log::Info("retention dropped partitions",
              {{"table", name}, {"files", files}, {"rows", done.RowsOf(PartitionFate::kDropped)}});
  }
  return {};
}

Status Maintenance::Join(const std::string& name, int64_t now_us, const std::stop_token& stop) {
  K2_ASSIGN(const CompactionReport done,
            Compact(lakehouse_, name, options_.compaction, now_us, {.commit = options_.commit, .stop = stop}));
  {
    const std::lock_guard lock(mutex_);
    status_.tables[name].files_joined += done.files_in;
    status_.tables[name].files_joined_into += done.files_out;
  }
  const OfMetrics& metrics = MetricsOf(name);
  metrics.joined_files.Add(done.files_in);
  metrics.joined_into.Add(done.files_out);
  if (done.files_in > 0) {
    log::Info("small files compacted",
              {{"table", name}, {"files", done.files_in}, {"into", done.files_out}, {"rows", done.rows}});
  }
  return {};
}

Status Maintenance::Expire(const std::string& name, int64_t now_us) {
  K2_ASSIGN(table::Table table, lakehouse_.Open(name));
  K2_ASSIGN(const ExpiryReport done, ExpireSnapshots(table, now_us));
  const std::lock_guard lock(mutex_);
  status_.tables[name].snapshots_expired += static_cast<int64_t>(done.snapshots.size());
  status_.tables[name].files_deleted += done.data_files + done.metadata_files - done.not_deleted;
  return {};
}

void Maintenance::Failed(std::string_view what, const std::string& table, const Error& error) {
  log::Warn("maintenance failed; retrying in the next round",
            {{"what", what}, {"table", table}, {"error", MessageAndHint(error)}});
  const std::lock_guard lock(mutex_);
  ++status_.failures;
  status_.last_error = fmt::format("{}: {}: {}", table, what, MessageAndHint(error));
}

}  // namespace k2::maintenance
