// Which of the services that share tables does the scheduled maintenance of one: a note in the table's properties.
// It spares the others the same work. Nothing is unsafe where two do it, so no clock and no race can do harm.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "table/table.h"

namespace k2::maintenance {

inline constexpr char kMaintenanceKey[] = "k2.maintenance";  // table property

struct MaintenanceClaim {
  std::string by;      // a service: host, process and a random number
  int64_t at_us = 0;   // wall clock, when it was made
  int64_t for_us = 0;  // how long it holds, unless it is renewed
  bool operator==(const MaintenanceClaim&) const = default;
};
using MaintenanceClaims = std::map<std::string, MaintenanceClaim>;  // by kind of work: retention, compaction, …

// A property that cannot be read counts as none: it is a hint.
MaintenanceClaims ReadMaintenanceClaims(const iceberg::TableMetadata& metadata);
std::string MaintenanceClaimsToJson(const MaintenanceClaims& claims);

// Whether a claim still keeps others from the work. One from the future, beyond what clocks differ by, does not.
bool HoldsAt(const MaintenanceClaim& claim, int64_t now_us);

struct ClaimOutcome {
  std::set<std::string> mine;               // kinds that `by` is to do
  std::optional<MaintenanceClaim> another;  // that holds longest of those that others have
  bool taken = false;                       // of `mine` there is one that `by` did not hold before
};

// Claims kinds of work for `for_us`, those that nobody holds; renews those that `by` holds already. A claim of `by`
// that has less than half of its time left is renewed, any other stays as it is.
Result<ClaimOutcome> ClaimMaintenance(table::Table& table, const std::set<std::string>& kinds, std::string_view by,
                                      int64_t for_us, int64_t now_us);

// A name for this process that no other one has.
std::string MaintainerName();

}  // namespace k2::maintenance
