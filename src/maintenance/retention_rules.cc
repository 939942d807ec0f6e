#include "maintenance/retention_rules.h"

#include <fmt/format.h>

#include <algorithm>

namespace k2::maintenance {
namespace {

// Sums of times that stay below the end of time.
int64_t Later(int64_t at_us, int64_t by_us) { return at_us > kNever - by_us ? kNever : at_us + by_us; }

std::string Span(int64_t us) {
  if (us >= 2 * kMicrosPerDay) return fmt::format("{} days", us / kMicrosPerDay);
  if (us >= 2 * kMicrosPerHour) return fmt::format("{} hours", us / kMicrosPerHour);
  return fmt::format("{} s", us / kMicrosPerSecond);
}

// Of files that are younger than the limit: whether rows of days that are past it are among theirs.
std::string RowsPastLimit(const PartitionFacts& facts, const RetentionTerms& terms) {
  const int64_t limit_day = FloorDiv(terms.now_us - terms.limit_us, kMicrosPerDay);
  int64_t files = 0;
  for (const auto& [day, count] : facts.first_days) files += day < limit_day ? count : 0;
  if (files == 0) return "";
  return fmt::format("; {} of its files hold rows since {} too, which stay as long as the newest", files,
                     DayText(facts.first_days.begin()->first));
}

Decision DecideDue(const UnreadFacts& unread, const RetentionTerms& terms, int64_t due_us) {
  Decision decision{
      .fate = PartitionFate::kDropped,
      .reason = fmt::format("expired by retention ({}) since {}", Span(terms.limit_us), FormatTimestamp(due_us)),
      .due_us = due_us};
  if (unread.rows == 0) return decision;
  const int64_t over_us = terms.now_us - due_us;
  if (!unread.needed && !unread.blocked && terms.hold_us && over_us >= *terms.hold_us) {
    decision.reason +=
        fmt::format("; the downstream layer has not read {} rows of it, and will be blocked", unread.rows);
    return decision;
  }
  decision.fate = PartitionFate::kHeld;
  if (unread.needed) {
    decision.reason = "Silver is behind rejected_trades and needs these rows to catch up";
  } else if (unread.blocked) {
    decision.reason = fmt::format(
        "the downstream layer is blocked and has not read {} rows; its error names the command that resumes it",
        unread.rows);
  } else if (terms.hold_us) {
    decision.reason = fmt::format("the downstream layer has not read {} rows; dropped in {}", unread.rows,
                                  Span(*terms.hold_us - over_us));
  } else {
    decision.reason = fmt::format(
        "the downstream layer has not read {} rows; `k2 maintain retention` drops them after its hold", unread.rows);
  }
  return decision;
}

}  // namespace

std::string_view ToString(PartitionFate fate) {
  switch (fate) {
    case PartitionFate::kKept: return "kept";
    case PartitionFate::kHeld: return "held";
    case PartitionFate::kDropped: break;
  }
  return "dropped";
}

Decision DecideRetention(const PartitionFacts& facts, const RetentionTerms& terms) {
  Decision decision;
  if (terms.limit_us == 0) {
    decision.reason = "kept for ever";
    return decision;
  }
  if (!facts.may_drop) {
    decision.reason = "kept: the table's property gc.enabled is false";
    return decision;
  }
  if (!facts.end_us) {
    decision.reason = "neither its partition nor the bounds of its columns tell the days of its rows";
    return decision;
  }
  decision.due_us = Later(std::max(*facts.end_us, facts.newest_commit_us), terms.limit_us);
  if (terms.now_us < Later(*facts.end_us, terms.limit_us)) {
    decision.reason = fmt::format("its date is not {} past", Span(terms.limit_us)) + RowsPastLimit(facts, terms);
    return decision;
  }
  if (facts.newest_commit_us == kNever) {
    decision.reason = "when its newest file was committed is not known yet";
    return decision;
  }
  if (terms.now_us < decision.due_us) {
    decision.reason = fmt::format("committed {} {}, not {} ago", facts.newest_commit_exact ? "on" : "by",
                                  FormatTimestamp(facts.newest_commit_us), Span(terms.limit_us));
    return decision;
  }
  return DecideDue(facts.unread, terms, decision.due_us);
}

std::string DroppedText(const std::vector<DroppedPartition>& dropped, const RetentionTerms& terms) {
  constexpr size_t kNamedMax = 4;
  std::vector<std::string> names;
  for (const DroppedPartition& one : dropped) {
    if (names.size() == kNamedMax) break;
    names.push_back(fmt::format("{} ({} rows)", one.name, one.rows));
  }
  if (dropped.size() > kNamedMax) names.push_back(fmt::format("and {} more partitions", dropped.size() - kNamedMax));
  return fmt::format("older than {} at {}: {}", Span(terms.limit_us), FormatTimestamp(terms.now_us),
                     fmt::join(names, ", "));
}

std::string DayText(int64_t day) {
  return FormatDate(static_cast<int32_t>(std::clamp<int64_t>(day, INT32_MIN, INT32_MAX)));
}

OffsetRows UnreadOf(const OffsetRows& held, int64_t read_to, int64_t end) {
  if (read_to > held.last || read_to >= end) return {};
  const int64_t first = std::max(held.first, read_to);
  return {.first = first, .last = held.last, .rows = std::min(held.rows, held.last - first + 1)};
}

}  // namespace k2::maintenance
