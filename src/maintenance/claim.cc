#include "maintenance/claim.h"

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/this_process.h"
#include "base/time.h"
#include "base/uuid.h"

namespace k2::maintenance {
namespace {

constexpr int64_t kClaimsVersion = 1;
constexpr int64_t kClocksDifferUs = 300 * kMicrosPerSecond;  // between two machines, of which neither need be right

}  // namespace

MaintenanceClaims ReadMaintenanceClaims(const iceberg::TableMetadata& metadata) {
  MaintenanceClaims claims;
  const auto property = metadata.properties.find(kMaintenanceKey);
  if (property == metadata.properties.end()) return claims;
  const auto document = nlohmann::json::parse(property->second, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || document.value("version", nlohmann::json()) != kClaimsVersion) return claims;
  const auto kinds = document.find("claims");
  if (kinds == document.end() || !kinds->is_object()) return claims;
  for (const auto& [kind, value] : kinds->items()) {
    const bool whole = value.is_array() && value.size() == 3 && value[0].is_string() && value[1].is_number_integer() &&
                       value[2].is_number_integer();
    if (!whole) continue;
    claims[kind] = {.by = value[0], .at_us = value[1], .for_us = value[2]};
  }
  return claims;
}

std::string MaintenanceClaimsToJson(const MaintenanceClaims& claims) {
  nlohmann::json kinds = nlohmann::json::object();
  for (const auto& [kind, claim] : claims) kinds[kind] = {claim.by, claim.at_us, claim.for_us};
  return nlohmann::json{{"version", kClaimsVersion}, {"claims", std::move(kinds)}}.dump();
}

bool HoldsAt(const MaintenanceClaim& claim, int64_t now_us) {
  if (claim.at_us > now_us + kClocksDifferUs) return false;
  return now_us - claim.at_us < claim.for_us;
}

Result<ClaimOutcome> ClaimMaintenance(table::Table& table, const std::set<std::string>& kinds, std::string_view by,
                                      int64_t for_us, int64_t now_us) {
  ClaimOutcome outcome;
  K2_TRY(table.Update([&](const iceberg::TableMetadata& metadata) -> Result<std::vector<iceberg::TableUpdate>> {
    outcome = {};
    bool changed = false;
    MaintenanceClaims claims = ReadMaintenanceClaims(metadata);
    for (const std::string& kind : kinds) {
      const auto found = claims.find(kind);
      const bool own = found != claims.end() && found->second.by == by;
      if (found != claims.end() && !own && HoldsAt(found->second, now_us)) {
        const bool longest = !outcome.another || found->second.at_us + found->second.for_us >
                                                     outcome.another->at_us + outcome.another->for_us;
        if (longest) outcome.another = found->second;
        continue;
      }
      outcome.mine.insert(kind);
      outcome.taken |= !own;
      if (own && HoldsAt(found->second, now_us) && (now_us - found->second.at_us) * 2 < found->second.for_us) continue;
      claims[kind] = {.by = std::string(by), .at_us = now_us, .for_us = for_us};
      changed = true;
    }
    if (!changed) return std::vector<iceberg::TableUpdate>{};
    return std::vector<iceberg::TableUpdate>{
        iceberg::SetProperties{{{kMaintenanceKey, MaintenanceClaimsToJson(claims)}}}};
  }));
  return outcome;
}

std::string MaintainerName() { return fmt::format("{}/{}/{}", ThisProcess().host, ::getpid(), RandomHex64()); }

}  // namespace k2::maintenance
