// Who has committed, and what has taken rows out of a table or has let a layer pass over some: the events that
// `k2 audit` lists (docs/audit.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "iceberg/table_metadata.h"

namespace k2::table {

inline constexpr char kVersionKey[] = "k2.version";  // of a snapshot's summary
inline constexpr char kHostKey[] = "k2.host";
inline constexpr char kProcessKey[] = "k2.process";
inline constexpr char kRetentionKey[] = "k2.retention";
inline constexpr char kOffsetsSetKey[] = "k2.offsets-set";

inline constexpr char kAuditKey[] = "k2.audit";  // the table property that keeps events when their snapshots are gone
inline constexpr size_t kAuditEventsMax = 100;

// The entries of a summary that say which program, machine and process has made the snapshot.
void WriteCommitter(std::map<std::string, std::string>& summary);

// "k2", "spark", "trino", "another engine".
std::string EngineOf(const iceberg::Snapshot& snapshot);

struct AuditEvent {
  int64_t at_us = 0;
  std::string event;  // retention, rebuild, offsets set, offsets accept, delete, overwrite
  std::string detail;
  std::optional<int64_t> rows;  // by which the table holds fewer; nullopt: none, or it cannot be told
  int64_t snapshot_id = 0;
  std::string engine;  // "k2", "k2 on spark": a job of K2; else as EngineOf
  std::string version;
  std::string host;
  std::string process;
  bool operator==(const AuditEvent&) const = default;
};

// nullopt: a snapshot that took nothing away.
std::optional<AuditEvent> EventOf(const iceberg::Snapshot& snapshot);

// The events of a table, oldest first: those of the property, and those of the snapshots that main has or had.
// kInvalidData: the property cannot be read.
Result<std::vector<AuditEvent>> ReadAudit(const iceberg::TableMetadata& metadata);

// For the commit that adds `made` (null: none) to `head` and expires the snapshots `expired`: the property with the
// events of these, and of other engines' snapshots since K2's last commit; nullopt where there is nothing to add. A
// property that cannot be read is left as it is, with a warning.
std::optional<std::string> AuditAfter(const iceberg::TableMetadata& head, const iceberg::Snapshot* made,
                                      const std::vector<int64_t>& expired);

}  // namespace k2::table
