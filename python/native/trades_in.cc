#include "trades_in.h"

#include <fmt/format.h>

#include "trade/identity.h"
#include "trade/text.h"
#include "trade/trade_table.h"

namespace k2::python {
namespace {

std::string_view TextAt(const BytesColumn& column, int64_t row) {
  const std::string_view text = column.Required(row);
  if (!trade::IsUtf8(text)) column.FailAt(row, "is not UTF-8");
  return text;
}

size_t SymbolAt(const BytesColumn& column, int64_t row, const std::array<std::string_view, 4>& symbols) {
  const std::string_view text = column.Required(row);
  for (size_t i = 0; i < symbols.size(); ++i) {
    if (symbols[i] == text) return i;
  }
  column.FailAt(row, fmt::format("is none of {}", fmt::join(symbols, ", ")));
}

template <typename Read>
std::optional<Read> Maybe(const Column& root, const char* name) {
  const std::optional<Column> column = root.Child(name);
  if (!column || column->format() == "n") return std::nullopt;
  return Read(*column);
}

}  // namespace

Column TradesIn::Need(const char* name) const {
  std::optional<Column> column = root_.Child(name);
  if (!column) throw BadInput(fmt::format("trades: there is no column {}", name));
  return *std::move(column);
}

BytesColumn TradesIn::Texts(const char* name) const { return BytesColumn(Need(name)); }

TradesIn::TradesIn(const Batch& batch)
    : root_([&] {
        Column root(batch.schema, batch.array, "trades");
        if (!root.IsStruct()) root.Fail("a table with the columns of TradeV3 is wanted");
        return root;
      }()),
      message_id_(Maybe<BytesColumn>(root_, "message_id")),
      trade_id_(Texts("trade_id")),
      symbol_(Texts("symbol")),
      exchange_(Texts("exchange")),
      asset_class_(Texts("asset_class")),
      timestamp_(Need("timestamp")),
      price_(Need("price"), trade::kPriceType),
      quantity_(Need("quantity"), trade::kQuantityType),
      currency_(Texts("currency")),
      side_(Texts("side")),
      conditions_(Maybe<ListColumn>(root_, "trade_conditions")),
      source_sequence_(Maybe<LongColumn>(root_, "source_sequence")),
      ingestion_timestamp_(Need("ingestion_timestamp")),
      platform_sequence_(Maybe<LongColumn>(root_, "platform_sequence")),
      vendor_data_(Maybe<ListColumn>(root_, "vendor_data")),
      source_(Maybe<BytesColumn>(root_, "source")) {
  // A list without any item may have items of no type.
  if (conditions_ && conditions_->items().format() != "n") {
    condition_.emplace(conditions_->items().Named("trade_conditions"));
  }
  if (!vendor_data_) return;
  const std::vector<Column> pair = vendor_data_->items().Children();
  if (pair.size() != 2) throw BadInput("column vendor_data: a map, or a list of key and value, is wanted");
  vendor_key_.emplace(pair[0].Named("vendor_data.key"));
  vendor_value_.emplace(pair[1].Named("vendor_data.value"));
}

const trade::TradeRow& TradesIn::At(int64_t row) {
  if (root_.IsNull(row)) root_.FailAt(row, "is null");
  row_.trade_id = TextAt(trade_id_, row);
  row_.symbol = TextAt(symbol_, row);
  row_.exchange = TextAt(exchange_, row);
  row_.asset_class = static_cast<trade::AssetClass>(SymbolAt(asset_class_, row, trade::kAssetClasses));
  row_.timestamp_us = timestamp_.Required(row);
  row_.price_e14 = price_.Required(row);
  row_.quantity_e8 = quantity_.Required(row);
  row_.currency = TextAt(currency_, row);
  row_.side = static_cast<trade::TradeSide>(SymbolAt(side_, row, trade::kSides));
  row_.source_sequence = source_sequence_ ? source_sequence_->At(row) : std::nullopt;
  row_.ingestion_timestamp_us = ingestion_timestamp_.Required(row);
  row_.platform_sequence = platform_sequence_ ? platform_sequence_->At(row) : std::nullopt;
  if (message_id_) {
    row_.message_id = TextAt(*message_id_, row);
  } else {
    trade::TradeMessageId(row_.exchange, row_.symbol, row_.trade_id).Format(id_.data());
    row_.message_id = {id_.data(), id_.size()};
  }
  row_.source.reset();
  if (source_ && !source_->IsNull(row))
    row_.source = static_cast<trade::TradeSource>(SymbolAt(*source_, row, trade::kTradeSources));
  ReadConditions(row);
  ReadVendorData(row);
  return row_;
}

void TradesIn::ReadConditions(int64_t row) {
  condition_texts_.clear();
  if (conditions_ && condition_) {
    const ListColumn::Range range = conditions_->At(row);
    for (int64_t i = range.begin; i < range.end; ++i) condition_texts_.push_back(TextAt(*condition_, i));
  }
  row_.trade_conditions = condition_texts_;
}

void TradesIn::ReadVendorData(int64_t row) {
  row_.vendor_data.reset();
  if (!vendor_data_ || vendor_data_->IsNull(row)) return;
  entries_.clear();
  const ListColumn::Range range = vendor_data_->At(row);
  for (int64_t i = range.begin; i < range.end; ++i) {
    entries_.push_back({TextAt(*vendor_key_, i), TextAt(*vendor_value_, i)});
  }
  row_.vendor_data = entries_;
}

}  // namespace k2::python
