// When a data file was committed. The snapshot that added it says so, but snapshots are expired after an hour: so
// retention notes, in a table property, which sequence number the table had reached when.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "iceberg/table_metadata.h"
#include "table/scan.h"

namespace k2::maintenance {

// "<sequence number>@<ms> …", oldest first. Whatever it says can only make a file look younger than it is.
inline constexpr char kCommitTimesKey[] = "k2.commit-times";

class CommitTimes {
 public:
  explicit CommitTimes(const iceberg::TableMetadata& metadata);

  struct Time {
    int64_t us = 0;
    bool exact = false;  // else the file is at least as old
  };
  // The snapshot's time where it is there; else that of the oldest snapshot, or noted time, that had come to the file's
  // sequence number.
  [[nodiscard]] Time Of(const table::ScanFile& file) const;

  // The property with what the snapshots tell today; nullopt when it is fresh enough. Times lie an hour apart, older
  // ones a sixteenth of their age, so a file looks younger by about that much at most.
  [[nodiscard]] std::optional<std::string> Renewed(int64_t now_ms) const;

 private:
  std::map<int64_t, int64_t> snapshot_ms_;     // by snapshot id
  std::map<int64_t, int64_t> ms_by_sequence_;  // snapshots and noted times: reached at the latest then
  std::string property_;
  int64_t newest_noted_ms_ = 0;
};

}  // namespace k2::maintenance
