#include "trade/decoder.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "avro/generic.h"
#include "avro/schema.h"
#include "trade/encode.h"
#include "trade/exported_columns.h"
#include "trade/trade_schema.h"

namespace k2 {
namespace {

using avro::Schema;
using avro::Value;
using List = Value::List;
using Map = Value::Map;
using std::string_literals::operator""s;

constexpr int64_t kTime = 1'723'161'255'342'000;

// Big-endian two's complement in as few bytes as there can be.
std::string Decimal(int64_t unscaled) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(unscaled >> shift));
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
          {"price", Decimal(6'183'763'000'000)},
          {"quantity", Decimal(150'000)},
          {"currency", "USDT"},
          {"side", "SELL"},
          {"trade_conditions", List{}},
          {"source_sequence", Value(1)},
          {"ingestion_timestamp", kTime + 1},
          {"platform_sequence", Value()},
          {"vendor_data", Map{{"k", "v"}}}};
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
    ASSERT_TRUE(decoder_.AddSchema(kTradeV2SchemaId, kTradeV2SchemaJson));
    ASSERT_TRUE(decoder_.AddSchema(kRejectedFrameSchemaId, kRejectedFrameSchemaJson));
  }

  std::string With(const std::string& field, Value value) {
    auto fields = Fields();
    fields[field] = std::move(value);
    return Message(kTradeV2SchemaId, schema_, fields);
  }

  // The reason's text; "none" when a row was added.
  std::string Judge(std::optional<std::string_view> message, std::string_view exchange = "BINANCE") {
    const size_t before = columns_.rows();
    verdict_ = decoder_.Decode(message, exchange, columns_);
    EXPECT_EQ(columns_.rows(), before + (verdict_.accepted() ? 1 : 0));
    EXPECT_TRUE(verdict_.accepted() || !decoder_.detail().empty());
    return std::string(ToString(verdict_.reason));
  }
  std::string JudgeWith(const std::string& field, Value value) { return Judge(With(field, std::move(value))); }

  Schema schema_ = Schema::Parse(kTradeV2SchemaJson).value();
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
  trade.price_e8 = 6'183'763'000'001;
  trade.quantity_e8 = kTradeDecimalLimit - 1;
  trade.currency = "USDT";
  trade.side = TradeSide::kBuy;
  trade.trade_conditions = conditions;
  trade.source_sequence = 37;
  trade.ingestion_timestamp_us = kTime + 5;
  trade.vendor_data = vendor;
  std::string message;
  EncodeTrade(trade, kTradeV2SchemaId, message);
  ASSERT_EQ(Judge(message), "none") << decoder_.detail();
  EXPECT_EQ(verdict_.schema_id, kTradeV2SchemaId);
  const Exported out(columns_);
  std::string row;
  for (int i = 0; i < kTradeColumnCount; ++i) row += out.At(out.name(i), 0) + "|";
  EXPECT_EQ(row,
            "8f8ee7bd-8a8e-5a0e-a0f3-0c5ee0d0c7e1|BINANCE-37|BTCUSDT|BINANCE|crypto|2024-08-08T23:54:15.342000Z|"
            "61837.63000001|9999999999.99999999|USDT|BUY|[x,y]|37|2024-08-08T23:54:15.342005Z|null|"
            "[is_buyer_maker=true,base_asset=BTC]|2024-08-08|");
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
  EXPECT_EQ(MessageDecoder::SchemaIdOf(Frame(0x01020304, "")), 0x01020304);
  EXPECT_EQ(MessageDecoder::SchemaIdOf("\0\0\0\0"s), std::nullopt);
  const std::string large = With("currency", std::string(kMaxMessageSize, 'x'));
  EXPECT_EQ(Judge(large), "oversized");
  std::string largest = With("currency", std::string(kMaxMessageSize - 300, 'x'));
  largest = With("currency", std::string(kMaxMessageSize - 300 + kMaxMessageSize - largest.size(), 'x'));
  ASSERT_EQ(largest.size(), kMaxMessageSize);
  EXPECT_EQ(Judge(largest), "none");
}

// The id of another registry's framing is told, so that somebody can find the schema.
TEST_F(Decoder, NamesAGuidThatItDoesNotResolve) {
  const std::string_view bytes(
      "\x01\x89\x79\x1e\x5c\x4b\x6a\x4d\x21\x9f\x60\x00\xab\xcd\xef\xff\x02"
      "body",
      21);
  EXPECT_EQ(Judge(bytes), "not_framed");
  EXPECT_NE(decoder_.detail().find("GUID 89791e5c-4b6a-4d21-9f60-00abcdefff02"), std::string::npos)
      << decoder_.detail();
}

