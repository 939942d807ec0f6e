#include "trade/trade_columns.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "trade/exported_columns.h"
#include "trade/trade_table.h"

namespace k2::trade {
namespace {

TradeRow Row(std::string_view id) {
  TradeRow row;
  row.message_id = id;
  row.trade_id = "BINANCE-1";
  row.symbol = "BTCUSDT";
  row.exchange = "BINANCE";
  row.timestamp_us = 1'723'161'255'342'000;
  row.price_e14 = 6'183'763 * PowerOfTen(12);
  row.quantity_e8 = 1;
  row.currency = "USDT";
  row.side = TradeSide::kSell;
  row.ingestion_timestamp_us = row.timestamp_us + 1;
  return row;
}

TEST(TradeColumns, ExportsTheColumnsOfSilver) {
  TradeColumns columns;
  const std::string_view conditions[] = {"a", "bc"};
  const VendorEntry vendor[] = {{"event_type", "trade"}, {"base_asset", "BTC"}};
  TradeRow row = Row("first");
  row.trade_conditions = conditions;
  row.source_sequence = 7;
  row.vendor_data = vendor;
  row.source = TradeSource::kSnapshot;
  ASSERT_TRUE(columns.Append(row));
  row = Row("second");
  row.timestamp_us = -1;
  row.price_e14 = -5;
  row.platform_sequence = -8;
  row.vendor_data = std::span<const VendorEntry>();
  row.asset_class = AssetClass::kOptions;
  row.side = TradeSide::kSellShort;
  ASSERT_TRUE(columns.Append(row));
  ASSERT_TRUE(columns.Append(Row("third")));
  EXPECT_EQ(columns.rows(), 3U);
  EXPECT_FALSE(columns.Full());
  const Exported out(columns);
  EXPECT_EQ(columns.rows(), 0U);

  // trade_table.h's, with the formats of their types (Arrow's C Data Interface, "Format strings").
  const std::map<ColumnType, std::string> formats = {
      {ColumnType::kString, "u"},          {ColumnType::kLong, "l"},        {ColumnType::kDate, "tdD"},
      {ColumnType::kTimestamp, "tsu:UTC"}, {ColumnType::kPrice, "d:24,14"}, {ColumnType::kQuantity, "d:24,8"},
      {ColumnType::kStringList, "+l"},     {ColumnType::kStringMap, "+m"},
  };
  int64_t at = 0;
  for (const TradeColumn& expected : kTradeColumns) {
    if (expected.gold_only) continue;
    ASSERT_LT(at, out.array.n_children);
    const ArrowSchema& schema = *out.schema.children[at];
    EXPECT_EQ(out.name(at), expected.name);
    EXPECT_EQ(std::string(schema.dictionary == nullptr ? schema.format : schema.dictionary->format),
              formats.at(expected.type));
    EXPECT_EQ((schema.flags & ARROW_FLAG_NULLABLE) == 0, expected.required) << expected.name;
    EXPECT_EQ(out.array.children[at]->length, 3);
    ++at;
  }
  EXPECT_EQ(out.array.n_children, at);
  const auto column = [&](const char* name) { return out.At(name, 0) + "|" + out.At(name, 1) + "|" + out.At(name, 2); };
  EXPECT_EQ(column("message_id"), "first|second|third");
  EXPECT_EQ(column("symbol"), "BTCUSDT|BTCUSDT|BTCUSDT");
  EXPECT_EQ(column("asset_class"), "crypto|options|crypto");
  EXPECT_EQ(column("timestamp"), "2024-08-08T23:54:15.342000Z|1969-12-31T23:59:59.999999Z|2024-08-08T23:54:15.342000Z");
  EXPECT_EQ(column("exchange_date"), "2024-08-08|1969-12-31|2024-08-08");
  EXPECT_EQ(column("price"), "61837.63000000000000|-0.00000000000005|61837.63000000000000");
  EXPECT_EQ(column("side"), "SELL|SELL_SHORT|SELL");
  EXPECT_EQ(column("trade_conditions"), "[a,bc]|[]|[]");
  EXPECT_EQ(column("source_sequence"), "7|null|null");
  EXPECT_EQ(column("source"), "snapshot|null|null");
  EXPECT_EQ(column("platform_sequence"), "null|-8|null");
  EXPECT_EQ(column("vendor_data"), "[event_type=trade,base_asset=BTC]|[]|null");
  EXPECT_EQ(out.array.children[11]->null_count, 2);
  EXPECT_EQ(std::string(out.schema.children[2]->format), "i");
  EXPECT_EQ(std::string(out.schema.children[10]->children[0]->name), "element");
}

TEST(TradeColumns, EmptyExportsAreWhole) {
  for (const bool dictionaries : {true, false}) {
    TradeColumns columns({.dictionaries = dictionaries});
    const Exported out(columns);
    EXPECT_EQ(out.rows(), 0);
    EXPECT_EQ(out.array.n_children, static_cast<int64_t>(kTradeColumns.size()) - 1) << "but exchange_hour";
  }
}

TEST(TradeColumns, EveryLayoutHoldsTheSame) {
  std::mt19937 random(11);
  TradeColumns layouts[] = {TradeColumns(), TradeColumns({.dictionaries = false}),
                            TradeColumns({.dictionary_vendor_values = true})};
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 3000; ++i) {
      const std::string id = std::string(random() % 40, 'x') + std::to_string(i);
      const std::string symbol = "S" + std::to_string(random() % 300);
      std::vector<std::string> texts;
      for (int k = 0; k < 20; ++k) texts.push_back(std::string(random() % 20, static_cast<char>('a' + random() % 3)));
      std::vector<VendorEntry> vendor;
      for (size_t k = 0; k < random() % 10; ++k) vendor.push_back({texts[k], texts[k + 10]});
      TradeRow row = Row(id);
      row.symbol = symbol;
      if (random() % 4 != 0) row.source_sequence = static_cast<int64_t>(random());
      if (random() % 4 != 0) row.vendor_data = vendor;
      if (random() % 2 != 0) row.source = static_cast<TradeSource>(random() % 4);
      for (auto& layout : layouts) ASSERT_TRUE(layout.Append(row));
    }
    const Exported a(layouts[0]);
    const Exported b(layouts[1]);
    const Exported c(layouts[2]);
    EXPECT_EQ(std::string(b.schema.children[2]->format), "u");
    for (int64_t column = 0; column < a.array.n_children; ++column) {
      for (int64_t row = 0; row < a.rows(); ++row) {
        const std::string value = a.At(a.name(column), row);
        ASSERT_EQ(value, b.At(a.name(column), row));
        ASSERT_EQ(value, c.At(a.name(column), row));
      }
    }
  }
}

