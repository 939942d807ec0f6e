#include "recording/simulator.h"

#include <gtest/gtest.h>
#include <unistd.h>
#include <xxhash.h>

#include <filesystem>
#include <set>

#include "base/time.h"
#include "exchange/binance/binance.h"
#include "exchange/kraken/kraken.h"
#include "recording/recording.h"
#include "trade/trade_schema.h"

namespace k2::recording {
namespace {

std::string Lines(const SimulatorOptions& options, SimulatorCounts* counts = nullptr) {
  auto simulator = Simulator::Create(options);
  EXPECT_TRUE(simulator) << simulator.error().message;
  std::string lines;
  while (simulator->NextLine(lines)) {
  }
  if (counts != nullptr) *counts = simulator->counts();
  return lines;
}

std::string HashOf(const std::string& bytes) { return fmt::format("{:016x}", XXH3_64bits(bytes.data(), bytes.size())); }

class FileSession : public testing::TestWithParam<const exchange::Exchange*> {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  std::string path_ = std::filesystem::temp_directory_path() / fmt::format("k2_simulator_{}.zst", getpid());
};

TEST(Simulator, TheSameSeedGivesTheSameBytes) {
  EXPECT_EQ(HashOf(Lines({.trades = 20'000, .seed = 7})), "999711312e39aaeb");
  EXPECT_EQ(HashOf(Lines({.exchange = &exchange::kKrakenExchange, .trades = 20'000, .seed = 7})), "0b2432ecfeaa88ae");
  EXPECT_NE(Lines({.trades = 100, .seed = 7}), Lines({.trades = 100, .seed = 8}));
}

TEST(Simulator, RefusesOptionsWithoutSense) {
  EXPECT_FALSE(Simulator::Create({.trades = -1}));
  EXPECT_FALSE(Simulator::Create({.symbols = 9}));
  EXPECT_FALSE(Simulator::Create({.trades_per_second = 0}) || Simulator::Create({.malformed_ppm = -1}));
}

TEST_P(FileSession, HoldsWhatItsCountsSay) {
  const SimulatorOptions options{.exchange = GetParam(), .trades = 50'000, .malformed_ppm = 5'000};
  const auto counts = SimulateToFile(options, {.path = path_});
  ASSERT_TRUE(counts) << counts.error().message;
  EXPECT_EQ(counts->trades, options.trades);
  EXPECT_GT(counts->duplicate_trades, 10);
  EXPECT_GT(counts->malformed, 50);
  EXPECT_GT(counts->other_frames, 1000);
  auto reader = RecordingReader::Open(*GetParam(), path_);
  ASSERT_TRUE(reader) << reader.error().message;
  std::set<std::string> ids;
  std::set<std::string> symbols;
  int64_t trades = 0;
  while (!(*reader)->AtEnd()) {
    auto batch = (*reader)->Read({.max_messages = 10'000, .max_bytes = 1 << 24});
    ASSERT_TRUE(batch) << batch.error().message;
    for (size_t i = 0; i < batch->size(); ++i) {
      if (batch->payloads[i][4] != trade::kTradeV3SchemaId) continue;
      ++trades;
      ids.emplace(batch->payloads[i].substr(6, 36));
      symbols.emplace(batch->keys[i]);
    }
  }
  const source::SourceCounts read = (*reader)->counts();
  EXPECT_EQ(read.frames, counts->frames);
  EXPECT_EQ(read.bytes, counts->bytes);
  EXPECT_EQ(read.frames_skipped, counts->other_frames);
  EXPECT_EQ(read.messages, counts->trades + counts->duplicate_trades + counts->malformed);
  // Zero prices and negative quantities are numbers: Silver refuses those.
  const int64_t left_to_silver = counts->malformed - read.frames_rejected;
  EXPECT_GT(left_to_silver, 0);
  EXPECT_EQ(trades, counts->trades + counts->duplicate_trades + left_to_silver);
  EXPECT_EQ(static_cast<int64_t>(ids.size()), counts->trades + left_to_silver);
  EXPECT_EQ(symbols.size(), GetParam()->simulated->markets.size());
}

INSTANTIATE_TEST_SUITE_P(Each, FileSession,
                         testing::ValuesIn(exchange::Exchanges().begin(), exchange::Exchanges().end()),
                         [](const auto& one) { return std::string(one.param->name); });

TEST_P(FileSession, LivePacingKeepsToTheRate) {
  const int64_t before = NowMicros();
  const auto counts = SimulateToFile({.trades = 2'000}, {.path = path_, .live_per_second = 10'000});
  ASSERT_TRUE(counts) << counts.error().message;
  const int64_t after = NowMicros();
  EXPECT_GE(after - before, 190'000);
  auto reader = RecordingReader::Open(exchange::kBinanceExchange, path_);
  ASSERT_TRUE(reader);
  const auto batch = (*reader)->Read({.max_messages = 10'000, .max_bytes = 1 << 24});
  ASSERT_TRUE(batch);
  for (const int64_t received : batch->kafka_timestamps_us) {
    EXPECT_GE(received, before);
    EXPECT_LE(received, after + 1'000'000);
  }
}

TEST_P(FileSession, StopsWhenAskedAndAppends) {
  const auto counts =
      SimulateToFile({.trades = 1'000'000}, {.path = path_, .on_progress = [](const auto&) { return false; }});
  ASSERT_TRUE(counts);
  EXPECT_LT(counts->trades, 10'000);
  const auto more = SimulateToFile({.trades = 10, .seed = 2}, {.path = path_, .append = true});
  ASSERT_TRUE(more);
  auto reader = RecordingReader::Open(exchange::kBinanceExchange, path_);
  ASSERT_TRUE(reader);
  while (!(*reader)->AtEnd()) ASSERT_TRUE((*reader)->Read({.max_messages = 10'000, .max_bytes = 1 << 24}));
  EXPECT_EQ((*reader)->counts().frames, counts->frames + more->frames);
}

TEST(SimulateToFile, SaysWhatIsWrongWithThePath) {
  const auto counts = SimulateToFile({.trades = 1}, {.path = "/nowhere/at/all.rec"});
  ASSERT_FALSE(counts);
  EXPECT_EQ(counts.error().kind, ErrorKind::kNotFound);
}

}  // namespace
}  // namespace k2::recording
