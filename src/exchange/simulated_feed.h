// How a simulated session of an exchange looks (recording/simulator.h plays it): its markets, and the texts of its
// frames.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace k2::exchange {

struct SimulatedMarket {
  std::string_view pair;  // as the exchange writes it
  int64_t tick_e8;        // smallest step of the price
  int64_t start_ticks;
  int64_t lot_e8;  // smallest step of the quantity
};

struct SimulatedTrade {
  std::string_view pair;
  int64_t id = 0;
  int64_t time_us = 0;
  int64_t price_e8 = 0;
  int64_t quantity_e8 = 0;
  bool buy = false;  // the aggressor's side
  bool is_limit = false;
};

// Puts another value behind a key of a trade frame (which no text before it contains; values hold no comma and no
// brace), or leaves the field out where the value is empty.
struct Corruption {
  std::string_view key;
  std::string_view value;
};

struct SimulatedFeed {
  std::span<const SimulatedMarket> markets;  // the first ones trade most
  int64_t trades_in_frame_max;               // 1: each frame holds one trade
  void (*append_trades)(std::span<const SimulatedTrade> trades, std::string& out);
  // A frame that is not of trades, around the market of `trade`.
  void (*append_other)(const SimulatedTrade& trade, uint64_t variant, std::string& out);
  // Each has its own reason to be rejected, in the frame or in Silver.
  std::span<const Corruption> corruptions;
};

// Spoils a frame of one trade in one of several ways: those of the feed, and some that any frame can be spoilt by. The
// frame keeps no line end within it.
void SpoilFrame(const SimulatedFeed& feed, uint64_t variant, uint64_t random, std::string& frame);

}  // namespace k2::exchange
