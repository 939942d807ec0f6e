// Real recordings, read in place. What is in them was counted by an independent reading (README of the data).
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "exchange/binance/binance.h"
#include "exchange/coinbase/coinbase.h"
#include "exchange/kraken/kraken.h"
#include "recording/recording.h"
#include "recording/shared_data.h"

namespace k2::recording {
namespace {

struct Real {
  const char* file;
  const exchange::Exchange* exchange;
  size_t trades;
  int64_t lines;
};

void PrintTo(const Real& real, std::ostream* out) { *out << real.file; }

class RealRecording : public testing::TestWithParam<Real> {
 protected:
  void SetUp() override {
    folder_ = FindSharedData(K2_SOURCE_DIR);
    if (folder_.empty()) GTEST_SKIP() << "no shared/data above " K2_SOURCE_DIR "; set K2_SHARED_DATA";
  }
  std::string folder_;
};

TEST_P(RealRecording, GivesEveryTradeOnce) {
  auto reader = RecordingReader::Open(*GetParam().exchange, folder_ + "/" + GetParam().file);
  ASSERT_TRUE(reader) << reader.error().message;
  std::set<std::string> ids;
  size_t messages = 0;
  while (!(*reader)->AtEnd()) {
    auto batch = (*reader)->Read({.max_messages = 1000, .max_bytes = 1 << 20});
    ASSERT_TRUE(batch) << batch.error().message;
    for (size_t i = 0; i < batch->size(); ++i) {
      EXPECT_EQ(batch->offsets[i], static_cast<int64_t>(messages + i));
      const std::string_view payload = batch->payloads[i];
      ASSERT_EQ(payload.substr(0, 5), std::string_view("\0\0\0\0\3", 5));
      ids.emplace(payload.substr(6, 36));
    }
    messages += batch->size();
    EXPECT_EQ(batch->end.next_offset, static_cast<int64_t>(messages));
  }
  EXPECT_EQ(messages, GetParam().trades);
  EXPECT_EQ(ids.size(), GetParam().trades);
  const source::SourceCounts counts = (*reader)->counts();
  EXPECT_EQ(counts.frames, GetParam().lines);
  EXPECT_EQ(counts.frames_rejected, 0);
  EXPECT_EQ(counts.messages, static_cast<int64_t>(messages));
  EXPECT_EQ((*reader)->stored_bytes(), (*reader)->stored_bytes_read());
}

INSTANTIATE_TEST_SUITE_P(
    All, RealRecording,
    testing::Values(Real{"binance_spot_ws/btcusdt_20240808.gz", &exchange::kBinanceExchange, 9757, 41249},
                    Real{"binance_spot_ws/btcusdt_20240809.gz", &exchange::kBinanceExchange, 10147, 58325},
                    Real{"binance_spot_ws/ethusdt_20240808.gz", &exchange::kBinanceExchange, 6106, 33618},
                    Real{"kraken/ws_v1_20210417.gz", &exchange::kKrakenExchange, 10, 4430},
                    Real{"kraken/ws_v2_reframed_20190701.gz", &exchange::kKrakenExchange, 2672, 1251},
                    Real{"coinbase/coinbase_exchange_20210417.gz", &exchange::kCoinbaseExchange, 107, 9946}));

}  // namespace
}  // namespace k2::recording
