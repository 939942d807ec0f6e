// How far a layer has come in its sources: the value that is committed with the rows it speaks of
// (docs/source-offsets.md).
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/result.h"

namespace k2::table {

// One ordered run of messages. Kafka: cluster id, topic name, topic id, partition. A recording: cluster "recording",
// topic "recording/<exchange>/<hash of its first line>", topic id = that hash, partition 0.
inline constexpr char kRecordingCluster[] = "recording";
struct SourceKey {
  std::string cluster;
  std::string topic;
  std::string topic_id;
  int32_t partition = 0;
  auto operator<=>(const SourceKey&) const = default;
  [[nodiscard]] std::string ToString() const;  // cluster/topic/topic_id/partition, for messages and metrics
};

// The place after the last message read. The last four fields belong to recordings: with them a resumed reader finds
// its place without parsing again, and sees that the file is still the one it read. Kafka's offsets have gaps of their
// own (transaction markers, compaction), so that only a count of messages tells a gap from a loss.
struct SourcePosition {
  int64_t next_offset = 0;    // ordinal of the next message
  int32_t leader_epoch = -1;  // Kafka's, -1 where there is none
  int64_t messages = -1;  // Kafka: messages that were taken up to here, since K2's start in the partition; -1: unknown
  int64_t next_line = 0;  // lines read so far
  int64_t next_byte = 0;  // uncompressed bytes read so far, line ends included
  std::string line_hash;  // XXH3-64 of the last line read, 16 hex digits; empty before the first
  int64_t segment = 0;    // of a spool: the segment that line and byte count in; 0 of any other source
  bool operator==(const SourcePosition&) const = default;
};

using SourcePositions = std::map<SourceKey, SourcePosition>;

}  // namespace k2::table
