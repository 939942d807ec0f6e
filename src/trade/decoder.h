// From the bytes of a message to a row of Silver, or to the reason why it is none (docs/messages.md).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "trade/message_framing.h"
#include "trade/reject.h"
#include "trade/trade_columns.h"

namespace k2::trade {

// A verdict depends on the bytes of a message, the headers that name a schema, the resolved schema and these rules, on
// nothing else. A change of any rule is a new version. Version 2 rejected numbers that decimal(18,8) does not hold; it
// is what a table of the older format is still validated by (docs/tables.md). Version 1 rejected trades that were older
// than a year at their ingestion, which old recordings and the snapshots of quiet pairs are full of, took times of any
// year, and read frame_other_market as frame_other.
inline constexpr int32_t kRulesVersion = 3;
inline constexpr int32_t kRulesVersionOfOlderFormat = 2;

inline constexpr size_t kMaxFrameMessageSize = size_t{17} << 20;          // a frame that could not be read, kept whole
inline constexpr size_t kMaxMessageSize = 1 << 20;                        // bytes, header included
inline constexpr int64_t kMaxTradeAheadMicros = int64_t{60} * 1'000'000;  // of timestamp before ingestion_timestamp

// A frame of an exchange that a message carries because it could not be read: views of the message.
struct CarriedFrame {
  std::string_view detail;
  std::string_view frame;
  int64_t receive_timestamp_us = 0;
};

struct Verdict {
  RejectReason reason = RejectReason::kNone;
  std::optional<int32_t> schema_id;  // Confluent's, where the message names its schema so
  [[nodiscard]] bool accepted() const { return reason == RejectReason::kNone; }
};

// One per thread.
class MessageDecoder {
 public:
  enum class Mode {
    kValidate,
    // Takes every trade that decodes and fits the columns' types: for comparing what is there already.
    kDecodeOnly,
  };
  explicit MessageDecoder(Mode mode = Mode::kValidate);
  ~MessageDecoder();
  MessageDecoder(MessageDecoder&&) noexcept;
  MessageDecoder& operator=(MessageDecoder&&) noexcept;

  // Makes a schema known as messages name it: a trade's, or RejectedFrame's. Error kInvalidData: the text is no schema,
  // or cannot be read as either; it is known all the same, and its messages are rejected as schema_not_resolvable.
  // Error kInvalidArgument: there is another schema of that name already.
  Status AddSchema(const SchemaRef& ref, std::string_view schema_json);
  [[nodiscard]] bool HasSchema(const SchemaRef& ref) const;

  // Adds exactly one row to out, or leaves its rows as they were and says why. No payload is a tombstone. `framing`: of
  // the payload and its headers (FramingOf).
  Verdict Decode(std::optional<std::string_view> payload, const std::optional<MessageFraming>& framing,
                 std::string_view table_exchange, TradeColumns& out);
  // Of a message without headers.
  Verdict Decode(std::optional<std::string_view> payload, std::string_view table_exchange, TradeColumns& out);

  // The frame in a RejectedFrame message; nothing where the message is none, or broken.
  std::optional<CarriedFrame> FrameOf(std::string_view payload, const std::optional<MessageFraming>& framing);

  // What was wrong with the message rejected last, for people: which field, which value.
  [[nodiscard]] const std::string& detail() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace k2::trade
