// The rules of retention (docs/retention.md): what becomes of a partition, and why. Includes base/ alone, for the
// module of Python has them too (python/native/): `k2 maintain retention` and the job on Spark decide by the same.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace k2::maintenance {

inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

// How long each table keeps its rows; 0: for ever.
struct RetentionPolicy {
  int64_t bronze_us = 7 * kMicrosPerDay;
  int64_t silver_us = 30 * kMicrosPerDay;
  int64_t rejected_us = 30 * kMicrosPerDay;
  int64_t gold_us = 0;
  int64_t hold_us = kMicrosPerDay;  // how much longer what the downstream layer has not read is kept at most
};

enum class PartitionFate {
  kKept,     // not past the limit yet
  kHeld,     // past the limit, but the downstream layer has not read it
  kDropped,  // to be dropped, or was
};
std::string_view ToString(PartitionFate fate);  // kept, held, dropped

// What the downstream layer has not read of a partition.
struct UnreadFacts {
  int64_t rows = 0;
  bool blocked = false;  // the downstream layer is: as long as it is, no hold ends
  bool needed = false;   // Silver catches up by these rows: without them it would take rejected messages for valid ones
};

// Of files that go together: a partition, or those of its files whose newest rows are of the same time.
struct PartitionFacts {
  bool may_drop = true;                   // the table's property gc.enabled
  std::optional<int64_t> end_us;          // of the time that the newest rows are of; nullopt: nothing tells it
  std::map<int64_t, int64_t> first_days;  // how many files have their oldest rows of this day since 1970; where known
  int64_t newest_commit_us = kNever;      // of the files; kNever: not known
  bool newest_commit_exact = true;        // else they are at least as old
  UnreadFacts unread;  // asked only of what is past its limit: nobody need look for it before that is known
};

struct RetentionTerms {
  int64_t limit_us = 0;            // 0: kept for ever
  std::optional<int64_t> hold_us;  // nullopt: what is not read is held without end
  int64_t now_us = 0;
};

struct Decision {
  PartitionFate fate = PartitionFate::kKept;
  std::string reason;       // for people
  int64_t due_us = kNever;  // when it is past the limit
};

// Dropped is what both the end of its time and its newest commit are past the limit of, once the downstream layer has
// read all of it, or was given the hold to do so.
Decision DecideRetention(const PartitionFacts& facts, const RetentionTerms& terms);

// What the summary of the commit that drops them says: the limit, and as many of their names as a summary should have;
// tables may be partitioned by anything.
struct DroppedPartition {
  std::string name;
  int64_t rows = 0;
};
std::string DroppedText(const std::vector<DroppedPartition>& dropped, const RetentionTerms& terms);

std::string DayText(int64_t day);  // 2024-08-08; days since 1970 that nobody has lived through, too

// Rows of one partition of a topic that lie together in Bronze.
struct OffsetRows {
  int64_t first = 0;
  int64_t last = 0;  // inclusive
  int64_t rows = 0;  // at most so many in it
};
// Those of them that a layer which has read all offsets below `read_to` has not read, never too few; `end` is where
// Bronze ends. No rows: it has read them all.
OffsetRows UnreadOf(const OffsetRows& held, int64_t read_to, int64_t end);

}  // namespace k2::maintenance
