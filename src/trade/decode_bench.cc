// Messages of V2 to validated columns, one core: the shape of Binance (seven vendor_data entries, about 263 bytes).
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "trade/decoder.h"
#include "trade/encode.h"
#include "trade/trade_schema.h"

namespace k2::trade {
namespace {

constexpr size_t kMessages = 100'000;
constexpr size_t kBatch = 65'536;

// Messages back to back, as a source hands them on.
struct Messages {
  std::string bytes;
  std::vector<size_t> ends;
};

const Messages& Binance() {
  static const Messages messages = [] {
    constexpr std::string_view kSymbols[] = {"BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT"};
    constexpr std::string_view kBases[] = {"BTC", "ETH", "BNB", "SOL", "XRP"};
    std::mt19937_64 random(1);
    Messages out;
    int64_t time = 1'723'161'255'342'000;
    for (size_t i = 0; i < kMessages; ++i) {
      const size_t symbol = random() % 5;
      time += static_cast<int64_t>(random() % 20) * 1000;
      const std::string millis = std::to_string(time / 1000);
      const std::string trade_id = "BINANCE-" + std::to_string(3'700'000'000 + i);
      const bool maker = random() % 2 == 0;
      const VendorEntry vendor[] = {{"is_buyer_maker", maker ? "true" : "false"},
                                    {"event_type", "trade"},
                                    {"event_time", millis},
                                    {"trade_time", millis},
                                    {"base_asset", kBases[symbol]},
                                    {"quote_asset", "USDT"},
                                    {"is_best_match", "true"}};
      Trade trade;
      for (auto& byte : trade.message_id.bytes) byte = static_cast<uint8_t>(random());
      trade.trade_id = trade_id;
      trade.symbol = kSymbols[symbol];
      trade.exchange = "BINANCE";
      trade.timestamp_us = time;
      trade.price_e14 = 6'000'000'000'000 + static_cast<int64_t>(random() % 10'000'000'000);
      trade.quantity_e8 = 1 + static_cast<int64_t>(random() % 500'000'000);
      trade.currency = "USDT";
      trade.side = maker ? TradeSide::kSell : TradeSide::kBuy;
      trade.source_sequence = 3'700'000'000 + static_cast<int64_t>(i);
      trade.ingestion_timestamp_us = time + 40'123;
      trade.vendor_data = vendor;
      EncodeTrade(trade, kTradeV3SchemaId, out.bytes);
      out.ends.push_back(out.bytes.size());
    }
    return out;
  }();
  return messages;
}

void DecodeAll(benchmark::State& state, std::string_view schema, TradeColumnsOptions options) {
  const Messages& messages = Binance();
  MessageDecoder decoder;
  if (!decoder.AddSchema(kTradeV3SchemaId, schema)) state.SkipWithError("schema");
  TradeColumns columns(options);
  size_t rows = 0;
  for (auto step : state) {
    size_t begin = 0;
    for (const size_t end : messages.ends) {
      const Verdict verdict =
          decoder.Decode(std::string_view(messages.bytes).substr(begin, end - begin), "BINANCE", columns);
      if (!verdict.accepted()) state.SkipWithError("rejected");
      begin = end;
      ++rows;
      if (columns.rows() < kBatch) continue;
      ArrowArray array;
      ArrowSchema arrow_schema;
      columns.Export(&array, &arrow_schema);
      array.release(&array);
      arrow_schema.release(&arrow_schema);
    }
  }
  state.SetItemsProcessed(static_cast<int64_t>(rows));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * messages.bytes.size()));
  state.counters["message_bytes"] = static_cast<double>(messages.bytes.size()) / static_cast<double>(kMessages);
}

void DecodeV2(benchmark::State& state) { DecodeAll(state, kTradeV3SchemaJson, {}); }
void DecodeV2PlainTexts(benchmark::State& state) { DecodeAll(state, kTradeV3SchemaJson, {.dictionaries = false}); }
void DecodeV2VendorValueDictionary(benchmark::State& state) {
  DecodeAll(state, kTradeV3SchemaJson, {.dictionary_vendor_values = true});
}

BENCHMARK(DecodeV2)->Unit(benchmark::kMillisecond);
BENCHMARK(DecodeV2PlainTexts)->Unit(benchmark::kMillisecond);
BENCHMARK(DecodeV2VendorValueDictionary)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace k2::trade

BENCHMARK_MAIN();
