#include "trade/decoder.h"

#include <map>

#include "avro/decode_plan.h"
#include "avro/schema.h"
#include "trade/trade_schema.h"
#include "trade/trade_sink.h"

namespace k2::trade {
namespace {

using avro::DecodePlan;
using avro::Outcome;
using avro::RunResult;
using avro::Schema;

// A value of a message in a detail: short, and UTF-8 whatever the bytes are.
std::string Show(std::string_view text) {
  std::string shown = "\"";
  for (const char c : text.substr(0, 48)) {
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
      shown += c;
    } else {
      shown += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    }
  }
  return shown + (text.size() > 48 ? "\"..." : "\"");
}

// Cuts a text of the message to what a detail may hold.
std::string Cut(std::string_view text) {
  constexpr size_t kMaxDetail = 1000;
  if (text.size() <= kMaxDetail) return std::string(text);
  size_t size = kMaxDetail;
  while (size > 0 && (static_cast<uint8_t>(text[size]) & 0xc0) == 0x80) --size;
  return std::string(text.substr(0, size)) + "...";
}

const Schema& TradeSchema() {
  static const Schema schema = Schema::Parse(kTradeV3SchemaJson).value();
  return schema;
}
// TradeV3 for messages whose `source` is something else than K2's: no writer has a field of this name.
const Schema& TradeSchemaWithoutSource() {
  static const Schema schema = [] {
    auto json = nlohmann::json::parse(kTradeV3SchemaJson);
    json["fields"][kSourceSlot]["name"] = "k2_no_source";
    return Schema::Parse(json.dump()).value();
  }();
  return schema;
}
const Schema& RejectedFrameSchema() {
  static const Schema schema = Schema::Parse(kRejectedFrameSchemaJson).value();
  return schema;
}

// What is known of one schema.
struct KnownSchema {
  std::string json;
  std::string error;  // why it cannot be read; else one of the plans is set
  std::optional<DecodePlan> trade;
  std::optional<DecodePlan> without_source;  // for a symbol of `source` that TradeV3 does not have
  DecimalRescale price;
  DecimalRescale quantity;
  std::optional<DecodePlan> rejected_frame;
};

}  // namespace

class MessageDecoder::Impl {
 public:
  explicit Impl(Mode mode) : mode_(mode) {}

  Status AddSchema(const SchemaRef& ref, std::string_view json);
  [[nodiscard]] bool HasSchema(const SchemaRef& ref) const { return schemas_.contains(ref); }
  Verdict Decode(std::optional<std::string_view> payload, const std::optional<MessageFraming>& framing,
                 std::string_view table_exchange, TradeColumns& out);
  std::optional<CarriedFrame> FrameOf(std::string_view payload, const std::optional<MessageFraming>& framing);
  [[nodiscard]] const std::string& detail() const { return detail_; }

 private:
  RejectReason DecodeTrade(const KnownSchema& schema, std::string_view body, std::string_view table_exchange,
                           TradeColumns& out);
  const KnownSchema* FindSchema(const SchemaRef& ref);
  RejectReason DecodeFrame(const DecodePlan& plan, std::string_view body);
  RejectReason Judge(std::string_view table_exchange);
  RejectReason JudgeNumber(const char* field, DecimalType type, DecimalReading reading, RejectReason not_positive,
                           RejectReason out_of_range);
  RejectReason JudgeByOlderFormat();
  RejectReason JudgeTime();
  RejectReason FindBadText();
  RejectReason Failed(const DecodePlan& plan, const RunResult& result, bool trade);

  template <typename... Args>
  RejectReason Reject(RejectReason reason, fmt::format_string<Args...> format, Args&&... args) {
    detail_ = fmt::format(format, std::forward<Args>(args)...);
    return reason;
  }

  Mode mode_;
  std::map<SchemaRef, std::unique_ptr<KnownSchema>> schemas_;
  SchemaRef last_ref_;
  const KnownSchema* last_schema_ = nullptr;
  size_t body_ = 0;  // where the body of the message at hand begins
  TradeSink sink_;
  TradeRow row_;
  RejectedFrameSink frame_;
  std::string detail_;
};

