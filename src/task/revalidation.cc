#include "task/revalidation.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <vector>

#include "trade/encode.h"
#include "trade/trade_schema.h"

namespace k2::task {
namespace {

// The trades of a frame that a RejectedFrame stands for, as messages.
class StoodForTrades final : public exchange::FrameSink {
 public:
  explicit StoodForTrades(const RejectedPlace& wanted) : wanted_(wanted) {}

  void OnTrade(const trade::Trade& trade) override {
    if (wanted_.place && (trade.place < *wanted_.place || (trade.place > *wanted_.place && !wanted_.and_later))) return;
    trade::EncodeTrade(trade, trade::kTradeV3SchemaId, messages.emplace_back());
  }
  void OnReject(trade::RejectReason /*reason*/, std::string_view /*detail*/) override { rejects = true; }

  std::vector<std::string> messages;
  bool rejects = false;

 private:
  const RejectedPlace wanted_;
};

}  // namespace

RejectedPlace PlaceOfDetail(std::string_view detail) {
  const size_t open = detail.find('[');
  const size_t close = detail.find("]: ");
  if (open == std::string_view::npos || open == 0 || close == std::string_view::npos || close < open) return {};
  const std::string_view name = detail.substr(0, open);
  if (!std::ranges::all_of(name, [](char c) { return c >= 'a' && c <= 'z'; })) return {};
  size_t place = 0;
  const auto [end, error] = std::from_chars(detail.data() + open + 1, detail.data() + close, place);
  if (error != std::errc() || end != detail.data() + close) return {};
  return {.place = place, .and_later = detail.ends_with(" more trades of this frame are rejected")};
}

Revalidation::Revalidation(std::shared_ptr<registry::SchemaSource> of_topics,
                           std::shared_ptr<registry::SchemaSource> of_recordings)
    : of_topics_(std::move(of_topics)), of_recordings_(std::move(of_recordings)) {
  (void)of_frames_.AddSchema(trade::kTradeV3SchemaId, trade::kTradeV3SchemaJson);
}

Result<int64_t> Revalidation::Accept(std::string_view topic, const exchange::Exchange& exchange,
                                     std::span<const trade::MessageHeader> headers, std::string_view payload,
                                     trade::TradeColumns& out) {
  Reader& reader = topic.starts_with("recording/") ? of_recordings_ : of_topics_;
  const std::optional<trade::MessageFraming> framing = trade::FramingOf(headers, payload);
  if (framing) K2_TRY(reader.schemas.Learn(framing->schema, reader.decoder));
  if (const auto carried = reader.decoder.FrameOf(payload, framing)) return AcceptFrame(*carried, exchange, out);
  return reader.decoder.Decode(payload, framing, exchange.message_name, out).accepted() ? 1 : 0;
}

int64_t Revalidation::AcceptFrame(const trade::CarriedFrame& carried, const exchange::Exchange& exchange,
                                  trade::TradeColumns& out) {
  const RejectedPlace wanted = PlaceOfDetail(carried.detail);
  StoodForTrades trades(wanted);
  (void)exchange::FrameParser::Create(exchange)->Parse(carried.frame, carried.receive_timestamp_us, trades);
  // The others of the frame are messages of their own: of a single trade theirs is no concern.
  const bool single = wanted.place && !wanted.and_later;
  if (trades.messages.empty() || (trades.rejects && !single)) return 0;
  trade::TradeColumns tried(out.options());
  for (const std::string& message : trades.messages) {
    if (!of_frames_.Decode(message, exchange.message_name, tried).accepted()) return 0;
  }
  for (const std::string& message : trades.messages) (void)of_frames_.Decode(message, exchange.message_name, out);
  return static_cast<int64_t>(trades.messages.size());
}

}  // namespace k2::task
