// The texts of simulated frames.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "exchange/exchange.h"

namespace k2 {

struct SimulatedTrade {
  std::string_view pair;    // as the exchange writes it
  std::string_view stream;  // of Binance: the pair in lower case
  int64_t id = 0;
  int64_t time_us = 0;
  int64_t price_e8 = 0;
  int64_t quantity_e8 = 0;
  bool buy = false;
  bool is_limit = false;
};

// Binance sends one trade a frame, Kraken one or more.
void AppendTradeFrame(Exchange exchange, std::span<const SimulatedTrade> trades, std::string& out);

// A frame that is not of trades, around the market of `trade`.
void AppendOtherFrame(Exchange exchange, const SimulatedTrade& trade, uint64_t variant, std::string& out);

// Spoils a frame of one trade in one of several ways, each of which has its own reason to be rejected, in the frame or
// in Silver. The frame keeps no line end within it.
inline constexpr uint64_t kSpoilings = 12;
void SpoilFrame(Exchange exchange, uint64_t variant, uint64_t random, std::string& frame);

// The receive time and the space that begin a line.
void AppendReceiveTime(int64_t receive_us, int64_t extra_ns, std::string& out);

}  // namespace k2
