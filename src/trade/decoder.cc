#include "trade/decoder.h"

#include <unordered_map>

#include "avro/decode_plan.h"
#include "avro/schema.h"
#include "trade/message_framing.h"
#include "trade/trade_schema.h"
#include "trade/trade_sink.h"

namespace k2 {
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
  static const Schema schema = Schema::Parse(kTradeV2SchemaJson).value();
  return schema;
}
const Schema& RejectedFrameSchema() {
  static const Schema schema = Schema::Parse(kRejectedFrameSchemaJson).value();
  return schema;
}

// What is known under one schema id.
struct KnownSchema {
  std::string json;
  std::string error;  // why it cannot be read; else one of the plans is set
  std::optional<DecodePlan> trade;
  std::optional<DecodePlan> rejected_frame;
};

int32_t ReadSchemaId(std::string_view payload) {
  uint32_t id = 0;
  for (size_t i = 1; i < kConfluentHeaderSize; ++i) id = (id << 8) | static_cast<uint8_t>(payload[i]);
  return static_cast<int32_t>(id);
}

bool IsFramed(std::string_view payload) {
  return payload.size() >= kConfluentHeaderSize && payload[0] == kConfluentMagic;
}

}  // namespace

class MessageDecoder::Impl {
 public:
  explicit Impl(Mode mode) : mode_(mode) {}

  Status AddSchema(int32_t id, std::string_view json);
  [[nodiscard]] bool HasSchema(int32_t id) const { return schemas_.contains(id); }
  Verdict Decode(std::optional<std::string_view> payload, std::string_view table_exchange, TradeColumns& out);
  std::optional<CarriedFrame> FrameOf(std::string_view payload);
  [[nodiscard]] const std::string& detail() const { return detail_; }

 private:
  RejectReason DecodeTrade(const DecodePlan& plan, std::string_view body, std::string_view table_exchange,
                           TradeColumns& out);
  const KnownSchema* FindSchema(int32_t id);
  RejectReason DecodeFrame(const DecodePlan& plan, std::string_view body);
  RejectReason Judge(std::string_view table_exchange);
  RejectReason JudgeNumber(const char* field, DecimalReading reading, RejectReason not_positive,
                           RejectReason out_of_range);
  RejectReason JudgeTime();
  RejectReason FindBadText();
  RejectReason Failed(const DecodePlan& plan, const RunResult& result, bool trade);

  template <typename... Args>
  RejectReason Reject(RejectReason reason, fmt::format_string<Args...> format, Args&&... args) {
    detail_ = fmt::format(format, std::forward<Args>(args)...);
    return reason;
  }

  Mode mode_;
  std::unordered_map<int32_t, std::unique_ptr<KnownSchema>> schemas_;
  int32_t last_id_ = -1;
  const KnownSchema* last_schema_ = nullptr;
  TradeSink sink_;
  TradeRow row_;
  RejectedFrameSink frame_;
  std::string detail_;
};

Status MessageDecoder::Impl::AddSchema(int32_t id, std::string_view json) {
  if (const auto it = schemas_.find(id); it != schemas_.end()) {
    if (it->second->json == json) return {};
    return Fail(ErrorKind::kInvalidArgument, "schema id {} has another schema already", id);
  }
  auto known = std::make_unique<KnownSchema>();
  known->json = json;
  Status status;
  if (const auto schema = Schema::Parse(json); !schema) {
    status = std::unexpected(schema.error());
  } else {
    auto trade = DecodePlan::Compile(*schema, TradeSchema());
    auto frame = DecodePlan::Compile(*schema, RejectedFrameSchema());
    if (trade) {
      known->trade = std::move(*trade);
    } else if (frame) {
      known->rejected_frame = std::move(*frame);
    } else {
      status = std::unexpected(trade.error());
    }
  }
  if (!status) known->error = status.error().message;
  schemas_.emplace(id, std::move(known));
  return status ? status : std::unexpected(status.error().With(fmt::format("schema id {}", id)));
}

