// A seeded market session in the shape of an exchange's feed, as lines of a recording: for the demo, for load, for
// tests. The same options give the same bytes on every machine.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "exchange/registry.h"
#include "exchange/simulated_feed.h"

namespace k2::recording {

// Shares are parts per million of the trade frames.
struct SimulatorOptions {
  const exchange::Exchange* exchange = exchange::Exchanges().front();
  int64_t trades = 1'000'000;  // distinct and valid: what Gold is to hold; the rest comes on top
  uint64_t seed = 1;
  int64_t start_us = 1'704'153'600'000'000;  // 2024-01-02T00:00:00Z
  int64_t trades_per_second = 1'000;         // of the session's time, on average
  int64_t first_id = 1'000'000;              // of each symbol's trades
  size_t symbols = 0;                        // 0: all that the feed has
  int64_t duplicates_ppm = 2'000;            // trades sent again by reconnects that overlap
  int64_t malformed_ppm = 200;               // frames of one trade that is refused, each for one reason
  int64_t other_frames_ppm = 150'000;        // heartbeats, books, tickers
  int64_t multi_trade_ppm = 300'000;         // frames that hold several trades, where the feed has such
  int64_t out_of_order_ppm = 5'000;          // trades that come up to 50 ms late
};

struct SimulatorCounts {
  int64_t trades = 0;            // distinct and valid
  int64_t duplicate_trades = 0;  // sent again
  int64_t malformed = 0;         // one rejected message each, of the frame or in Silver
  int64_t other_frames = 0;
  int64_t frames = 0;  // lines
  int64_t bytes = 0;
  bool operator==(const SimulatorCounts&) const = default;
};

class Simulator {
 public:
  // Error kInvalidArgument: options without sense.
  static Result<Simulator> Create(const SimulatorOptions& options);

  // Appends the next line, its end included; false when all trades were sent.
  bool NextLine(std::string& out);
  // Sets the clock of the session, which otherwise runs by itself: for feeds in real time.
  void SetClock(int64_t now_us) { clock_us_ = now_us; }
  [[nodiscard]] const SimulatorCounts& counts() const { return counts_; }

 private:
  struct Market {
    std::string_view pair;  // as the exchange writes it
    int64_t tick_e8 = 0;    // smallest step of the price
    int64_t start_ticks = 0;
    int64_t lot_e8 = 0;  // smallest step of the quantity
    int64_t ticks = 0;
    int64_t next_id = 0;
  };
  // A trade frame that was sent, as a reconnected feed would send it again.
  struct Sent {
    std::string frame;
    int64_t trades = 0;
  };

  explicit Simulator(const SimulatorOptions& options);
  uint64_t Random();
  int64_t Below(int64_t limit);
  bool Chance(int64_t ppm) { return Below(1'000'000) < ppm; }
  exchange::SimulatedTrade NextTrade(Market& market);
  void AppendTrades(std::string& out);

  SimulatorOptions options_;
  SimulatorCounts counts_;
  std::array<uint64_t, 4> state_{};
  std::vector<Market> markets_;
  int64_t clock_us_ = 0;
  int64_t clock_step_us_ = 0;

  std::vector<Sent> sent_;
  size_t sent_count_ = 0;
  size_t replay_left_ = 0;
  std::vector<exchange::SimulatedTrade> trades_;  // of the frame being written
};

struct SimulationOutput {
  std::string path;     // .gz and .zst are compressed, all else is plain
  bool append = false;  // behind what the file holds, instead of a new file
  // Above 0: this many trades a second of wall clock, received now and flushed at once; their ids begin at the present
  // time, so that a session behind another has new ones.
  int64_t live_per_second = 0;
  std::function<bool(const SimulatorCounts&)> on_progress;  // called many times a second; false stops, cleanly
};

// Runs a session into a recording. Errors: kInvalidArgument, kIo, kNoSpace, kPermission, kNotFound.
Result<SimulatorCounts> SimulateToFile(const SimulatorOptions& options, const SimulationOutput& output);

}  // namespace k2::recording
