"""K2's own messages: their schemas, as far as reading goes (docs/messages.md), and the ids they have in recordings."""

from __future__ import annotations

TRADE_SCHEMA_ID = 1
REJECTED_FRAME_SCHEMA_ID = 2

TRADE_SCHEMA = """{
  "type": "record", "name": "TradeV2", "namespace": "com.k2.marketdata",
  "fields": [
    {"name": "message_id", "type": "string"},
    {"name": "trade_id", "type": "string"},
    {"name": "symbol", "type": "string"},
    {"name": "exchange", "type": "string"},
    {"name": "asset_class", "type": {"type": "enum", "name": "AssetClass",
      "symbols": ["equities", "crypto", "futures", "options"]}},
    {"name": "timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 8}},
    {"name": "quantity", "type": {"type": "bytes", "logicalType": "decimal", "precision": 18, "scale": 8}},
    {"name": "currency", "type": "string"},
    {"name": "side", "type": {"type": "enum", "name": "TradeSide",
      "symbols": ["BUY", "SELL", "SELL_SHORT", "UNKNOWN"]}},
    {"name": "trade_conditions", "type": {"type": "array", "items": "string"}, "default": []},
    {"name": "source_sequence", "type": ["null", "long"], "default": null},
    {"name": "ingestion_timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    {"name": "platform_sequence", "type": ["null", "long"], "default": null},
    {"name": "vendor_data", "type": ["null", {"type": "map", "values": "string"}], "default": null}
  ]
}"""

REJECTED_FRAME_SCHEMA = """{
  "type": "record", "name": "RejectedFrame", "namespace": "com.k2.marketdata",
  "fields": [
    {"name": "exchange", "type": "string"},
    {"name": "reason", "type": "string"},
    {"name": "detail", "type": "string"},
    {"name": "frame", "type": "bytes"},
    {"name": "receive_timestamp", "type": {"type": "long", "logicalType": "timestamp-micros"}}
  ]
}"""