Status MessageDecoder::Impl::AddSchema(const SchemaRef& ref, std::string_view json) {
  if (const auto it = schemas_.find(ref); it != schemas_.end()) {
    if (it->second->json == json) return {};
    return Fail(ErrorKind::kInvalidArgument, "there is another schema of {} already", ToString(ref));
  }
  auto known = std::make_unique<KnownSchema>();
  known->json = json;
  Status status;
  if (const auto schema = Schema::Parse(json); !schema) {
    status = std::unexpected(schema.error());
  } else {
    auto trade = DecodePlan::Compile(*schema, TradeSchema(), DecodePlan::Decimals::kRescaled);
    auto without_source = DecodePlan::Compile(*schema, TradeSchemaWithoutSource(), DecodePlan::Decimals::kRescaled);
    if (!trade && without_source) trade = without_source;
    auto frame = DecodePlan::Compile(*schema, RejectedFrameSchema());
    if (trade) {
      known->price = RescaleFrom(trade->WriterScale(kPriceSlot).value_or(kPriceType.scale), kPriceType);
      known->quantity = RescaleFrom(trade->WriterScale(kQuantitySlot).value_or(kQuantityType.scale), kQuantityType);
      known->trade = std::move(*trade);
      if (without_source) known->without_source = std::move(*without_source);
    } else if (frame) {
      known->rejected_frame = std::move(*frame);
    } else {
      status = std::unexpected(trade.error());
    }
  }
  if (!status) known->error = status.error().message;
  schemas_.emplace(ref, std::move(known));
  return status ? status : std::unexpected(status.error().With("schema of " + ToString(ref)));
}

// Keeps it as last_schema_.
inline const KnownSchema* MessageDecoder::Impl::FindSchema(const SchemaRef& ref) {
  if (ref == last_ref_ && last_schema_ != nullptr) [[likely]]
    return last_schema_;
  const auto it = schemas_.find(ref);
  if (it == schemas_.end()) return nullptr;
  last_ref_ = ref;
  last_schema_ = it->second.get();
  return last_schema_;
}

std::optional<CarriedFrame> MessageDecoder::Impl::FrameOf(std::string_view payload,
                                                          const std::optional<MessageFraming>& framing) {
  if (!framing || payload.size() > kMaxFrameMessageSize) return std::nullopt;
  const KnownSchema* schema = FindSchema(framing->schema);
  if (schema == nullptr || !schema->rejected_frame) return std::nullopt;
  frame_ = {};
  if (!Run(*schema->rejected_frame, payload.substr(framing->body), frame_)) return std::nullopt;
  return CarriedFrame{frame_.detail, frame_.frame, frame_.receive_timestamp_us};
}

Verdict MessageDecoder::Impl::Decode(std::optional<std::string_view> payload,
                                     const std::optional<MessageFraming>& framing, std::string_view table_exchange,
                                     TradeColumns& out) {
  if (!payload) return {Reject(RejectReason::kNullValue, "the message has no value"), std::nullopt};
  if (!framing) {
    return {Reject(RejectReason::kNotFramed, "{} bytes, beginning {}: no schema id before it, none in a header",
                   payload->size(), Show(payload->substr(0, kConfluentHeaderSize))),
            std::nullopt};
  }
  std::optional<int32_t> id;
  if (framing->schema.kind == SchemaRef::Kind::kId) id = static_cast<int32_t>(framing->schema.id);
  if (FindSchema(framing->schema) == nullptr) {
    return {Reject(RejectReason::kUnknownSchemaId, "no schema has the {}", ToString(framing->schema)), id};
  }
  const size_t size_max = last_schema_->rejected_frame ? kMaxFrameMessageSize : kMaxMessageSize;
  if (payload->size() > size_max) [[unlikely]] {
    return {Reject(RejectReason::kOversized, "{} bytes, more than {}", payload->size(), size_max), id};
  }
  body_ = framing->body;
  const std::string_view body = payload->substr(body_);
  if (last_schema_->trade) [[likely]]
    return {DecodeTrade(*last_schema_, body, table_exchange, out), id};
  if (last_schema_->rejected_frame) return {DecodeFrame(*last_schema_->rejected_frame, body), id};
  return {Reject(RejectReason::kSchemaNotResolvable, "{}", Cut(last_schema_->error)), id};
}

RejectReason MessageDecoder::Impl::DecodeTrade(const KnownSchema& schema, std::string_view body,
                                               std::string_view table_exchange, TradeColumns& out) {
  sink_.Clear();
  RunResult result = Run(*schema.trade, body, sink_);
  if (result.outcome == Outcome::kUnresolvable && result.slot == kSourceSlot && schema.without_source) [[unlikely]] {
    sink_.Clear();
    result = Run(*schema.without_source, body, sink_);
  }
  if (!result) [[unlikely]]
    return Failed(*schema.trade, result, true);
  TradeRow& row = row_;
  sink_.Fill(row);
  const DecimalReading price = ReadDecimal(sink_.price(), schema.price, row.price_e14);
  const DecimalReading quantity = ReadDecimal(sink_.quantity(), schema.quantity, row.quantity_e8);
  if (mode_ == Mode::kValidate) {
    const bool fits = price == DecimalReading::kPositive && quantity == DecimalReading::kPositive &&
                      !row.message_id.empty() && !row.trade_id.empty() && !row.symbol.empty() &&
                      !row.exchange.empty() && row.exchange == table_exchange &&
                      (row.side == TradeSide::kBuy || row.side == TradeSide::kSell) &&
                      row.asset_class == AssetClass::kCrypto && IsTimely(row.timestamp_us, row.ingestion_timestamp_us);
    if (!fits) [[unlikely]]
      return Judge(table_exchange);
  } else if (!Representable(price) || !Representable(quantity)) {
    return Judge(table_exchange);
  }
  if (out.options().numbers_of_v2) [[unlikely]] {
    if (const RejectReason reason = JudgeByOlderFormat(); reason != RejectReason::kNone) return reason;
  }
  if (!out.Append(row)) [[unlikely]]
    return FindBadText();
  return RejectReason::kNone;
}

