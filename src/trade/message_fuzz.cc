// Any bytes as a message: one row or one reason; and the columns hold what they say.
#include <cstdlib>

#include "trade/decoder.h"
#include "trade/trade_schema.h"

namespace {

// V2 with fields moved, dropped, added and widened.
constexpr std::string_view kOtherVersion = R"({"type":"record","name":"TradeV2","fields":[
  {"name":"extra","type":{"type":"array","items":["null",{"type":"record","name":"E","fields":[
    {"name":"x","type":"double"},{"name":"y","type":["null","E"]}]}]}},
  {"name":"vendor_data","type":{"type":"map","values":["null","string","bytes"]}},
  {"name":"message_id","type":"bytes"},{"name":"trade_id","type":"string"},{"name":"symbol","type":"string"},
  {"name":"exchange","type":"string"},
  {"name":"asset_class","type":{"type":"enum","name":"AssetClass","symbols":["bonds","crypto"]}},
  {"name":"ingestion_timestamp","type":"int"},{"name":"timestamp","type":"long"},
  {"name":"price","type":{"type":"fixed","name":"F","size":12,"logicalType":"decimal","precision":20,"scale":8}},
  {"name":"quantity","type":{"type":"bytes","logicalType":"decimal","precision":18,"scale":8}},
  {"name":"currency","type":"string"},
  {"name":"side","type":{"type":"enum","name":"TradeSide","symbols":["SELL","BUY"]}},
  {"name":"source_sequence","type":["int","null","string"]}]})";

void Check(k2::trade::MessageDecoder& decoder, std::string_view payload,
           const std::optional<k2::trade::MessageFraming>& framing, k2::trade::TradeColumns& columns) {
  const size_t before = columns.rows();
  const k2::trade::Verdict verdict = decoder.Decode(payload, framing, "BINANCE", columns);
  if (columns.rows() != before + (verdict.accepted() ? 1 : 0)) std::abort();
  if (!verdict.accepted() && (decoder.detail().empty() || !k2::trade::IsUtf8(decoder.detail()))) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto decoders = [] {
    auto made = std::array{k2::trade::MessageDecoder(),
                           k2::trade::MessageDecoder(k2::trade::MessageDecoder::Mode::kDecodeOnly)};
    for (auto& decoder : made) {
      if (!decoder.AddSchema(1, k2::trade::kTradeV2SchemaJson) ||
          !decoder.AddSchema(2, k2::trade::kRejectedFrameSchemaJson) ||
          !decoder.AddSchema(3, k2::trade::kTradeV3SchemaJson) || !decoder.AddSchema(4, kOtherVersion)) {
        std::abort();
      }
    }
    return std::make_unique<std::array<k2::trade::MessageDecoder, 2>>(std::move(made));
  }();
  const std::string_view payload(reinterpret_cast<const char*>(data), size);
  static std::array layouts = {k2::trade::TradeColumns(), k2::trade::TradeColumns({.dictionaries = false}),
                               k2::trade::TradeColumns({.dictionary_vendor_values = true, .numbers_of_v2 = true})};
  k2::trade::TradeColumns& columns = layouts[size % layouts.size()];
  for (auto& decoder : *decoders) {
    Check(decoder, payload, k2::trade::FramingOf({}, payload), columns);
    Check(decoder, payload, k2::trade::MessageFraming{.schema = 1 + static_cast<int32_t>(size % 3)}, columns);
  }
  if (columns.rows() < 50 && size % 16 != 0) return 0;  // an export costs more than a thousand messages
  ArrowArray array;
  ArrowSchema schema;
  columns.Export(&array, &schema);
  array.release(&array);
  schema.release(&schema);
  return 0;
}
