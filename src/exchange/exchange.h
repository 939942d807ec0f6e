// What K2 knows of an exchange: one value a venue, in the folder of its name. registry.h lists them all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "exchange/assets.h"

namespace k2::exchange {

class FrameParser;
struct SimulatedFeed;

// What source_sequence of an exchange's trades is, where its feed gives a trade a number.
enum class TradeNumbers : uint8_t {
  kConsecutiveBySymbol,  // one more than that of the symbol's trade before: a gap is a trade that is missing
  kAscending,            // they identify a trade, and a gap tells nothing
};

struct Exchange {
  std::string_view name;          // on command lines, in topics and in source keys: binance
  std::string_view message_name;  // in messages and tables: BINANCE
  std::string_view silver_table;
  // Takes apart a symbol as the exchange writes it. False where it cannot be told; nothing is guessed.
  bool (*split_symbol)(std::string_view symbol, Assets& assets);
  // The common name of an asset that the exchange calls otherwise (Kraken's XBT is BTC), else the name as it is.
  std::string_view (*common_asset)(std::string_view asset);
  std::unique_ptr<FrameParser> (*make_parser)(size_t max_frame_size);
  TradeNumbers trade_numbers;
  const SimulatedFeed* simulated;  // sessions of `k2 simulate`
};

}  // namespace k2::exchange