// Names the first rule that a decoded trade breaks.
RejectReason MessageDecoder::Impl::Judge(std::string_view table_exchange) {
  using enum RejectReason;
  if (const RejectReason reason = FindBadText(); reason != kNone) return reason;
  TradeRow& row = row_;
  const DecimalReading price = ReadDecimal(sink_.price(), last_schema_->price, row.price_e14);
  const DecimalReading quantity = ReadDecimal(sink_.quantity(), last_schema_->quantity, row.quantity_e8);
  if (mode_ == Mode::kDecodeOnly) {
    const RejectReason reason = JudgeNumber("price", kPriceType, price, kNone, kPriceOutOfRange);
    return reason != kNone ? reason : JudgeNumber("quantity", kQuantityType, quantity, kNone, kQuantityOutOfRange);
  }
  if (row.message_id.empty()) return Reject(kEmptyMessageId, "message_id is empty");
  if (row.trade_id.empty()) return Reject(kEmptyTradeId, "trade_id is empty");
  if (row.symbol.empty()) return Reject(kEmptySymbol, "symbol is empty");
  if (row.exchange.empty()) return Reject(kEmptyExchange, "exchange is empty");
  if (row.exchange != table_exchange) {
    return Reject(kExchangeMismatch, "exchange is {}, not {}", Show(row.exchange), table_exchange);
  }
  RejectReason reason = JudgeNumber("price", kPriceType, price, kPriceNotPositive, kPriceOutOfRange);
  if (reason == kNone) {
    reason = JudgeNumber("quantity", kQuantityType, quantity, kQuantityNotPositive, kQuantityOutOfRange);
  }
  if (reason != kNone) return reason;
  if (row.side != TradeSide::kBuy && row.side != TradeSide::kSell) {
    return Reject(kInvalidSide, "side is {}, neither BUY nor SELL",
                  row.side == TradeSide::kSellShort ? "SELL_SHORT" : "UNKNOWN");
  }
  if (row.asset_class != AssetClass::kCrypto) return Reject(kInvalidAssetClass, "asset_class is not crypto");
  return JudgeTime();
}

RejectReason MessageDecoder::Impl::JudgeNumber(const char* field, DecimalType type, DecimalReading reading,
                                               RejectReason not_positive, RejectReason out_of_range) {
  const int digits = type.precision - type.scale;
  switch (reading) {
    case DecimalReading::kPositive: return RejectReason::kNone;
    case DecimalReading::kZero: return Reject(not_positive, "{} is zero", field);
    case DecimalReading::kNegative: return Reject(not_positive, "{} is negative", field);
    case DecimalReading::kTooLarge: return Reject(out_of_range, "{} is 10^{} or more", field, digits);
    case DecimalReading::kTooSmall:
      return Reject(not_positive == RejectReason::kNone ? out_of_range : not_positive, "{} is -10^{} or less", field,
                    digits);
    case DecimalReading::kEmpty: return Reject(RejectReason::kMalformed, "{} is a decimal of no bytes", field);
  }
  return RejectReason::kNone;
}

// Of a trade that is good but for the table that it is to stand in.
RejectReason MessageDecoder::Impl::JudgeByOlderFormat() {
  const auto judge = [&](const char* field, Int128 value, DecimalType type, RejectReason reason) {
    if (FitsExactly(value, type.scale, kNumberTypeOfV2)) return RejectReason::kNone;
    return Reject(reason,
                  "{} is {}, but the table has an older format and holds decimal(18,8): run `k2 tables migrate`", field,
                  FormatDecimal(value, type.scale));
  };
  const RejectReason reason = judge("price", row_.price_e14, kPriceType, RejectReason::kPriceOutOfRange);
  if (reason != RejectReason::kNone) return reason;
  return judge("quantity", row_.quantity_e8, kQuantityType, RejectReason::kQuantityOutOfRange);
}

