#include "exchange/frame_parser.h"

#include <fmt/format.h>

namespace k2::exchange {

std::unique_ptr<FrameParser> FrameParser::Create(const Exchange& exchange, size_t max_frame_size) {
  return exchange.make_parser(max_frame_size);
}

FrameOutcome FrameParser::Parse(std::string_view frame, int64_t receive_us, FrameSink& sink) {
  if (frame.size() > max_frame_size_) {
    sink.OnReject(trade::RejectReason::kFrameOversized,
                  fmt::format("{} bytes, more than the limit of {}", frame.size(), max_frame_size_));
    return FrameOutcome::kRejected;
  }
  return ParseFrame(frame, receive_us, sink);
}

// A frame that is no UTF-8 is said to be that, and not to be broken where the reader stumbled.
FrameOutcome FrameParser::RejectBroken(const json::Cursor& cursor, std::string_view frame, FrameSink& sink) {
  if (!json::IsValidUtf8(frame)) return RejectUtf8(sink);
  if (frame.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    sink.OnReject(trade::RejectReason::kFrameNotJson, "the frame is empty");
  } else {
    const size_t at = cursor.position();
    sink.OnReject(trade::RejectReason::kFrameNotJson,
                  at >= frame.size() ? fmt::format("the JSON ends too early, after {} bytes", frame.size())
                                     : fmt::format("not JSON at byte {}: {}", at, json::Quoted(frame.substr(at, 24))));
  }
  return FrameOutcome::kRejected;
}

FrameOutcome FrameParser::RejectUtf8(FrameSink& sink) {
  sink.OnReject(trade::RejectReason::kFrameInvalidUtf8, "the frame is not UTF-8");
  return FrameOutcome::kRejected;
}

FrameOutcome FrameParser::RejectScalar(FrameSink& sink) {
  sink.OnReject(trade::RejectReason::kFrameBadType, "the frame is neither a JSON object nor an array");
  return FrameOutcome::kRejected;
}

}  // namespace k2::exchange
