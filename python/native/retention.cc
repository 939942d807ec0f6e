// The rules of retention for the job on Spark (src/maintenance/retention_rules.h): facts and decision in Python's
// types.
#include "retention.h"

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "maintenance/retention_rules.h"

namespace nb = nanobind;

namespace k2::python {
namespace {

using maintenance::kNever;

std::optional<int64_t> KnownTime(int64_t us) { return us == kNever ? std::nullopt : std::optional(us); }

// None: for ever.
std::optional<int64_t> Limit(int64_t limit_us) { return limit_us == 0 ? std::nullopt : std::optional(limit_us); }

std::tuple<std::string, std::string, std::optional<int64_t>> PyDecide(
    std::optional<int64_t> limit_us, int64_t now_us, std::optional<int64_t> hold_us, std::optional<int64_t> end_us,
    const std::map<int64_t, int64_t>& first_days, std::optional<int64_t> newest_commit_us, bool newest_commit_exact,
    bool may_drop, int64_t unread_rows, bool blocked, bool needed) {
  const maintenance::Decision decision =
      maintenance::DecideRetention({.may_drop = may_drop,
                                    .end_us = end_us,
                                    .first_days = first_days,
                                    .newest_commit_us = newest_commit_us.value_or(kNever),
                                    .newest_commit_exact = newest_commit_exact,
                                    .unread = {.rows = unread_rows, .blocked = blocked, .needed = needed}},
                                   {.limit_us = limit_us.value_or(0), .hold_us = hold_us, .now_us = now_us});
  return {std::string(ToString(decision.fate)), decision.reason, KnownTime(decision.due_us)};
}

int64_t PyUnreadRows(int64_t first, int64_t last, int64_t rows, int64_t read_to, int64_t end) {
  return maintenance::UnreadOf({.first = first, .last = last, .rows = rows}, read_to, end).rows;
}

std::string PyDroppedText(const std::vector<std::pair<std::string, int64_t>>& partitions, int64_t limit_us,
                          int64_t now_us) {
  std::vector<maintenance::DroppedPartition> dropped;
  for (const auto& [name, rows] : partitions) dropped.push_back({.name = name, .rows = rows});
  return DroppedText(dropped, {.limit_us = limit_us, .hold_us = std::nullopt, .now_us = now_us});
}

}  // namespace

void AddRetention(nb::module_& module) {
  module.def("retention_decision", PyDecide, nb::kw_only(), nb::arg("limit_us").none(), nb::arg("now_us"),
             nb::arg("hold_us").none(), nb::arg("end_us").none(), nb::arg("first_days"),
             nb::arg("newest_commit_us").none(), nb::arg("newest_commit_exact"), nb::arg("may_drop"),
             nb::arg("unread_rows"), nb::arg("blocked"), nb::arg("needed"));
  module.def("unread_rows", PyUnreadRows, nb::kw_only(), nb::arg("first"), nb::arg("last"), nb::arg("rows"),
             nb::arg("read_to"), nb::arg("end"));
  module.def("dropped_text", PyDroppedText, nb::arg("partitions"), nb::kw_only(), nb::arg("limit_us"),
             nb::arg("now_us"));
  constexpr maintenance::RetentionPolicy kPolicy;
  module.attr("RETENTION_LIMITS_US") =
      std::map<std::string, std::optional<int64_t>>{{"bronze", Limit(kPolicy.bronze_us)},
                                                    {"silver", Limit(kPolicy.silver_us)},
                                                    {"rejected", Limit(kPolicy.rejected_us)},
                                                    {"gold", Limit(kPolicy.gold_us)}};
}

}  // namespace k2::python
