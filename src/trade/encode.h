// Trades and rejected frames as Kafka message values: Confluent-framed Avro (docs/messages.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "trade/reject.h"
#include "trade/trade.h"
#include "trade/trade_columns.h"

namespace k2::trade {

// Appends the message of a trade to `out`, written in the schema kTradeV3SchemaJson under `schema_id`.
void EncodeTrade(const Trade& trade, int32_t schema_id, std::string& out);

// The same of a row, whose message_id may be any text, and whose vendor_data may be a map without entries.
void EncodeTrade(const TradeRow& row, int32_t schema_id, std::string& out);

struct RejectedFrame {
  std::string_view exchange;
  RejectReason reason = RejectReason::kNone;
  std::string_view detail;  // UTF-8
  std::string_view frame;   // any bytes
  int64_t receive_timestamp_us = 0;
};

// Appends the message of a rejected frame to `out`, written in kRejectedFrameSchemaJson under `schema_id`.
void EncodeRejectedFrame(const RejectedFrame& frame, int32_t schema_id, std::string& out);

}  // namespace k2::trade