TEST(TradeColumns, ATextThatIsNotUtf8AddsNothing) {
  const std::string bad = "abcdefgh\xff";
  const std::string_view bad_conditions[] = {"fine", bad};
  const VendorEntry bad_key[] = {{"k", "v"}, {bad, "v"}};
  const VendorEntry bad_value[] = {{"k", "v"}, {"l", bad}};
  const VendorEntry bad_twice[] = {{"k", bad}, {"k", "v"}};
  for (const bool dictionary_values : {true, false}) {
    TradeColumns columns({.dictionary_vendor_values = dictionary_values});
    for (int field = 0; field < 9; ++field) {
      const VendorEntry good[] = {{"k", "v"}};
      TradeRow row = Row("good");
      row.vendor_data = good;
      ASSERT_TRUE(columns.Append(row));
      if (field == 0) row.message_id = bad;
      if (field == 1) row.trade_id = bad;
      if (field == 2) row.symbol = bad;
      if (field == 3) row.exchange = bad;
      if (field == 4) row.currency = bad;
      if (field == 5) row.trade_conditions = bad_conditions;
      if (field == 6) row.vendor_data = bad_key;
      if (field == 7) row.vendor_data = bad_value;
      if (field == 8) row.vendor_data = bad_twice;
      EXPECT_FALSE(columns.Append(row)) << field;
    }
    ASSERT_TRUE(columns.Append(Row("été €𝄞 last one")));
    ASSERT_EQ(columns.rows(), 10U);
    const Exported out(columns);
    for (int64_t i = 0; i < 9; ++i) EXPECT_EQ(out.At("message_id", i) + out.At("vendor_data", i), "good[k=v]");
    EXPECT_EQ(out.At("message_id", 9), "été €𝄞 last one");
    EXPECT_EQ(out.array.children[10]->children[0]->length, 0);
    EXPECT_EQ(out.array.children[14]->children[0]->length, 9);
  }
}

