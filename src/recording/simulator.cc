#include "recording/simulator.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <span>
#include <thread>

#include "base/time.h"
#include "exchange/frame_writer.h"
#include "recording/recording_writer.h"

namespace k2::recording {
namespace {

constexpr size_t kSentKept = 64;  // frames that an overlap may send again
constexpr int64_t kReplayMax = 32;
constexpr int64_t kReplayMean = (1 + kReplayMax) / 2;
constexpr int64_t kMaxLatenessUs = 50'000;
constexpr size_t kChunkSize = size_t{1} << 18;
constexpr int64_t kLiveTickUs = 5'000;

// The seeding that the authors of xoshiro256** advise: splitmix64.
uint64_t SplitMix(uint64_t& state) {
  uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// The receive time and the space that begin a line.
void AppendReceiveTime(int64_t receive_us, int64_t extra_ns, std::string& out) {
  exchange::FrameWriter w(out, 32);
  w.Number(receive_us).Padded(extra_ns, 3).Text(" ");
}

}  // namespace

Result<Simulator> Simulator::Create(const SimulatorOptions& options) {
  const size_t known = options.exchange->simulated->markets.size();
  if (options.trades < 0) return Fail(ErrorKind::kInvalidArgument, "cannot simulate {} trades", options.trades);
  if (options.symbols > known) {
    return Fail(ErrorKind::kInvalidArgument, "cannot simulate {} symbols of {}: it has {}", options.symbols,
                options.exchange->name, known);
  }
  if (options.trades_per_second < 1 || options.trades_per_second > 1'000'000) {
    return Fail(ErrorKind::kInvalidArgument, "cannot simulate {} trades a second of session time: 1 to 1000000",
                options.trades_per_second);
  }
  for (const int64_t share : {options.duplicates_ppm, options.malformed_ppm, options.other_frames_ppm,
                              options.multi_trade_ppm, options.out_of_order_ppm}) {
    if (share < 0 || share > 900'000) {
      return Fail(ErrorKind::kInvalidArgument, "a share of {} parts per million: 0 to 900000", share);
    }
  }
  return Simulator(options);
}

Simulator::Simulator(const SimulatorOptions& options)
    : options_(options),
      clock_us_(options.start_us + 2 * kMaxLatenessUs),
      clock_step_us_(2 * kMicrosPerSecond / options.trades_per_second) {
  uint64_t seed = options.seed;
  for (uint64_t& word : state_) word = SplitMix(seed);
  const std::span<const exchange::SimulatedMarket> all = options.exchange->simulated->markets;
  for (const exchange::SimulatedMarket& facts : all.first(options.symbols == 0 ? all.size() : options.symbols)) {
    markets_.push_back({.pair = facts.pair,
                        .tick_e8 = facts.tick_e8,
                        .start_ticks = facts.start_ticks,
                        .lot_e8 = facts.lot_e8,
                        .ticks = facts.start_ticks,
                        .next_id = options.first_id});
  }
  sent_.resize(kSentKept);
}

// xoshiro256** (Blackman and Vigna, 2018).
uint64_t Simulator::Random() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

// 0 to limit - 1, for limits far below 2^32.
int64_t Simulator::Below(int64_t limit) {
  return static_cast<int64_t>((Random() >> 32) * static_cast<uint64_t>(limit) >> 32);
}

// Prices walk at random, between half and twice where they began; most quantities are small, few are large.
exchange::SimulatedTrade Simulator::NextTrade(Market& market) {
  const int64_t step = Below(7) - 3;
  market.ticks += step;
  if (market.ticks < market.start_ticks / 2 || market.ticks > 2 * market.start_ticks) market.ticks -= 2 * step;
  static constexpr int64_t kLots[] = {10, 100, 1'000, 1'000, 10'000, 10'000, 100'000, 1'000'000};
  const int64_t lots = 1 + Below(kLots[Below(std::size(kLots))]);
  const uint64_t bits = Random();
  int64_t time_us = clock_us_ - 1'000 - static_cast<int64_t>(bits >> 52);  // 1 to 5 ms on its way
  if (Chance(options_.out_of_order_ppm)) time_us -= Below(kMaxLatenessUs);
  return {.pair = market.pair,
          .id = market.next_id++,
          .time_us = time_us,
          .price_e8 = market.ticks * market.tick_e8,
          .quantity_e8 = lots * market.lot_e8,
          .buy = (bits & 1) != 0,
          .is_limit = (bits & 6) != 0};
}

// A frame of trades of one market, remembered for an overlap.
void Simulator::AppendTrades(std::string& out) {
  const auto last = static_cast<int64_t>(markets_.size());
  Market& market = markets_[static_cast<size_t>(std::min(Below(last), Below(last)))];  // the first ones trade most
  int64_t count = 1;
  const exchange::SimulatedFeed& feed = *options_.exchange->simulated;
  if (feed.trades_in_frame_max > 1 && Chance(options_.multi_trade_ppm)) {
    count = std::min(2 + Below(feed.trades_in_frame_max - 1), options_.trades - counts_.trades);
  }
  trades_.clear();
  for (int64_t i = 0; i < count; ++i) trades_.push_back(NextTrade(market));
  const size_t begin = out.size();
  feed.append_trades(trades_, out);
  counts_.trades += count;
  Sent& sent = sent_[sent_count_++ % kSentKept];
  sent.frame.assign(out, begin);
  sent.trades = count;
}

bool Simulator::NextLine(std::string& out) {
  if (counts_.trades >= options_.trades && replay_left_ == 0) return false;
  const size_t begin = out.size();
  clock_us_ += Below(clock_step_us_ + 1);
  AppendReceiveTime(clock_us_, Below(1000), out);
  if (replay_left_ > 0) {
    const Sent& sent = sent_[(sent_count_ - replay_left_--) % kSentKept];
    out.append(sent.frame);
    counts_.duplicate_trades += sent.trades;
  } else if (Chance(options_.other_frames_ppm)) {
    Market& market = markets_[static_cast<size_t>(Below(static_cast<int64_t>(markets_.size())))];
    const exchange::SimulatedTrade around{.pair = market.pair,
                                          .id = market.next_id,
                                          .time_us = clock_us_,
                                          .price_e8 = market.ticks * market.tick_e8,
                                          .quantity_e8 = market.lot_e8};
    options_.exchange->simulated->append_other(around, Random() >> 32, out);
    counts_.other_frames += 1;
  } else if (Chance(options_.malformed_ppm)) {
    const exchange::SimulatedTrade trade = NextTrade(markets_.front());
    std::string frame;
    options_.exchange->simulated->append_trades({&trade, 1}, frame);
    exchange::SpoilFrame(*options_.exchange->simulated, Random() >> 32, Random() >> 32, frame);
    out.append(frame);
    counts_.malformed += 1;
  } else {
    AppendTrades(out);
    if (Chance(options_.duplicates_ppm / kReplayMean)) {
      replay_left_ = std::min(static_cast<size_t>(1 + Below(kReplayMax)), sent_count_);
    }
  }
  out.push_back('\n');
  counts_.frames += 1;
  counts_.bytes += static_cast<int64_t>(out.size() - begin);
  return true;
}

namespace {

Status RunSession(Simulator& simulator, RecordingWriter& writer, const SimulationOutput& output) {
  std::string chunk;
  for (bool more = true; more;) {
    chunk.clear();
    while (more && chunk.size() < kChunkSize) more = simulator.NextLine(chunk);
    K2_TRY(writer.Append(chunk));
    if (output.on_progress && !output.on_progress(simulator.counts())) break;
  }
  return {};
}

Status RunLive(Simulator& simulator, RecordingWriter& writer, const SimulationOutput& output) {
  const int64_t start = MonotonicMicros();
  std::string chunk;
  for (bool more = true; more;) {
    const int64_t elapsed = MonotonicMicros() - start;
    const int64_t due = elapsed / kMicrosPerSecond * output.live_per_second +
                        elapsed % kMicrosPerSecond * output.live_per_second / kMicrosPerSecond;
    chunk.clear();
    while (more && simulator.counts().trades < due && chunk.size() < kChunkSize) {
      simulator.SetClock(NowMicros());
      more = simulator.NextLine(chunk);
    }
    if (!chunk.empty()) {
      K2_TRY(writer.Append(chunk));
      K2_TRY(writer.Flush());
    }
    if (output.on_progress && !output.on_progress(simulator.counts())) break;
    if (more) std::this_thread::sleep_for(std::chrono::microseconds(kLiveTickUs));
  }
  return {};
}

}  // namespace

Result<SimulatorCounts> SimulateToFile(const SimulatorOptions& options, const SimulationOutput& output) {
  if (output.live_per_second < 0) {
    return Fail(ErrorKind::kInvalidArgument, "cannot write {} trades a second", output.live_per_second);
  }
  SimulatorOptions session = options;
  if (output.live_per_second > 0) {
    session.trades_per_second = 1'000'000;  // the wall clock paces it
    session.first_id = NowMicros();
  }
  K2_ASSIGN(Simulator simulator, Simulator::Create(session));
  K2_ASSIGN(const std::unique_ptr<RecordingWriter> writer, RecordingWriter::Create(output.path, output.append));
  K2_TRY(output.live_per_second > 0 ? RunLive(simulator, *writer, output) : RunSession(simulator, *writer, output));
  K2_TRY(writer->Close());
  return simulator.counts();
}

}  // namespace k2::recording