TEST_F(Decoder, RejectsBrokenBodies) {
  const std::string message = With("symbol", "BTCUSDT");
  ASSERT_EQ(Judge(message), "none");
  for (size_t size = kConfluentHeaderSize; size < message.size(); ++size) {
    EXPECT_EQ(Judge(message.substr(0, size)), "truncated") << size;
  }
  EXPECT_EQ(Judge(message + "x"), "trailing_bytes");
  EXPECT_EQ(Judge(Frame(kTradeV2SchemaId, "\x01")), "malformed");
  EXPECT_EQ(Judge(Frame(kTradeV2SchemaId, std::string(20, '\xff'))), "malformed");
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
  EXPECT_EQ(Judge(Message(kTradeV2SchemaId, schema_, fields)), "invalid_utf8");
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
  const std::pair<std::string, const char*> cases[] = {
      {Decimal(1), "none"},
      {Decimal(0), "not_positive"},
      {Decimal(-1), "not_positive"},
      {"\0\0\0\0\0\0\0\0\0\0\0\1"s, "none"},  // padded with sign bytes
      {std::string(40, '\0') + "\x7f", "none"},
      {std::string(12, '\xff'), "not_positive"},
      {"\0"s, "not_positive"},
      {std::string(20, '\0'), "not_positive"},
      {Decimal(kTradeDecimalLimit - 1), "none"},
      {"\0"s + Decimal(kTradeDecimalLimit - 1), "none"},
      {Decimal(kTradeDecimalLimit), "out_of_range"},
      {Decimal(std::numeric_limits<int64_t>::max()), "out_of_range"},
      {"\0\x80\0\0\0\0\0\0\0"s, "out_of_range"},  // 2^63
      {"\1\0\0\0\0\0\0\0\0"s, "out_of_range"},    // 2^64
      {"\x7f" + std::string(30, '\xff'), "out_of_range"},
      {Decimal(-kTradeDecimalLimit), "not_positive"},
      {"\x80" + std::string(30, '\0'), "not_positive"},
      {"\xff\x7f\xff\xff\xff\xff\xff\xff\xff", "not_positive"},
  };
  for (const auto& [bytes, expected] : cases) {
    const bool accepted = std::string(expected) == "none";
    EXPECT_EQ(JudgeWith("price", bytes), accepted ? "none" : "price_"s + expected) << decoder_.detail();
    EXPECT_EQ(JudgeWith("quantity", bytes), accepted ? "none" : "quantity_"s + expected) << decoder_.detail();
  }
}

TEST_F(Decoder, TimesUpToTheirLimits) {
  const auto judge = [&](int64_t time, int64_t ingestion) {
    auto fields = Fields();
    fields["timestamp"] = time;
    fields["ingestion_timestamp"] = ingestion;
    return Judge(Message(kTradeV2SchemaId, schema_, fields));
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
  const auto carried = decoder_.FrameOf(message);
  ASSERT_TRUE(carried);
  EXPECT_EQ(carried->detail, "data[3]: why");
  EXPECT_EQ(carried->frame, "{\xff");
  EXPECT_EQ(carried->receive_timestamp_us, kTime);
  EXPECT_FALSE(decoder_.FrameOf(message.substr(0, message.size() - 1)));
  EXPECT_FALSE(decoder_.FrameOf(Message(kTradeV2SchemaId, schema_, Fields())));
  EXPECT_FALSE(decoder_.FrameOf("no message"));
}

TEST_F(Decoder, DecodeOnlyTakesWhatTheColumnsHold) {
  MessageDecoder decoder(MessageDecoder::Mode::kDecodeOnly);
  ASSERT_TRUE(decoder.AddSchema(kTradeV2SchemaId, kTradeV2SchemaJson));
  const auto judge = [&](const std::string& field, Value value) {
    return ToString(decoder.Decode(With(field, std::move(value)), "KRAKEN", columns_).reason);
  };
  EXPECT_EQ(judge("message_id", ""), "none");
  EXPECT_EQ(judge("side", "UNKNOWN"), "none");
  EXPECT_EQ(judge("asset_class", "futures"), "none");
  EXPECT_EQ(judge("timestamp", 0), "none");
  EXPECT_EQ(judge("price", Decimal(0)), "none");
  EXPECT_EQ(judge("price", Decimal(-kTradeDecimalLimit + 1)), "none");
  EXPECT_EQ(judge("price", Decimal(-kTradeDecimalLimit)), "price_out_of_range");
  EXPECT_EQ(judge("quantity", Decimal(kTradeDecimalLimit)), "quantity_out_of_range");
  EXPECT_EQ(judge("price", ""), "malformed");
  EXPECT_EQ(judge("symbol", "\xff"), "invalid_utf8");
  const Exported out(columns_);
  EXPECT_EQ(out.rows(), 6);
  EXPECT_EQ(out.At("price", 5), "-9999999999.99999999");
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
  EXPECT_EQ(out.At("price", 0), "0.00000005");
  EXPECT_EQ(out.At("symbol", 0), "BTCUSDT");
  EXPECT_EQ(out.At("source_sequence", 0), "1");
  EXPECT_EQ(out.At("platform_sequence", 0), "null");
  EXPECT_EQ(out.At("trade_conditions", 0), "[]");
  EXPECT_EQ(out.At("vendor_data", 0), "[k=v,l=w]");
}

TEST_F(Decoder, RejectsMessagesOfSchemasItCannotRead) {
  const Status other = decoder_.AddSchema(3, R"({"type":"record","name":"Quote","fields":[]})");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::kInvalidData);
  EXPECT_FALSE(decoder_.AddSchema(4, "syntax = \"proto3\";"));
  EXPECT_FALSE(decoder_.AddSchema(5, R"({"type":"record","name":"TradeV2","fields":[]})"));  // fields without defaults
  for (const int32_t id : {3, 4, 5}) {
    EXPECT_TRUE(decoder_.HasSchema(id));
    EXPECT_EQ(Judge(Frame(id, "")), "schema_not_resolvable");
    EXPECT_EQ(verdict_.schema_id, id);
  }
  EXPECT_TRUE(decoder_.AddSchema(kTradeV2SchemaId, kTradeV2SchemaJson));  // the same again
  EXPECT_EQ(decoder_.AddSchema(kTradeV2SchemaId, "\"int\"").error().kind, ErrorKind::kInvalidArgument);
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
}  // namespace k2