// Keeps it as last_schema_.
const KnownSchema* MessageDecoder::Impl::FindSchema(int32_t id) {
  if (id == last_id_ && last_schema_ != nullptr) [[likely]]
    return last_schema_;
  const auto it = schemas_.find(id);
  if (it == schemas_.end()) return nullptr;
  last_id_ = id;
  last_schema_ = it->second.get();
  return last_schema_;
}

std::optional<CarriedFrame> MessageDecoder::Impl::FrameOf(std::string_view payload) {
  if (!IsFramed(payload) || payload.size() > kMaxFrameMessageSize) return std::nullopt;
  const KnownSchema* schema = FindSchema(ReadSchemaId(payload));
  if (schema == nullptr || !schema->rejected_frame) return std::nullopt;
  frame_ = {};
  if (!Run(*schema->rejected_frame, payload.substr(kConfluentHeaderSize), frame_)) return std::nullopt;
  return CarriedFrame{frame_.detail, frame_.frame, frame_.receive_timestamp_us};
}

Verdict MessageDecoder::Impl::Decode(std::optional<std::string_view> payload, std::string_view table_exchange,
                                     TradeColumns& out) {
  if (!payload) return {Reject(RejectReason::kNullValue, "the message has no value"), std::nullopt};
  if (!IsFramed(*payload)) {
    if (const auto framing = FramingOf({}, *payload)) {
      return {Reject(RejectReason::kNotFramed, "its schema is named by {}: only ids of a Confluent header are resolved",
                     ToString(framing->schema)),
              std::nullopt};
    }
    return {Reject(RejectReason::kNotFramed, "{} bytes, beginning {}: no Confluent header of 0 and a schema id",
                   payload->size(), Show(payload->substr(0, kConfluentHeaderSize))),
            std::nullopt};
  }
  const int32_t id = ReadSchemaId(*payload);
  if (FindSchema(id) == nullptr) return {Reject(RejectReason::kUnknownSchemaId, "no schema has the id {}", id), id};
  const size_t size_max = last_schema_->rejected_frame ? kMaxFrameMessageSize : kMaxMessageSize;
  if (payload->size() > size_max) [[unlikely]] {
    return {Reject(RejectReason::kOversized, "{} bytes, more than {}", payload->size(), size_max), id};
  }
  const std::string_view body = payload->substr(kConfluentHeaderSize);
  if (last_schema_->trade) [[likely]]
    return {DecodeTrade(*last_schema_->trade, body, table_exchange, out), id};
  if (last_schema_->rejected_frame) return {DecodeFrame(*last_schema_->rejected_frame, body), id};
  return {Reject(RejectReason::kSchemaNotResolvable, "{}", Cut(last_schema_->error)), id};
}

RejectReason MessageDecoder::Impl::DecodeTrade(const DecodePlan& plan, std::string_view body,
                                               std::string_view table_exchange, TradeColumns& out) {
  sink_.Clear();
  const RunResult result = Run(plan, body, sink_);
  if (!result) [[unlikely]]
    return Failed(plan, result, true);
  TradeRow& row = row_;
  sink_.Fill(row);
  const DecimalReading price = ReadDecimal(sink_.price(), row.price_e8);
  const DecimalReading quantity = ReadDecimal(sink_.quantity(), row.quantity_e8);
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
  if (!out.Append(row)) [[unlikely]]
    return FindBadText();
  return RejectReason::kNone;
}

