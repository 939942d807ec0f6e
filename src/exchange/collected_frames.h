// For tests: a sink that keeps what a parser hands on.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "exchange/frame_parser.h"

namespace k2::exchange {

struct CollectedTrade {
  std::string message_id, trade_id, symbol, exchange, currency;
  int64_t timestamp_us = 0;
  Int128 price_e14 = 0;
  Int128 quantity_e8 = 0;
  trade::TradeSide side = trade::TradeSide::kUnknown;
  std::optional<trade::TradeSource> source;
  std::optional<int64_t> source_sequence;
  int64_t ingestion_timestamp_us = 0;
  std::vector<std::pair<std::string, std::string>> vendor_data;
};

class CollectingSink final : public FrameSink {
 public:
  void OnTrade(const trade::Trade& trade) override {
    CollectedTrade& kept = trades.emplace_back();
    kept.message_id = trade.message_id.ToString();
    kept.trade_id = trade.trade_id;
    kept.symbol = trade.symbol;
    kept.exchange = trade.exchange;
    kept.currency = trade.currency;
    kept.timestamp_us = trade.timestamp_us;
    kept.price_e14 = trade.price_e14;
    kept.quantity_e8 = trade.quantity_e8;
    kept.side = trade.side;
    kept.source = trade.source;
    kept.source_sequence = trade.source_sequence;
    kept.ingestion_timestamp_us = trade.ingestion_timestamp_us;
    for (const trade::VendorEntry& entry : trade.vendor_data) kept.vendor_data.emplace_back(entry.key, entry.value);
  }
  void OnReject(trade::RejectReason reason, std::string_view detail) override {
    rejects.emplace_back(reason, std::string(detail));
  }

  void OnOtherChannel(std::string_view name) override { other_channels.emplace_back(name); }

  std::vector<CollectedTrade> trades;
  std::vector<std::string> other_channels;
  std::vector<std::pair<trade::RejectReason, std::string>> rejects;
};

}  // namespace k2::exchange