RejectReason MessageDecoder::Impl::JudgeTime() {
  const int64_t time = row_.timestamp_us;
  const int64_t ingestion = row_.ingestion_timestamp_us;
  if (IsTimely(time, ingestion)) return RejectReason::kNone;
  const auto not_real = [&](const char* field, int64_t micros) {
    return Reject(RejectReason::kTimestampOutOfRange, "{} is {} us since 1970, not within the years 2000 to 2199",
                  field, micros);
  };
  if (!IsRealTime(time)) return not_real("timestamp", time);
  if (!IsRealTime(ingestion)) return not_real("ingestion_timestamp", ingestion);
  return Reject(RejectReason::kTimestampInFuture, "timestamp is {} us, ingestion_timestamp {} us since 1970", time,
                ingestion);
}

// Names the first text of the decoded trade that is not UTF-8.
RejectReason MessageDecoder::Impl::FindBadText() {
  const TradeRow& row = row_;
  const auto bad = [&](std::string_view field, std::string_view text) {
    return Reject(RejectReason::kInvalidUtf8, "{} is not UTF-8: {}", field, Show(text));
  };
  const std::pair<std::string_view, std::string_view> texts[] = {{"message_id", row.message_id},
                                                                 {"trade_id", row.trade_id},
                                                                 {"symbol", row.symbol},
                                                                 {"exchange", row.exchange},
                                                                 {"currency", row.currency}};
  for (const auto& [field, text] : texts) {
    if (!IsUtf8(text)) return bad(field, text);
  }
  for (const std::string_view condition : row.trade_conditions) {
    if (!IsUtf8(condition)) return bad("trade_conditions", condition);
  }
  if (!row.vendor_data) return RejectReason::kNone;
  for (const VendorEntry& entry : *row.vendor_data) {
    if (!IsUtf8(entry.key)) return bad("a key of vendor_data", entry.key);
    if (!IsUtf8(entry.value)) return bad("a value of vendor_data", entry.value);
  }
  return RejectReason::kNone;
}

RejectReason MessageDecoder::Impl::Failed(const DecodePlan& plan, const RunResult& result, bool trade) {
  using enum RejectReason;
  const std::string& field = plan.SlotName(result.slot);
  const size_t offset = result.offset + body_;
  switch (result.outcome) {
    case Outcome::kTruncated: return Reject(kTruncated, "ends within {} at byte {}", field, offset);
    case Outcome::kTrailing: return Reject(kTrailingBytes, "the trade ends at byte {}, the message later", offset);
    case Outcome::kUnresolvable:
      if (trade && result.slot == kSideSlot) return Reject(kInvalidSide, "side is a symbol that TradeV3 does not have");
      if (trade && result.slot == kAssetClassSlot) {
        return Reject(kInvalidAssetClass, "asset_class is a symbol that TradeV3 does not have");
      }
      return Reject(kSchemaNotResolvable, "{} has a type or symbol that cannot be read", field);
    default: return Reject(kMalformed, "{} is not legal Avro at byte {}", field, offset);
  }
}

RejectReason MessageDecoder::Impl::DecodeFrame(const DecodePlan& plan, std::string_view body) {
  frame_ = {};
  const RunResult result = Run(plan, body, frame_);
  if (!result) return Failed(plan, result, false);
  const auto reason = ParseRejectReason(frame_.reason);
  std::string detail = IsUtf8(frame_.detail) ? Cut(frame_.detail) : Show(frame_.detail);
  if (detail.empty()) detail = "the message gives no detail";
  if (reason && *reason >= RejectReason::kFrameNotJson) return Reject(*reason, "{}", detail);
  return Reject(RejectReason::kFrameOther, "{}: {}", Show(frame_.reason), detail);
}

MessageDecoder::MessageDecoder(Mode mode) : impl_(std::make_unique<Impl>(mode)) {}
MessageDecoder::~MessageDecoder() = default;
MessageDecoder::MessageDecoder(MessageDecoder&&) noexcept = default;
MessageDecoder& MessageDecoder::operator=(MessageDecoder&&) noexcept = default;

Status MessageDecoder::AddSchema(const SchemaRef& ref, std::string_view schema_json) {
  return impl_->AddSchema(ref, schema_json);
}
bool MessageDecoder::HasSchema(const SchemaRef& ref) const { return impl_->HasSchema(ref); }

Verdict MessageDecoder::Decode(std::optional<std::string_view> payload, const std::optional<MessageFraming>& framing,
                               std::string_view table_exchange, TradeColumns& out) {
  return impl_->Decode(payload, framing, table_exchange, out);
}

Verdict MessageDecoder::Decode(std::optional<std::string_view> payload, std::string_view table_exchange,
                               TradeColumns& out) {
  return impl_->Decode(payload, payload ? FramingOf({}, *payload) : std::nullopt, table_exchange, out);
}

std::optional<CarriedFrame> MessageDecoder::FrameOf(std::string_view payload,
                                                    const std::optional<MessageFraming>& framing) {
  return impl_->FrameOf(payload, framing);
}

const std::string& MessageDecoder::detail() const { return impl_->detail(); }

}  // namespace k2::trade
