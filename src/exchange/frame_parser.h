// One received WebSocket text frame to the trades in it. Pure: no sockets, no clock.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "exchange/exchange.h"
#include "exchange/json.h"
#include "trade/reject.h"
#include "trade/trade.h"

namespace k2::exchange {

// Takes what a frame holds, in the order of the frame. Views are valid during the call only.
class FrameSink {
 public:
  virtual ~FrameSink() = default;
  virtual void OnTrade(const trade::Trade& trade) = 0;
  // The frame as a whole, or one trade of it (the detail says which), could not be read. The detail is ASCII.
  virtual void OnReject(trade::RejectReason reason, std::string_view detail) = 0;
  // A frame that is skipped holds market data of another channel, or of another exchange; not a heartbeat or a reply.
  virtual void OnOtherChannel(std::string_view /*name*/) {}
};

enum class FrameOutcome : uint8_t {
  kTrades,    // every trade of the frame was handed on
  kSkipped,   // not a trade frame: nothing was handed on
  kRejected,  // OnReject was called at least once; the good trades of the frame were handed on
};

inline constexpr size_t kDefaultMaxFrameSize = size_t{1} << 20;

// Reads frames of one exchange; keeps only scratch memory between them. Not for several threads at once.
//
// A frame that is told early to be something else than trades is skipped without being read to its end. A trade frame
// is wholly valid JSON in UTF-8, or it is rejected as a whole. A trade whose fields are wrong is rejected alone.
// Frames whose kind cannot be told are rejected, never skipped.
class FrameParser {
 public:
  static std::unique_ptr<FrameParser> Create(const Exchange& exchange, size_t max_frame_size = kDefaultMaxFrameSize);
  virtual ~FrameParser() = default;

  // receive_us: when the frame was received; becomes the trades' ingestion_timestamp.
  FrameOutcome Parse(std::string_view frame, int64_t receive_us, FrameSink& sink);

 protected:
  explicit FrameParser(size_t max_frame_size) : max_frame_size_(max_frame_size) {}
  virtual FrameOutcome ParseFrame(std::string_view frame, int64_t receive_us, FrameSink& sink) = 0;

  static FrameOutcome RejectBroken(const json::Cursor& cursor, std::string_view frame, FrameSink& sink);
  static FrameOutcome RejectUtf8(FrameSink& sink);
  static FrameOutcome RejectScalar(FrameSink& sink);

 private:
  size_t max_frame_size_;
};

// For a venue's row of the registry.
template <typename Frames>
std::unique_ptr<FrameParser> MakeParser(size_t max_frame_size) {
  return std::make_unique<Frames>(max_frame_size);
}

}  // namespace k2::exchange
