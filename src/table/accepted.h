// What somebody has accepted of upstream tables that others changed: kept as a property of the table that stood, set in
// the commit that records it (docs/source-offsets.md, "When others change an upstream table").
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/result.h"
#include "iceberg/table_metadata.h"
#include "table/source_offsets.h"

namespace k2::table {

inline constexpr char kAcceptedKey[] = "k2.accepted";                 // the property
inline constexpr char kOffsetsAcceptedKey[] = "k2.offsets-accepted";  // of the summary of the commit that set it

// Of one upstream table: it was accepted as it stood in that snapshot.
struct AcceptedUpstream {
  std::string table_uuid;
  int64_t snapshot_id = 0;
  int64_t sequence_number = 0;  // foreign snapshots up to it are read
  struct Source {
    int64_t end = 0;        // rows of lower offsets are not counted
    int64_t messages = -1;  // Bronze's count at `end`
    bool operator==(const Source&) const = default;
  };
  std::map<SourceKey, Source> sources;  // of Bronze
  std::string at;
  bool operator==(const AcceptedUpstream&) const = default;
};
using Accepted = std::map<std::string, AcceptedUpstream>;  // by upstream table, namespace.name

// Empty: nothing was. Errors: kInvalidData, kOffsetMismatch for a version that this K2 does not know.
Result<Accepted> ReadAccepted(const iceberg::TableMetadata& metadata);
std::string AcceptedToJson(const Accepted& accepted);

}  // namespace k2::table
