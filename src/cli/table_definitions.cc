#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/age.h"
#include "cli/commands.h"
#include "iceberg/schema_json.h"
#include "maintenance/orphans.h"
#include "table/progress_json.h"
#include "task/market_tables.h"
#include "trade/decoder.h"
#include "trade/trade_schema.h"

namespace k2::cli {
namespace {

using nlohmann::ordered_json;

Result<ordered_json> Definition(const std::string& table) {
  K2_ASSIGN(const catalog::CreateTableRequest request, task::TableDefinition(table));
  return ordered_json{{"schema", ordered_json::parse(iceberg::SchemaToJson(request.schema))},
                      {"partition-spec", ordered_json::parse(iceberg::PartitionSpecToJson(request.spec))},
                      {"sort-order", ordered_json::parse(iceberg::SortOrderToJson(request.sort_order))},
                      {"properties", request.properties}};
}

ordered_json Message(int32_t local_id, std::string_view schema) {
  return {{"local-id", local_id}, {"schema", ordered_json::parse(schema)}};
}

}  // namespace

Result<int> PrintTableDefinitions() {
  ordered_json tables = ordered_json::object();
  for (const std::string& name : task::AllTables()) {
    K2_ASSIGN(tables[name], Definition(name));
  }
  ordered_json exchanges = ordered_json::array();
  for (const exchange::Exchange* exchange : exchange::Exchanges()) {
    exchanges.push_back(
        {{"topic", exchange->name}, {"name", exchange->message_name}, {"silver", exchange->silver_table}});
  }
  ordered_json reasons = ordered_json::array();
  for (size_t i = 1; i < trade::kRejectReasonCount; ++i) reasons.push_back(trade::kRejectReasonTexts[i]);
  K2_ASSIGN(const ordered_json finished, Definition(std::string(task::kFinishedTable)));
  const ordered_json all = {
      {"version", 1},
      {"namespace", task::kNamespace},
      {"tables", tables},
      {"finished-sources", {{"name", task::kFinishedTable}, {"table", finished}}},
      {"exchanges", exchanges},
      {"messages",
       {{"TradeV3", Message(trade::kTradeV3SchemaId, trade::kTradeV3SchemaJson)},
        {"TradeV2", Message(trade::kTradeV2SchemaId, trade::kTradeV2SchemaJson)},
        {"RejectedFrame", Message(trade::kRejectedFrameSchemaId, trade::kRejectedFrameSchemaJson)}}},
      {"rules",
       {{"version", trade::kRulesVersion},
        {"reasons", reasons},
        {"message-bytes-max", trade::kMaxMessageSize},
        {"frame-message-bytes-max", trade::kMaxFrameMessageSize},
        {"time-us-min", kRealTimeMinUs},
        {"time-us-end", kRealTimeEndUs},
        {"ahead-us-max", trade::kMaxTradeAheadMicros}}},
      {"commits",
       {{"attempt-age-us-max", kAttemptAgeMaxUs},
        {"look-again-after-us", kLookAgainAfterUs},
        {"orphan-age-us-min", maintenance::kOrphanAgeMinUs}}},
      {"offsets",
       {{"version", table::kProgressVersion}, {"summary-key", table::kOffsetsKey}, {"tag", table::kOffsetsTag}}},
  };
  std::printf("%s\n", all.dump(2).c_str());
  return 0;
}

}  // namespace k2::cli
