#include "trade/decoder.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "avro/decode_plan.h"
#include "avro/generic.h"
#include "avro/schema.h"
#include "trade/encode.h"
#include "trade/exported_columns.h"
#include "trade/trade_schema.h"
#include "trade/trade_table.h"

namespace k2::trade {
namespace {

using avro::Schema;
using avro::Value;
using List = Value::List;
using Map = Value::Map;
using std::string_literals::operator""s;

constexpr int64_t kTime = 1'723'161'255'342'000;

// Big-endian two's complement in as few bytes as there can be.
std::string Decimal(Int128 unscaled) {
  std::string bytes;
  for (int shift = 120; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(unscaled >> shift));
  while (bytes.size() > 1 && (static_cast<uint8_t>(bytes[0]) == (bytes[1] < 0 ? 0xff : 0))) bytes.erase(0, 1);
  return bytes;
}

// The fields of a trade that is accepted, by name.
std::map<std::string, Value> Fields() {
  return {{"message_id", "id"},
          {"trade_id", "BINANCE-1"},
          {"symbol", "BTCUSDT"},
          {"exchange", "BINANCE"},
          {"asset_class", "crypto"},
          {"timestamp", kTime},
          {"price", Decimal(6'183'763 * PowerOfTen(12))},
          {"quantity", Decimal(150'000)},
          {"currency", "USDT"},
          {"side", "SELL"},
          {"trade_conditions", List{}},
          {"source_sequence", Value(1)},
          {"ingestion_timestamp", kTime + 1},
          {"platform_sequence", Value()},
          {"vendor_data", Map{{"k", "v"}}},
          {"source", "rest"}};
}

std::string Frame(int32_t id, std::string_view body) {
  std::string message = "\0"s;
  for (int shift = 24; shift >= 0; shift -= 8) message.push_back(static_cast<char>(id >> shift));
  return message.append(body);
}

// A message written in any schema from the fields by name; fields it does not know are left out.
std::string Message(int32_t id, const Schema& schema, const std::map<std::string, Value>& fields) {
  List values;
  for (const avro::Field& field : schema.root().fields) values.push_back(fields.at(field.name));
  std::string body;
  const Status status = avro::Encode(schema.root(), values, body);
  EXPECT_TRUE(status) << status.error().message;
  return Frame(id, body);
}

class Decoder : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(decoder_.AddSchema(kTradeV3SchemaId, kTradeV3SchemaJson));
    ASSERT_TRUE(decoder_.AddSchema(kRejectedFrameSchemaId, kRejectedFrameSchemaJson));
  }

  std::string With(const std::string& field, Value value) {
    auto fields = Fields();
    fields[field] = std::move(value);
    return Message(kTradeV3SchemaId, schema_, fields);
  }

  // The reason's text; "none" when a row was added.
  std::string Judge(std::optional<std::string_view> message, std::string_view exchange = "BINANCE") {
    const size_t before = columns_.rows();
    verdict_ = decoder_.Decode(message, exchange, columns_);
    EXPECT_EQ(columns_.rows(), before + (verdict_.accepted() ? 1 : 0));
    EXPECT_TRUE(verdict_.accepted() || !decoder_.detail().empty());
    return std::string(ToString(verdict_.reason));
  }
  std::optional<CarriedFrame> FrameIn(std::string_view message) {
    return decoder_.FrameOf(message, FramingOf({}, message));
  }
  std::string JudgeWith(const std::string& field, Value value) { return Judge(With(field, std::move(value))); }

  Schema schema_ = Schema::Parse(kTradeV3SchemaJson).value();
  MessageDecoder decoder_;
  TradeColumns columns_;
  Verdict verdict_;
};

TEST_F(Decoder, AddsTheRowOfATrade) {
  Trade trade;
  ASSERT_TRUE(Uuid::Parse("8f8ee7bd-8a8e-5a0e-a0f3-0c5ee0d0c7e1", trade.message_id));
  const VendorEntry vendor[] = {{"is_buyer_maker", "true"}, {"base_asset", "BTC"}};
  const std::string_view conditions[] = {"x", "y"};
  trade.trade_id = "BINANCE-37";
  trade.symbol = "BTCUSDT";
  trade.exchange = "BINANCE";
  trade.timestamp_us = kTime;
  trade.price_e14 = 6'183'763 * PowerOfTen(12) + 1;
  trade.quantity_e8 = LimitOf(kQuantityType) - 1;
  trade.currency = "USDT";
  trade.side = TradeSide::kBuy;
  trade.trade_conditions = conditions;
  trade.source_sequence = 37;
  trade.ingestion_timestamp_us = kTime + 5;
  trade.vendor_data = vendor;
  trade.source = TradeSource::kSnapshot;
  std::string message;
  EncodeTrade(trade, kTradeV3SchemaId, message);
  ASSERT_EQ(Judge(message), "none") << decoder_.detail();
  EXPECT_EQ(verdict_.schema_id, kTradeV3SchemaId);
  const Exported out(columns_);
  std::string row;
  for (int64_t i = 0; i < out.array.n_children; ++i) row += out.At(out.name(i), 0) + "|";
  EXPECT_EQ(row,
            "8f8ee7bd-8a8e-5a0e-a0f3-0c5ee0d0c7e1|BINANCE-37|BTCUSDT|BINANCE|crypto|2024-08-08T23:54:15.342000Z|"
            "61837.63000000000001|9999999999999999.99999999|USDT|BUY|[x,y]|37|2024-08-08T23:54:15.342005Z|null|"
            "[is_buyer_maker=true,base_asset=BTC]|snapshot|2024-08-08|");
}

TEST_F(Decoder, RejectsWhatIsNoMessage) {
  EXPECT_EQ(Judge(std::nullopt), "null_value");
  EXPECT_EQ(verdict_.schema_id, std::nullopt);
  for (const std::string& bytes : {""s, "\0"s, "\0\0\0\0"s, "\1\0\0\0\1x"s, "{\"e\":\"trade\"}"s}) {
    EXPECT_EQ(Judge(bytes), "not_framed");
    EXPECT_EQ(verdict_.schema_id, std::nullopt);
  }
  EXPECT_EQ(Judge(Frame(99, "x")), "unknown_schema_id");
  EXPECT_EQ(verdict_.schema_id, 99);
  EXPECT_FALSE(decoder_.HasSchema(99));
  EXPECT_EQ(Judge(Frame(-2, "x")), "unknown_schema_id");
  const std::string large = With("currency", std::string(kMaxMessageSize, 'x'));
  EXPECT_EQ(Judge(large), "oversized");
  std::string largest = With("currency", std::string(kMaxMessageSize - 300, 'x'));
  largest = With("currency", std::string(kMaxMessageSize - 300 + kMaxMessageSize - largest.size(), 'x'));
  ASSERT_EQ(largest.size(), kMaxMessageSize);
  EXPECT_EQ(Judge(largest), "none");
}

constexpr std::string_view kGuid("\x89\x79\x1e\x5c\x4b\x6a\x4d\x21\x9f\x60\x00\xab\xcd\xef\xff\x02", 16);

// What a message names and nobody has is told, so that somebody can find the schema.
TEST_F(Decoder, NamesTheSchemaThatNobodyHas) {
  const std::pair<SchemaRef, std::string_view> named[] = {
      {SchemaRef::OfGuid(kGuid), "no schema has the GUID 89791e5c-4b6a-4d21-9f60-00abcdefff02"},
      {{SchemaRef::Kind::kGlobalId, 7}, "no schema has the global id 7"},
      {{SchemaRef::Kind::kContentId, kTradeV3SchemaId}, "no schema has the content id 3"},
      {99, "no schema has the id 99"}};
  for (const auto& [ref, detail] : named) {
    verdict_ = decoder_.Decode("body", MessageFraming{.schema = ref}, "BINANCE", columns_);
    EXPECT_EQ(verdict_.reason, RejectReason::kUnknownSchemaId);
    EXPECT_EQ(decoder_.detail(), detail);
    EXPECT_EQ(verdict_.schema_id.has_value(), ref.kind == SchemaRef::Kind::kId);
  }
  EXPECT_EQ(Judge("\1"s + std::string(kGuid) + "body"), "unknown_schema_id");
}

// A body is the same trade whatever names its schema; places in details are those of the value.
TEST_F(Decoder, DecodesWhateverNamesTheSchema) {
  const std::string message = With("symbol", "BTCUSDT");
  const std::string body = message.substr(kConfluentHeaderSize);
  const SchemaRef guid = SchemaRef::OfGuid(kGuid);
  const SchemaRef global(SchemaRef::Kind::kGlobalId, 7);
  for (const SchemaRef& ref : {guid, global}) ASSERT_TRUE(decoder_.AddSchema(ref, kTradeV3SchemaJson));
  for (const SchemaRef& ref : {guid, global, SchemaRef(kTradeV3SchemaId), guid}) {
    verdict_ = decoder_.Decode(body, MessageFraming{.schema = ref}, "BINANCE", columns_);
    EXPECT_TRUE(verdict_.accepted()) << ToString(ref) << ": " << decoder_.detail();
  }
  EXPECT_EQ(Judge("\1"s + std::string(kGuid) + body), "none") << decoder_.detail();
  EXPECT_EQ(Judge(message), "none");
  EXPECT_EQ(columns_.rows(), 6U);
  const Exported out(columns_);
  for (int64_t row = 0; row < 6; ++row) EXPECT_EQ(out.At("symbol", row), "BTCUSDT");

  const std::string cut = body.substr(0, body.size() - 1);
  const auto place = [&](size_t bytes) { return decoder_.detail().ends_with(fmt::format("at byte {}", bytes)); };
  verdict_ = decoder_.Decode(cut, MessageFraming{.schema = guid}, "BINANCE", columns_);
  EXPECT_EQ(verdict_.reason, RejectReason::kTruncated);
  EXPECT_TRUE(place(cut.size())) << decoder_.detail();
  EXPECT_EQ(Judge("\1"s + std::string(kGuid) + cut), "truncated");
  EXPECT_TRUE(place(cut.size() + 17)) << decoder_.detail();
  EXPECT_EQ(decoder_.AddSchema(guid, "\"int\"").error().kind, ErrorKind::kInvalidArgument);
  EXPECT_TRUE(decoder_.HasSchema(guid));
  EXPECT_FALSE(decoder_.HasSchema(SchemaRef(SchemaRef::Kind::kContentId, 7)));
}

TEST_F(Decoder, RejectsBrokenBodies) {
  const std::string message = With("symbol", "BTCUSDT");
  ASSERT_EQ(Judge(message), "none");
  for (size_t size = kConfluentHeaderSize; size < message.size(); ++size) {
    EXPECT_EQ(Judge(message.substr(0, size)), "truncated") << size;
  }
  EXPECT_EQ(Judge(message + "x"), "trailing_bytes");
  EXPECT_EQ(Judge(Frame(kTradeV3SchemaId, "\x01")), "malformed");
  EXPECT_EQ(Judge(Frame(kTradeV3SchemaId, std::string(20, '\xff'))), "malformed");
  EXPECT_EQ(JudgeWith("price", ""), "malformed");
}

TEST_F(Decoder, RejectsTextsThatAreNotUtf8) {
  for (const char* field : {"message_id", "trade_id", "symbol", "exchange", "currency"}) {
    EXPECT_EQ(JudgeWith(field, "a\xff"), "invalid_utf8") << field;
  }
  EXPECT_EQ(JudgeWith("trade_conditions", List{"\x80"}), "invalid_utf8");
  EXPECT_EQ(JudgeWith("vendor_data", Map{{"k", "\xc3"}}), "invalid_utf8");
  EXPECT_EQ(JudgeWith("vendor_data", Map{{"\xc3", "v"}}), "invalid_utf8");
  auto fields = Fields();  // before the rules, whatever the columns have seen
  fields["symbol"] = "\xff";
  fields["price"] = Decimal(0);
  EXPECT_EQ(Judge(Message(kTradeV3SchemaId, schema_, fields)), "invalid_utf8");
  EXPECT_EQ(JudgeWith("symbol", "ÅÄÖ"), "none");
}

TEST_F(Decoder, RejectsEmptyNamesAndOtherExchanges) {
  EXPECT_EQ(JudgeWith("message_id", ""), "empty_message_id");
  EXPECT_EQ(JudgeWith("trade_id", ""), "empty_trade_id");
  EXPECT_EQ(JudgeWith("symbol", ""), "empty_symbol");
  EXPECT_EQ(JudgeWith("exchange", ""), "empty_exchange");
  EXPECT_EQ(JudgeWith("exchange", "KRAKEN"), "exchange_mismatch");
  EXPECT_EQ(JudgeWith("exchange", "BINANC"), "exchange_mismatch");
  EXPECT_EQ(JudgeWith("currency", ""), "none");
  const std::string kraken = With("exchange", "KRAKEN");
  EXPECT_EQ(Judge(kraken, "KRAKEN"), "none");
}

TEST_F(Decoder, RejectsSidesAndAssetClasses) {
  EXPECT_EQ(JudgeWith("side", "BUY"), "none");
  EXPECT_EQ(JudgeWith("side", "SELL_SHORT"), "invalid_side");
  EXPECT_EQ(JudgeWith("side", "UNKNOWN"), "invalid_side");
  EXPECT_EQ(JudgeWith("asset_class", "equities"), "invalid_asset_class");
  EXPECT_EQ(JudgeWith("asset_class", "options"), "invalid_asset_class");
}

TEST_F(Decoder, DecimalsUpToTheirLimits) {
  static_assert(LimitOf(kPriceType) == LimitOf(kQuantityType));
  constexpr Int128 kLimit = LimitOf(kPriceType);
  const std::pair<std::string, const char*> cases[] = {
      {Decimal(1), "none"},
      {Decimal(0), "not_positive"},
      {Decimal(-1), "not_positive"},
      {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"s, "none"},  // padded with sign bytes
      {std::string(40, '\0') + "\x7f", "none"},
      {std::string(12, '\xff'), "not_positive"},
      {std::string(30, '\xff'), "not_positive"},
      {"\0"s, "not_positive"},
      {std::string(20, '\0'), "not_positive"},
      {Decimal(std::numeric_limits<int64_t>::max()), "none"},
      {"\0\x80\0\0\0\0\0\0\0"s, "none"},  // 2^63
      {"\1\0\0\0\0\0\0\0\0"s, "none"},    // 2^64
      {Decimal(kLimit - 1), "none"},
      {std::string(3, '\0') + Decimal(kLimit - 1), "none"},
      {std::string(30, '\0') + Decimal(kLimit - 1), "none"},
      {Decimal(kLimit), "out_of_range"},
      {Decimal(std::numeric_limits<Int128>::max()), "out_of_range"},
      {"\0\x80"s + std::string(15, '\0'), "out_of_range"},  // 2^127
      {"\1"s + std::string(16, '\0'), "out_of_range"},      // 2^128
      {"\x7f" + std::string(30, '\xff'), "out_of_range"},
      {Decimal(-kLimit), "not_positive"},
      {"\x80" + std::string(7, '\0'), "not_positive"},
      {"\x80" + std::string(30, '\0'), "not_positive"},
      {"\xff\x7f" + std::string(15, '\xff'), "not_positive"},
  };
  for (const auto& [bytes, expected] : cases) {
    const bool accepted = std::string(expected) == "none";
    EXPECT_EQ(JudgeWith("price", bytes), accepted ? "none" : "price_"s + expected) << decoder_.detail();
    EXPECT_EQ(JudgeWith("quantity", bytes), accepted ? "none" : "quantity_"s + expected) << decoder_.detail();
  }
  EXPECT_EQ(JudgeWith("quantity", Decimal(kLimit)), "quantity_out_of_range");
  EXPECT_EQ(decoder_.detail(), "quantity is 10^16 or more");
}

// A table of the older format takes what it holds exactly, by the rules of then.
TEST_F(Decoder, NumbersThatATableOfTheOlderFormatCannotHold) {
  TradeColumns older({.numbers_of_v2 = true});
  const auto judge = [&](const std::string& field, Int128 value) {
    return std::string(ToString(decoder_.Decode(With(field, Decimal(value)), "BINANCE", older).reason));
  };
  EXPECT_EQ(judge("price", PowerOfTen(6)), "none") << "0.00000001";
  EXPECT_EQ(judge("price", LimitOf(kPriceType) - PowerOfTen(6)), "none") << "9999999999.99999999";
  EXPECT_EQ(judge("quantity", PowerOfTen(18) - 1), "none");
  EXPECT_EQ(older.rows(), 3U);
  EXPECT_EQ(judge("price", 1), "price_out_of_range");
  EXPECT_NE(decoder_.detail().find("price is 0.00000000000001"), std::string::npos) << decoder_.detail();
  EXPECT_NE(decoder_.detail().find("k2 tables migrate"), std::string::npos) << decoder_.detail();
  EXPECT_EQ(judge("price", PowerOfTen(14) + 1), "price_out_of_range");
  EXPECT_EQ(judge("quantity", PowerOfTen(18)), "quantity_out_of_range");
  EXPECT_EQ(judge("price", 0), "price_not_positive");
  EXPECT_EQ(older.rows(), 3U);
}

// As K2 wrote it until 0.1: id 1, the same numbers at another scale, and no source.
TEST_F(Decoder, ReadsMessagesOfV2) {
  ASSERT_TRUE(decoder_.AddSchema(kTradeV2SchemaId, kTradeV2SchemaJson));
  auto fields = Fields();
  const Schema schema = *Schema::Parse(kTradeV2SchemaJson);
  const auto judge = [&](Int128 price, Int128 quantity) {
    fields["price"] = Decimal(price);
    fields["quantity"] = Decimal(quantity);
    return Judge(Message(kTradeV2SchemaId, schema, fields));
  };
  EXPECT_EQ(judge(6'183'763'000'001, PowerOfTen(18) - 1), "none") << decoder_.detail();
  EXPECT_EQ(judge(PowerOfTen(18) - 1, 1), "none");
  EXPECT_EQ(judge(PowerOfTen(18), 1), "price_out_of_range");
  EXPECT_EQ(judge(1, PowerOfTen(18)), "none") << "the bytes hold what the column does, whatever V2's precision says";
  const Exported out(columns_);
  EXPECT_EQ(out.At("price", 0), "61837.63000001000000");
  EXPECT_EQ(out.At("quantity", 0), "9999999999.99999999");
  EXPECT_EQ(out.At("price", 1), "9999999999.99999999000000");
  EXPECT_EQ(out.At("source", 0), "null");
}

// Others have fields of that name, too.
TEST_F(Decoder, ASourceThatIsNoneOfOursIsNull) {
  auto json = nlohmann::json::parse(kTradeV3SchemaJson);
  json["fields"].back()["type"][1]["symbols"] = {"stream", "telepathy"};
  const std::string text = json.dump();
  ASSERT_TRUE(decoder_.AddSchema(7, text));
  auto fields = Fields();
  fields["source"] = "stream";
  EXPECT_EQ(Judge(Message(7, *Schema::Parse(text), fields)), "none") << decoder_.detail();
  fields["source"] = "telepathy";
  EXPECT_EQ(Judge(Message(7, *Schema::Parse(text), fields)), "none") << decoder_.detail();
  fields["source"] = Value();
  EXPECT_EQ(Judge(Message(7, *Schema::Parse(text), fields)), "none") << decoder_.detail();
  const Exported out(columns_);
  EXPECT_EQ(out.At("source", 0), "stream");
  EXPECT_EQ(out.At("source", 1), "null");
  EXPECT_EQ(out.At("source", 2), "null");
  EXPECT_EQ(out.At("vendor_data", 1), "[k=v]");
}

TEST_F(Decoder, AFieldNamedSourceOfAnotherType) {
  auto json = nlohmann::json::parse(kTradeV2SchemaJson);
  auto fields = Fields();
  fields["price"] = Decimal(6'183'763'000'000);
  int32_t id = 20;
  for (const auto& [type, value] : std::vector<std::pair<const char*, Value>>{
           {R"("string")", Value("the wire")}, {R"(["null","string"])", Value()}, {R"("int")", Value(7)}}) {
    auto other = json;
    other["fields"].push_back({{"name", "source"}, {"type", nlohmann::json::parse(type)}});
    const std::string text = other.dump();
    ASSERT_TRUE(decoder_.AddSchema(++id, text)) << type;
    fields["source"] = value;
    EXPECT_EQ(Judge(Message(id, *Schema::Parse(text), fields)), "none") << type << ": " << decoder_.detail();
  }
  const Exported out(columns_);
  for (int64_t row = 0; row < out.rows(); ++row) {
    EXPECT_EQ(out.At("source", row), "null");
    EXPECT_EQ(out.At("price", row), "61837.63000000000000");
  }
}

// The one table of columns, against the message that fills them.
TEST(TradeTable, HasTheFieldsOfTheMessageInTheirOrder) {
  const Schema schema = *Schema::Parse(kTradeV3SchemaJson);
  const auto plan = *avro::DecodePlan::Compile(schema, schema);
  ASSERT_EQ(plan.slot_count(), size_t{kTradeSlotCount});
  for (const TradeColumn& column : kTradeColumns) {
    if (column.slot == kDerived) continue;
    EXPECT_EQ(plan.SlotName(column.slot), column.name);
    const avro::Node* node = schema.root().fields.at(column.slot).type;
    const bool optional = node->type == avro::Type::kUnion;
    EXPECT_EQ(optional, !column.required) << column.name;
    if (optional) node = node->branches.at(1);
    const auto is_decimal = [&](DecimalType type) {
      return node->logical == avro::LogicalType::kDecimal && node->precision == type.precision &&
             node->scale == type.scale;
    };
    switch (column.type) {
      case ColumnType::kString:
        EXPECT_TRUE(node->type == avro::Type::kString || node->type == avro::Type::kEnum) << column.name;
        break;
      case ColumnType::kLong: EXPECT_EQ(node->type, avro::Type::kLong) << column.name; break;
      case ColumnType::kTimestamp: EXPECT_EQ(node->logical, avro::LogicalType::kTimestampMicros) << column.name; break;
      case ColumnType::kPrice: EXPECT_TRUE(is_decimal(kPriceType)) << column.name; break;
      case ColumnType::kQuantity: EXPECT_TRUE(is_decimal(kQuantityType)) << column.name; break;
      case ColumnType::kStringList: EXPECT_EQ(node->type, avro::Type::kArray) << column.name; break;
      case ColumnType::kStringMap: EXPECT_EQ(node->type, avro::Type::kMap) << column.name; break;
      default: ADD_FAILURE() << column.name << " is no type of a message";
    }
  }
  const auto symbols = [&](TradeSlot slot) {
    const avro::Node* node = schema.root().fields.at(slot).type;
    if (node->type == avro::Type::kUnion) node = node->branches.at(1);
    return std::vector<std::string_view>(node->symbols.begin(), node->symbols.end());
  };
  EXPECT_EQ(symbols(kAssetClassSlot), std::vector<std::string_view>(kAssetClasses.begin(), kAssetClasses.end()));
  EXPECT_EQ(symbols(kSideSlot), std::vector<std::string_view>(kSides.begin(), kSides.end()));
  EXPECT_EQ(symbols(kSourceSlot), std::vector<std::string_view>(kTradeSources.begin(), kTradeSources.end()));
}

TEST_F(Decoder, TimesUpToTheirLimits) {
  const auto judge = [&](int64_t time, int64_t ingestion) {
    auto fields = Fields();
    fields["timestamp"] = time;
    fields["ingestion_timestamp"] = ingestion;
    return Judge(Message(kTradeV3SchemaId, schema_, fields));
  };
  EXPECT_EQ(judge(kTime + kMaxTradeAheadMicros, kTime), "none");
  EXPECT_EQ(judge(kTime + kMaxTradeAheadMicros + 1, kTime), "timestamp_in_future");
  EXPECT_EQ(judge(kRealTimeMinUs, kTime), "none") << "trades may be of any age";
  EXPECT_EQ(judge(kRealTimeMinUs - 1, kTime), "timestamp_out_of_range");
  EXPECT_EQ(judge(kRealTimeEndUs - 1, kRealTimeEndUs - 1), "none");
  EXPECT_EQ(judge(kRealTimeEndUs, kRealTimeEndUs - 1), "timestamp_out_of_range");
  EXPECT_NE(decoder_.detail().find("timestamp is 7258118400000000 us"), std::string::npos) << decoder_.detail();
  EXPECT_EQ(judge(kTime, kRealTimeEndUs), "timestamp_out_of_range");
  EXPECT_NE(decoder_.detail().find("ingestion_timestamp is"), std::string::npos) << decoder_.detail();
  EXPECT_EQ(judge(kTime, kTime * 1000), "timestamp_out_of_range") << "nanoseconds for microseconds";
  constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  for (const int64_t time : {kMin, kMax, int64_t{-5}}) {
    for (const int64_t ingestion : {kMin, kMax, int64_t{-5}, kTime}) {
      EXPECT_EQ(judge(time, ingestion), "timestamp_out_of_range") << time << " " << ingestion;
    }
  }
}

TEST_F(Decoder, TakesTheReasonsOfRejectedFrames) {
  for (size_t i = static_cast<size_t>(RejectReason::kFrameNotJson); i < kRejectReasonCount; ++i) {
    std::string message;
    const auto reason = static_cast<RejectReason>(i);
    EncodeRejectedFrame({"BINANCE", reason, "what was wrong", "{\xff", kTime}, kRejectedFrameSchemaId, message);
    EXPECT_EQ(Judge(message), ToString(reason));
    EXPECT_NE(decoder_.detail().find("what was wrong"), std::string::npos);
    EXPECT_EQ(verdict_.schema_id, kRejectedFrameSchemaId);
    EXPECT_EQ(Judge(message.substr(0, message.size() - 1)), "truncated");
  }
  const auto schema = Schema::Parse(kRejectedFrameSchemaJson).value();
  const auto with_reason = [&](const char* reason) {
    std::string body;
    EXPECT_TRUE(avro::Encode(schema.root(), List{"X", reason, "d\xff", "", 0}, body));
    return Judge(Frame(kRejectedFrameSchemaId, body));
  };
  EXPECT_EQ(with_reason("price_not_positive"), "frame_other");  // not a reason of a frame
  EXPECT_EQ(with_reason("something new"), "frame_other");
  EXPECT_EQ(decoder_.detail(), "\"something new\": \"d\\xff\"");
  std::string without_detail;
  EncodeRejectedFrame({"BINANCE", RejectReason::kFrameNotJson, "", "{", kTime}, kRejectedFrameSchemaId, without_detail);
  EXPECT_EQ(Judge(without_detail), "frame_not_json");
  EXPECT_EQ(decoder_.detail(), "the message gives no detail");
}

TEST_F(Decoder, HandsOutTheFrameOfARejectedFrame) {
  std::string message;
  EncodeRejectedFrame({"BINANCE", RejectReason::kFrameNotJson, "data[3]: why", "{\xff", kTime}, kRejectedFrameSchemaId,
                      message);
  ASSERT_EQ(Judge(message), "frame_not_json");
  const auto carried = FrameIn(message);
  ASSERT_TRUE(carried);
  EXPECT_EQ(carried->detail, "data[3]: why");
  EXPECT_EQ(carried->frame, "{\xff");
  EXPECT_EQ(carried->receive_timestamp_us, kTime);
  EXPECT_FALSE(FrameIn(message.substr(0, message.size() - 1)));
  EXPECT_FALSE(FrameIn(Message(kTradeV3SchemaId, schema_, Fields())));
  EXPECT_FALSE(FrameIn("no message"));
}

TEST_F(Decoder, DecodeOnlyTakesWhatTheColumnsHold) {
  MessageDecoder decoder(MessageDecoder::Mode::kDecodeOnly);
  ASSERT_TRUE(decoder.AddSchema(kTradeV3SchemaId, kTradeV3SchemaJson));
  const auto judge = [&](const std::string& field, Value value) {
    return ToString(decoder.Decode(With(field, std::move(value)), "KRAKEN", columns_).reason);
  };
  EXPECT_EQ(judge("message_id", ""), "none");
  EXPECT_EQ(judge("side", "UNKNOWN"), "none");
  EXPECT_EQ(judge("asset_class", "futures"), "none");
  EXPECT_EQ(judge("timestamp", 0), "none");
  EXPECT_EQ(judge("price", Decimal(0)), "none");
  EXPECT_EQ(judge("price", Decimal(1 - LimitOf(kPriceType))), "none");
  EXPECT_EQ(judge("price", Decimal(-LimitOf(kPriceType))), "price_out_of_range");
  EXPECT_EQ(judge("quantity", Decimal(LimitOf(kQuantityType))), "quantity_out_of_range");
  EXPECT_EQ(judge("price", ""), "malformed");
  EXPECT_EQ(judge("symbol", "\xff"), "invalid_utf8");
  const Exported out(columns_);
  EXPECT_EQ(out.rows(), 6);
  EXPECT_EQ(out.At("price", 5), "-9999999999.99999999999999");
}

TEST_F(Decoder, DecimalsOfASmallerScaleAreReadExactly) {
  auto json = nlohmann::json::parse(kTradeV3SchemaJson);
  for (auto& field : json["fields"]) {
    if (field["name"] == "price") field["type"]["scale"] = 2;
    if (field["name"] == "quantity") {
      field["type"] = nlohmann::json::parse(
          R"({"type":"fixed","name":"Amount","size":12,"logicalType":"decimal","precision":20,"scale":0})");
    }
  }
  const std::string text = json.dump();
  const Schema schema = *Schema::Parse(text);
  ASSERT_TRUE(decoder_.AddSchema(7, text));
  const auto amount = [](int64_t units) {
    return "\0\0\0\0"s + std::string(8 - Decimal(units).size(), '\0') + Decimal(units);
  };
  auto values = Fields();
  const auto judge = [&](std::string price, std::string quantity) {
    values["price"] = std::move(price);
    values["quantity"] = std::move(quantity);
    return Judge(Message(7, schema, values));
  };
  EXPECT_EQ(judge(Decimal(6'183'763), amount(3)), "none") << decoder_.detail();
  EXPECT_EQ(judge(Decimal(999'999'999'999), amount(9'999'999'999)), "none");
  EXPECT_EQ(judge(Decimal(1'000'000'000'000), amount(1)), "price_out_of_range");
  EXPECT_EQ(decoder_.detail(), "price is 10^10 or more");
  EXPECT_EQ(judge(Decimal(1), amount(10'000'000'000'000'000)), "quantity_out_of_range");
  EXPECT_EQ(judge(Decimal(-1'000'000'000'000), amount(1)), "price_not_positive");
  EXPECT_EQ(judge(Decimal(0), amount(1)), "price_not_positive");
  for (auto& field : json["fields"]) {
    if (field["name"] == "price") field["type"]["scale"] = 15;
  }
  EXPECT_FALSE(decoder_.AddSchema(8, json.dump()));
  EXPECT_EQ(Judge(Message(8, schema, values)), "schema_not_resolvable") << "digits would be lost";
  const Exported out(columns_);
  ASSERT_EQ(out.rows(), 2);
  EXPECT_EQ(out.At("price", 0), "61837.63000000000000");
  EXPECT_EQ(out.At("quantity", 0), "3.00000000");
  EXPECT_EQ(out.At("price", 1), "9999999999.99000000000000");
  EXPECT_EQ(out.At("quantity", 1), "9999999999.00000000");
}

// V2 as other versions of it would be written.
TEST_F(Decoder, ReadsOtherVersionsOfV2) {
  auto json = nlohmann::json::parse(kTradeV2SchemaJson);
  std::vector<nlohmann::json> fields = json["fields"];
  const auto decimal = nlohmann::json::parse(
      R"({"type":"fixed","name":"Amount","size":12,"logicalType":"decimal","precision":28,"scale":8})");
  std::mt19937 random(5);
  std::ranges::shuffle(fields, random);
  std::erase_if(fields, [](const auto& field) {
    return field["name"] == "platform_sequence" || field["name"] == "trade_conditions";
  });
  for (auto& field : fields) {
    if (field["name"] == "price") field["type"] = decimal;
    if (field["name"] == "symbol") field["type"] = "bytes";
    if (field["name"] == "source_sequence") field["type"] = "int";
    if (field["name"] == "vendor_data") {
      field["type"] = nlohmann::json::parse(R"({"type":"map","values":["null","string","bytes"]})");
    }
    if (field["name"] == "side") field["type"]["symbols"] = {"BID", "SELL", "BUY"};
  }
  fields.insert(fields.begin() + 4, nlohmann::json::parse(R"({"name":"extra","type":{"type":"array","items":["null",
      {"type":"record","name":"Extra","fields":[{"name":"x","type":"double"},{"name":"y","type":["null","Extra"]}]}]}})"));
  json["fields"] = fields;
  json["namespace"] = "another.vendor";
  const std::string text = json.dump();
  const auto schema = Schema::Parse(text);
  ASSERT_TRUE(schema) << schema.error().message;
  ASSERT_TRUE(decoder_.AddSchema(7, text));
  auto values = Fields();
  values["price"] = "\0\0\0\0"s + std::string(7, '\0') + "\x05";
  values["extra"] = List{Value(), List{0.5, List{1.5, Value()}}};
  values["vendor_data"] = Map{{"k", "v"}, {"l", "w"}};
  EXPECT_EQ(Judge(Message(7, *schema, values)), "none") << decoder_.detail();
  values["side"] = "BID";
  EXPECT_EQ(Judge(Message(7, *schema, values)), "invalid_side");
  values["side"] = "BUY";
  values["vendor_data"] = Map{{"k", Value()}};
  EXPECT_EQ(Judge(Message(7, *schema, values)), "schema_not_resolvable");
  const Exported out(columns_);
  EXPECT_EQ(out.At("price", 0), "0.00000005000000");
  EXPECT_EQ(out.At("symbol", 0), "BTCUSDT");
  EXPECT_EQ(out.At("source_sequence", 0), "1");
  EXPECT_EQ(out.At("platform_sequence", 0), "null");
  EXPECT_EQ(out.At("trade_conditions", 0), "[]");
  EXPECT_EQ(out.At("vendor_data", 0), "[k=v,l=w]");
}

TEST_F(Decoder, RejectsMessagesOfSchemasItCannotRead) {
  const Status other = decoder_.AddSchema(13, R"({"type":"record","name":"Quote","fields":[]})");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::kInvalidData);
  EXPECT_FALSE(decoder_.AddSchema(14, "syntax = \"proto3\";"));
  EXPECT_FALSE(decoder_.AddSchema(15, R"({"type":"record","name":"TradeV2","fields":[]})"));  // fields without defaults
  for (const int32_t id : {13, 14, 15}) {
    EXPECT_TRUE(decoder_.HasSchema(id));
    EXPECT_EQ(Judge(Frame(id, "")), "schema_not_resolvable");
    EXPECT_EQ(verdict_.schema_id, id);
  }
  EXPECT_TRUE(decoder_.AddSchema(kTradeV3SchemaId, kTradeV3SchemaJson));  // the same again
  EXPECT_EQ(decoder_.AddSchema(kTradeV3SchemaId, "\"int\"").error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(Decoder, BytesChangedAtRandomNeverHalfAddARow) {
  const std::string good = With("vendor_data", Map{{"a", "1"}, {"b", "22"}, {"c", "333"}});
  std::mt19937 random(3);
  int64_t accepted = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string message = good;
    for (size_t flips = 1 + random() % 3; flips > 0; --flips) {
      message[5 + random() % (message.size() - 5)] = static_cast<char>(random());
    }
    if (Judge(message) == "none") ++accepted;
  }
  const Exported out(columns_);
  EXPECT_EQ(out.rows(), accepted);
  EXPECT_GT(accepted, 1000);
  EXPECT_LT(accepted, 190'000);
}

}  // namespace
}  // namespace k2::trade
