// Maintenance beside a running pipeline: retention, compaction and expiry, every so often.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <thread>

#include "maintenance/claim.h"
#include "maintenance/compaction.h"
#include "maintenance/retention.h"
#include "pipeline/lakehouse.h"

namespace k2::maintenance {

struct MaintenanceOptions {
  RetentionPolicy retention;
  int64_t interval_us = kMicrosPerHour;  // between two rounds; the first one comes after a minute, or sooner if shorter
  bool expire = true;
  std::set<std::string> compact;  // tables whose small files are joined
  // Smaller than what `k2 maintain compact` takes at once: the memory is the pipeline's, and a stop waits for a commit.
  CompactionPolicy compaction = {.target_rows = 1 << 18, .rows_per_commit = 1 << 22};
  table::CommitPolicy commit = {};     // of retention and compaction
  int64_t claim_settles_us = 250'000;  // how long after a claim another one that was made at the same time is seen
};

// For a metrics page. Sums since the start, unless said otherwise.
struct MaintenanceStatus {
  struct OfTable {
    int64_t rows_dropped = 0;
    int64_t files_dropped = 0;
    int64_t bytes_dropped = 0;
    int64_t unread_rows_dropped = 0;
    int64_t rows_held = 0;  // now: past their retention, kept because the downstream layer has not read them
    int64_t held_us = 0;    // now: for how long they have been past it
    int64_t files_joined = 0;
    int64_t files_joined_into = 0;
    int64_t snapshots_expired = 0;
    int64_t files_deleted = 0;
  };
  std::map<std::string, OfTable> tables;
  int64_t rounds = 0;
  int64_t failures = 0;       // tables that a round could not look after
  int64_t last_round_us = 0;  // wall clock; 0: none yet
  std::string last_error;
};

// Never stops a pipeline: what fails is logged and tried again in the next round. Of several processes one does it,
// each kind of work of each table (claim.h).
class Maintenance {
 public:
  Maintenance(pipeline::Lakehouse lakehouse, MaintenanceOptions options);

  // Does a round if one is due; when asked to stop, ends it between two tables. Times are of the wall clock.
  void RunDue(int64_t now_us, const std::stop_token& stop = {});
  // Does so in a thread of its own until this object is gone, which waits for the table that is being looked after.
  void Start();

  [[nodiscard]] MaintenanceStatus status() const;  // from any thread

 private:
  void Round(int64_t now_us, const std::stop_token& stop);
  [[nodiscard]] std::set<std::string> WorkOn(const std::string& table) const;
  Result<ClaimOutcome> Claim(const std::string& name, int64_t now_us);
  std::map<std::string, std::set<std::string>> ClaimAll(int64_t now_us, const std::stop_token& stop);
  Status Archive();
  Status Retain(const std::string& name, int64_t now_us);
  Status Join(const std::string& name, int64_t now_us, const std::stop_token& stop);
  Status Expire(const std::string& name, int64_t now_us);
  void Failed(std::string_view what, const std::string& table, const Error& error);

  pipeline::Lakehouse lakehouse_;
  MaintenanceOptions options_;
  std::string name_ = MaintainerName();
  std::set<std::string> left_;         // tables with work that another service does
  table::SourcePositions recordings_;  // of Bronze, as the round before saw them
  int64_t next_us_ = 0;
  mutable std::mutex mutex_;
  MaintenanceStatus status_;
  std::jthread thread_;  // last: it ends first
};

}  // namespace k2::maintenance