TEST(TradeColumns, OfEqualKeysTheLastCounts) {
  for (const bool dictionary_values : {true, false}) {
    TradeColumns columns({.dictionary_vendor_values = dictionary_values});
    const VendorEntry vendor[] = {{"a", "1"}, {"b", "2"}, {"a", "3"}, {"b", "4"}, {"c", "5"}};
    TradeRow row = Row("id");
    row.vendor_data = vendor;
    ASSERT_TRUE(columns.Append(row));
    ASSERT_TRUE(columns.Append(row));
    const Exported out(columns);
    EXPECT_EQ(out.At("vendor_data", 0), "[a=3,b=4,c=5]");
    EXPECT_EQ(out.At("vendor_data", 1), "[a=3,b=4,c=5]");
  }
}

TEST(TradeColumns, ChildrenCanBeMovedOut) {
  TradeColumns columns;
  ASSERT_TRUE(columns.Append(Row("id")));
  ArrowArray array;
  ArrowSchema schema;
  columns.Export(&array, &schema);
  ArrowArray moved = *array.children[0];
  array.children[0]->release = nullptr;  // the interface's way of moving a child
  array.release(&array);
  EXPECT_EQ(array.release, nullptr);
  EXPECT_EQ(moved.length, 1);
  moved.release(&moved);
  schema.release(&schema);
}

TEST(Text, KnowsUtf8) {
  for (const char* good : {"", "abc", "é", "€", "𝄞", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf", "12345678é"}) {
    EXPECT_TRUE(IsUtf8(good)) << good;
  }
  for (const char* bad : {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xc3", "12345678\xff", "\xe2\x82x"}) {
    EXPECT_FALSE(IsUtf8(bad)) << bad;
  }
}

// As Java's String has them.
TEST(Text, BytesThatAreNoUtf8AreReplaced) {
  EXPECT_EQ(ValidUtf8("12345678é€𝄞"), "12345678é€𝄞");
  EXPECT_EQ(ValidUtf8("a\xff"
                      "b\x80"),
            "a\ufffd"
            "b\ufffd");
  EXPECT_EQ(ValidUtf8("\xe2\x82x\xf0\x9d\x84"), "\ufffdx\ufffd");  // one for all that a broken sequence has
  EXPECT_EQ(ValidUtf8("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");      // a surrogate
  EXPECT_EQ(ValidUtf8("\xc3"), "\ufffd");
}

TEST(Text, CopiesAndComparesEveryLength) {
  std::string text = "The quick brown fox jumps over the lazy dog";
  for (size_t size = 0; size <= text.size(); ++size) {
    std::string copy(size + 1, '#');
    EXPECT_EQ(CopyText(copy.data(), std::string_view(text).substr(0, size)) & kNonAsciiBits, 0U);
    EXPECT_EQ(copy, text.substr(0, size) + "#");
    EXPECT_TRUE(SameText(copy.data(), text.data(), size));
    for (size_t i = 0; i < size; ++i) {
      std::string other = text;
      other[i] = static_cast<char>(other[i] ^ 0x80);
      EXPECT_FALSE(SameText(other.data(), text.data(), size)) << size << " " << i;
      EXPECT_NE(CopyText(copy.data(), std::string_view(other).substr(0, size)) & kNonAsciiBits, 0U) << size << " " << i;
    }
  }
}

}  // namespace
}  // namespace k2::trade
