// The Avro schemas of the messages of K2 (docs/messages.md), and their ids in the local schema map.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace k2::trade {

// Confluent wire format: this byte, the schema id as 4 bytes big-endian, then the Avro body.
inline constexpr char kConfluentMagic = '\0';
inline constexpr size_t kConfluentHeaderSize = 5;

// Of messages in recordings, and of Kafka where no registry gives ids. Those of TradeV2 stay known.
inline constexpr int32_t kTradeV2SchemaId = 1;
inline constexpr int32_t kRejectedFrameSchemaId = 2;
inline constexpr int32_t kTradeV3SchemaId = 3;

inline constexpr std::string_view kTradeV3Name = "com.k2.marketdata.TradeV3";
inline constexpr std::string_view kRejectedFrameName = "com.k2.marketdata.RejectedFrame";

inline constexpr std::string_view kTradeV3SchemaJson = R"json({
  "type": "record",
  "name": "TradeV3",
  "namespace": "com.k2.marketdata",
  "aliases": ["TradeV2"],
  "doc": "One trade of an exchange, normalised.",
  "fields": [
    {"name": "message_id", "type": "string", "doc": "Identity of the trade; the same whenever the trade comes again."},
    {"name": "trade_id", "type": "string", "doc": "EXCHANGE-id, with the exchange's own id of the trade."},
    {"name": "symbol", "type": "string", "doc": "Normalised: BTCUSDT, BTCUSD."},
    {"name": "exchange", "type": "string", "doc": "In capitals: BINANCE."},
    {"name": "asset_class", "type": {"type": "enum", "name": "AssetClass",
      "symbols": ["equities", "crypto", "futures", "options"]}},
    {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"},
      "doc": "When the exchange made the trade."},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 24, "scale": 14}},
    {"name": "quantity", "type": {"type": "bytes", "logicalType": "decimal", "precision": 24, "scale": 8}},
    {"name": "currency", "type": "string", "doc": "The quote currency; empty where it is not known."},
    {"name": "side", "type": {"type": "enum", "name": "TradeSide",
      "symbols": ["BUY", "SELL", "SELL_SHORT", "UNKNOWN"]}, "doc": "The aggressor's side."},
    {"name": "trade_conditions", "type": {"type": "array", "items": "string"}, "default": []},
    {"name": "source_sequence", "type": ["null", "long"], "default": null,
      "doc": "The exchange's own consecutive number, where it gives one."},
    {"name": "ingestion_timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"},
      "doc": "When the trade was received."},
    {"name": "platform_sequence", "type": ["null", "long"], "default": null},
    {"name": "vendor_data", "type": ["null", {"type": "map", "values": "string"}], "default": null,
      "doc": "What the exchange sends beyond these fields."},
    {"name": "source", "type": ["null", {"type": "enum", "name": "TradeSource",
      "symbols": ["stream", "snapshot", "rest", "archive"]}], "default": null,
      "doc": "How the exchange told of the trade."}
  ]
})json";

// What K2 wrote until version 0.1, and others may write on.
inline constexpr std::string_view kTradeV2SchemaJson = R"json({
  "type": "record",
  "name": "TradeV2",
  "namespace": "com.k2.marketdata",
  "doc": "One trade of an exchange, normalised.",
  "fields": [
    {"name": "message_id", "type": "string", "doc": "Identity of the trade; the same whenever the trade comes again."},
    {"name": "trade_id", "type": "string", "doc": "EXCHANGE-id, with the exchange's own id of the trade."},
    {"name": "symbol", "type": "string", "doc": "Normalised: BTCUSDT, BTCUSD."},
    {"name": "exchange", "type": "string", "doc": "BINANCE, KRAKEN."},
    {"name": "asset_class", "type": {"type": "enum", "name": "AssetClass",
      "symbols": ["equities", "crypto", "futures", "options"]}},
    {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"},
      "doc": "When the exchange made the trade."},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 8}},
    {"name": "quantity", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 8}},
    {"name": "currency", "type": "string", "doc": "The quote currency."},
    {"name": "side", "type": {"type": "enum", "name": "TradeSide",
      "symbols": ["BUY", "SELL", "SELL_SHORT", "UNKNOWN"]}, "doc": "The aggressor's side."},
    {"name": "trade_conditions", "type": {"type": "array", "items": "string"}, "default": []},
    {"name": "source_sequence", "type": ["null", "long"], "default": null,
      "doc": "The exchange's own consecutive number, where it gives one."},
    {"name": "ingestion_timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"},
      "doc": "When the trade was received."},
    {"name": "platform_sequence", "type": ["null", "long"], "default": null},
    {"name": "vendor_data", "type": ["null", {"type": "map", "values": "string"}], "default": null,
      "doc": "What the exchange sends beyond these fields."}
  ]
})json";

// A frame that could not be read travels to Bronze as this, whole.
inline constexpr std::string_view kRejectedFrameSchemaJson = R"json({
  "type": "record",
  "name": "RejectedFrame",
  "namespace": "com.k2.marketdata",
  "doc": "A frame of an exchange that could not be read as trades.",
  "fields": [
    {"name": "exchange", "type": "string"},
    {"name": "reason", "type": "string", "doc": "A code of rejected_trades.reason."},
    {"name": "detail", "type": "string", "doc": "What was wrong, for people."},
    {"name": "frame", "type": "bytes", "doc": "The frame as it came."},
    {"name": "receive_timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}}
  ]
})json";

inline constexpr int32_t kOwnSchemaIds[] = {kTradeV2SchemaId, kRejectedFrameSchemaId, kTradeV3SchemaId};

// The schema that K2 itself has under an id, where no registry gives ids.
constexpr std::optional<std::string_view> OwnSchema(int64_t id) {
  switch (id) {
    case kTradeV2SchemaId: return kTradeV2SchemaJson;
    case kRejectedFrameSchemaId: return kRejectedFrameSchemaJson;
    case kTradeV3SchemaId: return kTradeV3SchemaJson;
    default: return std::nullopt;
  }
}

}  // namespace k2::trade
