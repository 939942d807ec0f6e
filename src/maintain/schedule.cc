#include "maintain/schedule.h"

#include <algorithm>
#include <condition_variable>
#include <utility>

#include "base/guard.h"
#include "base/log.h"
#include "base/metrics.h"
#include "maintain/expiry.h"
#include "task/market_tables.h"

namespace k2 {

namespace {

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
  return {CounterOf("k2_retention_dropped_rows_total", "Rows that retention has dropped.", labels),
          CounterOf("k2_retention_unread_rows_total", "Of them, rows that the layer below had not read.", labels),
          GaugeOf("k2_retention_held_rows",
                  "Rows past their time that are kept because the layer below has not read them.", labels),
          GaugeOf("k2_retention_held_seconds", "How long the oldest of the held rows has been past its time.", labels),
          CounterOf("k2_compaction_input_files_total", "Small files that compaction has joined.", labels),
          CounterOf("k2_compaction_output_files_total", "Files that it has joined them into.", labels)};
}

}  // namespace

Maintenance::Maintenance(Lakehouse lakehouse, MaintenanceOptions options)
    : lakehouse_(std::move(lakehouse)), options_(std::move(options)) {
  for (const std::string& name : AllTables()) (void)MetricsOf(name);  // seen before the first round
}

void Maintenance::RunDue(int64_t now_us, const std::stop_token& stop) {
  if (next_us_ == 0) next_us_ = now_us + std::min(options_.interval_us, 60 * kMicrosPerSecond);
  // A clock that was set back must not put the next round off for longer than a round's distance.
  next_us_ = std::min(next_us_, now_us + options_.interval_us);
  if (now_us < next_us_) return;
  Round(now_us, stop);
  next_us_ = now_us + options_.interval_us;
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

void Maintenance::Round(int64_t now_us, const std::stop_token& stop) {
  for (const std::string& name : AllTables()) {
    if (stop.stop_requested()) return;
    if (const Status done = Retain(name, now_us); !done) Failed("retention", name, done.error());
    // Before expiry, which deletes what was joined in earlier rounds.
    if (options_.compact.contains(name)) {
      if (const Status done = Join(name, now_us, stop); !done) Failed("compaction", name, done.error());
    }
    if (!options_.expire) continue;
    if (const Status done = Expire(name, now_us); !done) Failed("expiry", name, done.error());
  }
  const std::lock_guard lock(mutex_);
  ++status_.rounds;
  status_.last_round_us = now_us;
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
    log::Info("small files were joined",
              {{"table", name}, {"files", done.files_in}, {"into", done.files_out}, {"rows", done.rows}});
  }
  return {};
}

Status Maintenance::Expire(const std::string& name, int64_t now_us) {
  K2_ASSIGN(Table table, lakehouse_.Open(name));
  K2_ASSIGN(const ExpiryReport done, ExpireSnapshots(table, now_us));
  const std::lock_guard lock(mutex_);
  status_.tables[name].snapshots_expired += static_cast<int64_t>(done.snapshots.size());
  status_.tables[name].files_deleted += done.data_files + done.metadata_files - done.not_deleted;
  return {};
}

void Maintenance::Failed(std::string_view what, const std::string& table, const Error& error) {
  log::Warn("maintenance failed, the next round tries again",
            {{"what", what}, {"table", table}, {"error", error.message}});
  const std::lock_guard lock(mutex_);
  ++status_.failures;
  status_.last_error = fmt::format("{}: {}: {}", table, what, error.message);
}

}  // namespace k2
