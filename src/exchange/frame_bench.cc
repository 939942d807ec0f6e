// Frames to V2 messages on one core: parse, normalise, identity, encode.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "base/result.h"
#include "exchange/binance/binance.h"
#include "exchange/frame_parser.h"
#include "exchange/kraken/kraken.h"
#include "trade/encode.h"
#include "trade/identity.h"

namespace {

constexpr int64_t kReceiveUs = 1'723'161'254'087'896;
constexpr size_t kFrames = 4096;

class Encoder final : public k2::exchange::FrameSink {
 public:
  void OnTrade(const k2::trade::Trade& trade) override {
    k2::trade::EncodeTrade(trade, 1, out);
    ++trades;
  }
  void OnReject(k2::trade::RejectReason, std::string_view) override { ++rejects; }
  std::string out;
  int64_t trades = 0;
  int64_t rejects = 0;
};

std::vector<std::string> BinanceFrames() {
  static constexpr const char* kSymbols[] = {"BTCUSDT", "ETHUSDT",  "SOLUSDT", "XRPUSDT",
                                             "BNBUSDC", "DOGEUSDT", "ETHBTC",  "ADATRY"};
  std::vector<std::string> frames;
  for (size_t i = 0; i < kFrames; ++i) {
    frames.push_back(fmt::format(
        R"({{"stream":"btcusdt@trade","data":{{"e":"trade","E":{},"s":"{}","t":{},"p":"{}.{:02}000000","q":"0.{:05}000","T":{},"m":{},"M":true}}}})",
        1723161255343 + i, kSymbols[i * 2654435761U % 8], 3735683259 + i, 61837 + i % 50, i % 100, 1 + i * 7919 % 99999,
        1723161255342 + i, i % 3 == 0));
  }
  return frames;
}

std::vector<std::string> KrakenFrames() {
  std::vector<std::string> frames;
  for (size_t i = 0; i < kFrames; ++i) {
    frames.push_back(fmt::format(
        R"({{"channel":"trade","type":"update","data":[{{"symbol":"BTC/USD","side":"sell","price":{}.4,"qty":0.{:08},"ord_type":"market","trade_id":{},"timestamp":"2019-07-01T00:00:03.172{:03}Z"}}]}})",
        10749 + i % 50, 1 + i * 7919 % 99999999, 4665846 + i, i % 1000));
  }
  return frames;
}

void FramesToMessages(benchmark::State& state, const k2::exchange::Exchange& exchange,
                      const std::vector<std::string>& frames) {
  const auto parser = k2::exchange::FrameParser::Create(exchange);
  Encoder encoder;
  int64_t bytes = 0;
  for (auto _ : state) {
    encoder.out.clear();
    for (const std::string& frame : frames) parser->Parse(frame, kReceiveUs, encoder);
    bytes += static_cast<int64_t>(encoder.out.size());
  }
  if (encoder.rejects > 0) state.SkipWithError("frames were rejected");
  state.SetItemsProcessed(encoder.trades);
  state.counters["bytes/message"] = static_cast<double>(bytes) / static_cast<double>(encoder.trades);
}

void Identity(benchmark::State& state) {
  std::string id = "BINANCE-3735683259";
  for (auto _ : state) {
    id.back() = static_cast<char>('0' + (id.back() - '0' + 1) % 10);
    benchmark::DoNotOptimize(k2::trade::TradeMessageId("BINANCE", "BTCUSDT", id));
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK_CAPTURE(FramesToMessages, binance, k2::exchange::kBinanceExchange, BinanceFrames());
BENCHMARK_CAPTURE(FramesToMessages, kraken_v2, k2::exchange::kKrakenExchange, KrakenFrames());
BENCHMARK(Identity);

}  // namespace

BENCHMARK_MAIN();