// Names the first rule that a decoded trade breaks.
RejectReason MessageDecoder::Impl::Judge(std::string_view table_exchange) {
  using enum RejectReason;
  if (const RejectReason reason = FindBadText(); reason != kNone) return reason;
  TradeRow& row = row_;
  const DecimalReading price = ReadDecimal(sink_.price(), row.price_e8);
  const DecimalReading quantity = ReadDecimal(sink_.quantity(), row.quantity_e8);
  if (mode_ == Mode::kDecodeOnly) {
    const RejectReason reason = JudgeNumber("price", price, kNone, kPriceOutOfRange);
    return reason != kNone ? reason : JudgeNumber("quantity", quantity, kNone, kQuantityOutOfRange);
  }
  if (row.message_id.empty()) return Reject(kEmptyMessageId, "message_id is empty");
  if (row.trade_id.empty()) return Reject(kEmptyTradeId, "trade_id is empty");
  if (row.symbol.empty()) return Reject(kEmptySymbol, "symbol is empty");
  if (row.exchange.empty()) return Reject(kEmptyExchange, "exchange is empty");
  if (row.exchange != table_exchange) {
    return Reject(kExchangeMismatch, "exchange is {}, not {}", Show(row.exchange), table_exchange);
  }
  RejectReason reason = JudgeNumber("price", price, kPriceNotPositive, kPriceOutOfRange);
  if (reason == kNone) reason = JudgeNumber("quantity", quantity, kQuantityNotPositive, kQuantityOutOfRange);
  if (reason != kNone) return reason;
  if (row.side != TradeSide::kBuy && row.side != TradeSide::kSell) {
    return Reject(kInvalidSide, "side is {}, neither BUY nor SELL",
                  row.side == TradeSide::kSellShort ? "SELL_SHORT" : "UNKNOWN");
  }
  if (row.asset_class != AssetClass::kCrypto) return Reject(kInvalidAssetClass, "asset_class is not crypto");
  return JudgeTime();
}

RejectReason MessageDecoder::Impl::JudgeNumber(const char* field, DecimalReading reading, RejectReason not_positive,
                                               RejectReason out_of_range) {
  switch (reading) {
    case DecimalReading::kPositive: return RejectReason::kNone;
    case DecimalReading::kZero: return Reject(not_positive, "{} is zero", field);
    case DecimalReading::kNegative: return Reject(not_positive, "{} is negative", field);
    case DecimalReading::kTooLarge: return Reject(out_of_range, "{} is 10^10 or more", field);
    case DecimalReading::kTooSmall:
      return Reject(not_positive == RejectReason::kNone ? out_of_range : not_positive, "{} is -10^10 or less", field);
    case DecimalReading::kEmpty: return Reject(RejectReason::kMalformed, "{} is a decimal of no bytes", field);
  }
  return RejectReason::kNone;
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
  const size_t offset = result.offset + kConfluentHeaderSize;
  switch (result.outcome) {
    case Outcome::kTruncated: return Reject(kTruncated, "ends within {} at byte {}", field, offset);
    case Outcome::kTrailing: return Reject(kTrailingBytes, "the trade ends at byte {}, the message later", offset);
    case Outcome::kUnresolvable:
      if (trade && result.slot == kSideSlot) return Reject(kInvalidSide, "side is a symbol that V2 does not have");
      if (trade && result.slot == kAssetClassSlot) {
        return Reject(kInvalidAssetClass, "asset_class is a symbol that V2 does not have");
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

Status MessageDecoder::AddSchema(int32_t id, std::string_view schema_json) { return impl_->AddSchema(id, schema_json); }
bool MessageDecoder::HasSchema(int32_t id) const { return impl_->HasSchema(id); }

std::optional<int32_t> MessageDecoder::SchemaIdOf(std::string_view payload) {
  if (!IsFramed(payload)) return std::nullopt;
  return ReadSchemaId(payload);
}

Verdict MessageDecoder::Decode(std::optional<std::string_view> payload, std::string_view table_exchange,
                               TradeColumns& out) {
  return impl_->Decode(payload, table_exchange, out);
}

std::optional<CarriedFrame> MessageDecoder::FrameOf(std::string_view payload) { return impl_->FrameOf(payload); }

const std::string& MessageDecoder::detail() const { return impl_->detail(); }

}  // namespace k2
