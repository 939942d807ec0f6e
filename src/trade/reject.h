// Why a message is not a row of Silver: the fixed codes of rejected_trades.reason (docs/messages.md).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace k2::trade {

// Codes are never renamed or given another meaning: they stand in tables. A new one goes to the end of its group.
enum class RejectReason : uint8_t {
  kNone,  // not rejected

  // The message as such.
  kNullValue,            // a tombstone
  kNotFramed,            // nothing before it and no header names its schema
  kUnknownSchemaId,      // no schema is known under this id
  kSchemaNotResolvable,  // the writer's schema cannot be read as a V3 trade
  kTruncated,            // the Avro body ends too early
  kTrailingBytes,        // the Avro body ends too late
  kMalformed,            // bytes that no writer of this schema makes
  kInvalidUtf8,          // a text that is not UTF-8
  kOversized,            // longer than kMaxMessageSize

  // A trade that decodes and is refused.
  kEmptyMessageId,
  kEmptyTradeId,
  kEmptySymbol,
  kEmptyExchange,
  kExchangeMismatch,  // not the exchange of this table
  kPriceNotPositive,
  kQuantityNotPositive,
  kPriceOutOfRange,      // beyond the column's type
  kQuantityOutOfRange,   // beyond the column's type
  kInvalidSide,          // neither BUY nor SELL
  kInvalidAssetClass,    // not crypto
  kTimestampTooOld,      // more than a year before ingestion_timestamp: a rule of version 1 alone
  kTimestampInFuture,    // more than kMaxTradeAheadMicros after ingestion_timestamp
  kTimestampOutOfRange,  // timestamp or ingestion_timestamp is no real time (base/time.h)

  // A frame of an exchange that could not be read, sent on whole as RejectedFrame.
  kFrameNotJson,
  kFrameBadNumber,
  kFrameNumberOutOfRange,
  kFrameMissingField,
  kFrameBadType,
  kFrameBadSide,
  kFrameBadSymbol,
  kFrameBadTime,
  kFrameOversized,
  kFrameInvalidUtf8,
  kFrameOther,        // a RejectedFrame whose reason this version does not know; the detail holds it
  kFrameOtherMarket,  // trades of the exchange's futures or options
};
inline constexpr size_t kRejectReasonCount = static_cast<size_t>(RejectReason::kFrameOtherMarket) + 1;

inline constexpr std::array<std::string_view, kRejectReasonCount> kRejectReasonTexts = {
    "none",
    "null_value",
    "not_framed",
    "unknown_schema_id",
    "schema_not_resolvable",
    "truncated",
    "trailing_bytes",
    "malformed",
    "invalid_utf8",
    "oversized",
    "empty_message_id",
    "empty_trade_id",
    "empty_symbol",
    "empty_exchange",
    "exchange_mismatch",
    "price_not_positive",
    "quantity_not_positive",
    "price_out_of_range",
    "quantity_out_of_range",
    "invalid_side",
    "invalid_asset_class",
    "timestamp_too_old",
    "timestamp_in_future",
    "timestamp_out_of_range",
    "frame_not_json",
    "frame_bad_number",
    "frame_number_out_of_range",
    "frame_missing_field",
    "frame_bad_type",
    "frame_bad_side",
    "frame_bad_symbol",
    "frame_bad_time",
    "frame_oversized",
    "frame_invalid_utf8",
    "frame_other",
    "frame_other_market",
};

// The code as it stands in rejected_trades.reason.
constexpr std::string_view ToString(RejectReason reason) { return kRejectReasonTexts[static_cast<size_t>(reason)]; }

constexpr std::optional<RejectReason> ParseRejectReason(std::string_view text) {
  for (size_t i = 1; i < kRejectReasonCount; ++i) {
    if (kRejectReasonTexts[i] == text) return static_cast<RejectReason>(i);
  }
  return std::nullopt;
}

}  // namespace k2::trade
