// Messages that were rejected, validated again by the rules and frame parsers of now.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "exchange/frame_parser.h"
#include "task/known_schemas.h"
#include "task/market_tables.h"
#include "trade/decoder.h"
#include "trade/trade_columns.h"

namespace k2::task {

// Which trades of its frame a RejectedFrame stands for, by its detail: `data[3]: field "price": ...` names one, unless
// it speaks for the rest of the frame too. Without a place it is the frame as a whole.
struct RejectedPlace {
  std::optional<size_t> place;
  bool and_later = false;
  bool operator==(const RejectedPlace&) const = default;
};
RejectedPlace PlaceOfDetail(std::string_view detail);

// Not for several threads at once.
class Revalidation {
 public:
  Revalidation(std::shared_ptr<registry::SchemaSource> of_topics,
               std::shared_ptr<registry::SchemaSource> of_recordings);

  // Appends the trades that the message holds by the current rules, and gives their number: 0 where it stays rejected.
  // A trade's message holds one. Of a RejectedFrame the frame is parsed again: all trades that the message stands for,
  // or none while one of them cannot be read, or is rejected by the rules. Errors: those of the schema source.
  Result<int64_t> Accept(std::string_view topic, const exchange::Exchange& exchange,
                         std::span<const trade::MessageHeader> headers, std::string_view payload,
                         trade::TradeColumns& out);

 private:
  struct Reader {
    explicit Reader(std::shared_ptr<registry::SchemaSource> source) : schemas(std::move(source)) {}
    KnownSchemas schemas;
    trade::MessageDecoder decoder{trade::MessageDecoder::Mode::kValidate};
  };
  int64_t AcceptFrame(const trade::CarriedFrame& carried, const exchange::Exchange& exchange, trade::TradeColumns& out);

  Reader of_topics_;
  Reader of_recordings_;
  trade::MessageDecoder of_frames_{trade::MessageDecoder::Mode::kValidate};  // messages that are made here, of frames
};

}  // namespace k2::task
