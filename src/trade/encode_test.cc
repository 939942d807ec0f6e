#include "trade/encode.h"

#include <gtest/gtest.h>

#include "trade/identity.h"

namespace k2::trade {
namespace {

std::string Hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  for (const char c : bytes) {
    hex += kDigits[static_cast<uint8_t>(c) >> 4];
    hex += kDigits[static_cast<uint8_t>(c) & 15];
  }
  return hex;
}

Trade Example() {
  Trade trade;
  EXPECT_TRUE(Uuid::Parse("85cb576c-4aad-52dc-8859-673926c79977", trade.message_id));
  trade.trade_id = "BINANCE-3735683259";
  trade.symbol = "BTCUSDT";
  trade.exchange = "BINANCE";
  trade.timestamp_us = 1'723'161'255'342'000;
  trade.price_e14 = 6'183'763 * PowerOfTen(12);
  trade.quantity_e8 = -129;
  trade.currency = "USDT";
  trade.side = TradeSide::kSell;
  trade.source_sequence = 3735683259;
  trade.ingestion_timestamp_us = 1'723'161'254'087'896;
  return trade;
}

// The bodies were written by fastavro from the same values.
TEST(Encode, TradeIsWhatFastavroWrites) {
  const std::string_view conditions[] = {"a", "bc"};
  const VendorEntry vendor[] = {{"is_buyer_maker", "true"}, {"x", ""}};
  Trade trade = Example();
  trade.trade_conditions = conditions;
  trade.vendor_data = vendor;
  trade.source = TradeSource::kArchive;
  std::string out = "before";
  EncodeTrade(trade, 0x01020304, out);
  EXPECT_EQ(out.substr(0, 6), "before");
  EXPECT_EQ(Hex(out.substr(6, 5)), "0001020304");
  EXPECT_EQ(Hex(out.substr(11)),
            "4838356362353736632d346161642d353264632d383835392d3637333932366337393937372442494e414e43452d3337"
            "33353638333235390e425443555344540e42494e414e434502e0be9fe897cd8f061055d123af7e34300004ff7f085553"
            "4454020402610462630002f682d0ea1bb0b386e797cd8f060002041c69735f62757965725f6d616b6572087472756502"
            "7800000206");
}

TEST(Encode, NullsEmptyListsAndTheEdgesOfDecimals) {
  Trade trade = Example();
  trade.price_e14 = 127;
  trade.quantity_e8 = LimitOf(kQuantityType) - 1;
  trade.source_sequence.reset();
  trade.platform_sequence = 5;
  trade.side = TradeSide::kUnknown;
  std::string out;
  EncodeTrade(trade, 1, out);
  EXPECT_EQ(Hex(out.substr(5)),
            "4838356362353736632d346161642d353264632d383835392d3637333932366337393937372442494e414e43452d3337"
            "33353638333235390e425443555344540e42494e414e434502e0be9fe897cd8f06027f1600d3c21bcecceda0ffffff08"
            "55534454060000b0b386e797cd8f06020a0000");
  const Int128 k63 = Int128{1} << 63;
  const std::pair<Int128, const char*> edges[] = {
      {k63 - 1, "107fffffffffffffff"},    {k63, "12008000000000000000"},
      {-k63, "108000000000000000"},  // fastavro writes a byte more, which is legal, too
      {-k63 - 1, "12ff7fffffffffffffff"}, {1 - LimitOf(kPriceType), "16ff2c3de43133125f000001"},
  };
  for (const auto& [price, bytes] : edges) {
    trade.price_e14 = price;
    out.clear();
    EncodeTrade(trade, 1, out);
    EXPECT_NE(Hex(out).find("06" + std::string(bytes) + "16"), std::string::npos) << bytes << " in " << Hex(out);
  }
}

// A text that is empty has no address either: what a currency is where none can be told.
TEST(Encode, TextsWithoutAnAddress) {
  Trade trade = Example();
  trade.currency = {};
  ASSERT_EQ(trade.currency.data(), nullptr);
  std::string without;
  EncodeTrade(trade, 1, without);
  trade.currency = "";
  std::string empty;
  EncodeTrade(trade, 1, empty);
  EXPECT_EQ(without, empty);
  EXPECT_EQ(TradeMessageId({}, {}, {}).ToString(), TradeMessageId("", "", "").ToString());
}

TEST(Encode, ARowIsTheSameMessage) {
  const VendorEntry vendor[] = {{"x", "y"}};
  Trade trade = Example();
  TradeRow row{.message_id = "85cb576c-4aad-52dc-8859-673926c79977",
               .trade_id = trade.trade_id,
               .symbol = trade.symbol,
               .exchange = trade.exchange,
               .timestamp_us = trade.timestamp_us,
               .price_e14 = trade.price_e14,
               .quantity_e8 = trade.quantity_e8,
               .currency = trade.currency,
               .side = trade.side,
               .source_sequence = trade.source_sequence,
               .ingestion_timestamp_us = trade.ingestion_timestamp_us};
  for (const auto& entries : {std::span<const VendorEntry>{}, std::span<const VendorEntry>(vendor)}) {
    trade.vendor_data = entries;
    if (!entries.empty()) row.vendor_data = entries;
    trade.source = row.source = entries.empty() ? std::nullopt : std::optional(TradeSource::kRest);
    std::string of_trade;
    std::string of_row;
    EncodeTrade(trade, 1, of_trade);
    EncodeTrade(row, 1, of_row);
    EXPECT_EQ(Hex(of_row), Hex(of_trade));
  }
  // Null, and a map without entries, are two things; and an id need not be a UUID.
  row.message_id = "any";
  std::string none;
  std::string empty;
  row.vendor_data.reset();
  row.source.reset();
  EncodeTrade(row, 1, none);
  row.vendor_data.emplace();
  EncodeTrade(row, 1, empty);
  EXPECT_EQ(Hex(none.substr(5, 4)), "06616e79");
  EXPECT_EQ(Hex(empty), Hex(none.substr(0, none.size() - 2)) + "020000");
}

TEST(Encode, RejectedFrameIsWhatFastavroWrites) {
  std::string out;
  EncodeRejectedFrame({.exchange = "KRAKEN",
                       .reason = RejectReason::kFrameNotJson,
                       .detail = "why",
                       .frame = std::string_view("\xff\0{", 3),
                       .receive_timestamp_us = 7},
                      2, out);
  EXPECT_EQ(Hex(out.substr(0, 5)), "0000000002");
  EXPECT_EQ(Hex(out.substr(5)), "0c4b52414b454e1c6672616d655f6e6f745f6a736f6e0677687906ff007b0e");
}

// Made by Python's uuid.uuid5; the name is 37, 39, 40, 103, 104 and more bytes long, around the ends of SHA-1's blocks.
TEST(Identity, HasTestVectors) {
  EXPECT_EQ(TradeMessageId("BINANCE", "BTCUSDT", "BINANCE-3735683259").ToString(),
            "85cb576c-4aad-52dc-8859-673926c79977");
  EXPECT_EQ(TradeMessageId("KRAKEN", "BTCUSD", "KRAKEN-4665846").ToString(), "8821ea69-f07c-5a91-984b-151ba7a2b2f8");
  EXPECT_EQ(
      TradeMessageId("KRAKEN", "XMRUSD", "KRAKEN-XMR/USD:1618678142.557535:354.11000000:0.89594024:s:0").ToString(),
      "fa775d4e-2af9-505d-82a9-6834f10adc29");
  EXPECT_EQ(TradeMessageId("E", std::string(300, 'S'), "T").ToString(), "80fdd81c-4f7b-5f68-9d69-1a96a9ecf9e8");
  EXPECT_EQ(NameUuid(kTradeNamespace, std::string(39, 'x')).ToString(), "d60e28d2-6655-5891-bd30-3f0bb78f0c19");
  EXPECT_EQ(NameUuid(kTradeNamespace, std::string(40, 'x')).ToString(), "6201d0b8-7ed2-54b4-b26e-483c2ebfc17e");
  EXPECT_EQ(NameUuid(kTradeNamespace, std::string(103, 'x')).ToString(), "d358599e-6971-5606-9495-47f15b13918a");
  EXPECT_EQ(NameUuid(kTradeNamespace, std::string(104, 'x')).ToString(), "3e4623d1-4c32-5bbd-81e4-cdcbf6e5d9dc");
  EXPECT_EQ(NameUuid(kTradeNamespace, std::string(250, 'x')).ToString(), "40b78431-75ac-5c3e-a220-9445e922264d");
  EXPECT_EQ(NameUuid(kTradeNamespace, "").ToString(), "a900522b-d3d7-59da-9e41-4ea5e138bb4d");
}

}  // namespace
}  // namespace k2::trade
