// Frames of an exchange to messages at the end of a batch, as a recording's reader makes them: for feeds that are no
// files.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "exchange/frame_parser.h"
#include "source/source.h"
#include "trade/encode.h"

namespace k2::recording {

class FrameMessages final : private exchange::FrameSink {
 public:
  FrameMessages(const exchange::Exchange& exchange, int32_t trade_schema_id, int32_t rejected_schema_id)
      : exchange_(exchange),
        trade_schema_id_(trade_schema_id),
        rejected_schema_id_(rejected_schema_id),
        parser_(exchange::FrameParser::Create(exchange)) {}

  // Appends the frame's messages. Offsets count on from batch.end, which moves with them.
  exchange::FrameOutcome Append(std::string_view frame, int64_t receive_us, source::RawBatch& batch) {
    batch_ = &batch;
    frame_ = frame;
    receive_us_ = receive_us;
    return parser_->Parse(frame, receive_us, *this);
  }

 private:
  void OnTrade(const trade::Trade& trade) override {
    trade::EncodeTrade(trade, trade_schema_id_, batch_->payloads.data);
    batch_->keys.Append(trade.symbol);
    EndMessage();
  }
  void OnReject(trade::RejectReason reason, std::string_view detail) override {
    trade::EncodeRejectedFrame({.exchange = exchange_.message_name,
                                .reason = reason,
                                .detail = detail,
                                .frame = frame_,
                                .receive_timestamp_us = receive_us_},
                               rejected_schema_id_, batch_->payloads.data);
    batch_->keys.AppendNull();
    EndMessage();
  }
  void EndMessage() {
    batch_->payloads.EndValue();
    batch_->offsets.push_back(batch_->end.next_offset++);
    batch_->kafka_timestamps_us.push_back(receive_us_);
    batch_->ingestion_timestamps_us.push_back(receive_us_);
  }

  const exchange::Exchange& exchange_;
  const int32_t trade_schema_id_;
  const int32_t rejected_schema_id_;
  std::unique_ptr<exchange::FrameParser> parser_;
  source::RawBatch* batch_ = nullptr;
  std::string_view frame_;
  int64_t receive_us_ = 0;
};

}  // namespace k2::recording
