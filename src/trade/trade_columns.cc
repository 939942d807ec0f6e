#include "trade/trade_columns.h"

#include <unordered_map>

#include "base/time.h"
#include "trade/trade_table.h"

namespace k2::trade {
namespace {

constexpr size_t kOffsetLimit = size_t{1} << 30;
}  // namespace

void TradeColumns::Bits::Set(size_t row, bool valid) {
  const auto bit = static_cast<uint8_t>(1U << (row % 8));
  if (row % 8 == 0) bits[row / 8] = 0;
  bits[row / 8] = static_cast<uint8_t>(valid ? bits[row / 8] | bit : bits[row / 8] & ~bit);
}

int32_t TradeColumns::EnumColumn::Find(std::span<const std::string_view> symbols, size_t symbol) {
  int32_t& index = known[symbol];
  if (index < 0) index = column.dictionary.Find(symbols[symbol]);
  return index;
}

size_t TradeColumns::bytes() const {
  constexpr size_t kFixed = 6 * sizeof(int32_t) + 4 * sizeof(int64_t) + 2 * 16 + 5 * sizeof(int32_t);
  const auto text = [](const TextColumn& column) { return column.size + column.count * sizeof(int32_t); };
  return rows_ * kFixed + text(message_id_) + text(trade_id_) + text(conditions_) + text(vendor_values_) +
         text(symbol_.dictionary.texts()) + text(vendor_keys_.dictionary.texts()) +
         text(vendor_value_dictionary_.dictionary.texts()) + entries_ * 2 * sizeof(int32_t);
}

bool TradeColumns::Full() const {
  return std::max({expanded_, message_id_.size, trade_id_.size, conditions_.size, conditions_.count,
                   vendor_values_.size, entries_, rows_, symbol_.dictionary.texts().size,
                   currency_.dictionary.texts().size, exchange_.dictionary.texts().size,
                   vendor_keys_.dictionary.texts().size, vendor_value_dictionary_.dictionary.texts().size}) >=
         kOffsetLimit;
}

void TradeColumns::ReserveRow() {
  if (rows_ < capacity_) [[likely]]
    return;
  capacity_ = std::max({first_capacity_, capacity_ * 2, size_t{64}});
  for (auto* indexes :
       {&symbol_.indexes, &exchange_.indexes, &asset_class_.column.indexes, &currency_.indexes, &side_.column.indexes,
        &source_.column.indexes, &exchange_date_, &condition_offsets_, &vendor_offsets_}) {
    indexes->Reserve(capacity_ + 1);
  }
  for (auto* numbers : {&timestamp_, &source_sequence_, &ingestion_timestamp_, &platform_sequence_}) {
    numbers->Reserve(capacity_);
  }
  price_.Reserve(capacity_);
  quantity_.Reserve(capacity_);
  for (auto* valid : {&source_sequence_valid_, &platform_sequence_valid_, &vendor_valid_, &source_.valid}) {
    valid->bits.Reserve((capacity_ + 7) / 8);
  }
  if (rows_ == 0) {
    condition_offsets_[0] = 0;
    vendor_offsets_[0] = 0;
  }
}

bool TradeColumns::Append(const TradeRow& row) {
  ReserveRow();
  const size_t conditions = conditions_.count;
  const size_t entries = entries_;
  if (!AppendTexts(row)) [[unlikely]] {
    message_id_.Truncate(rows_);
    trade_id_.Truncate(rows_);
    conditions_.Truncate(conditions);
    TruncateEntries(entries);
    return false;
  }
  const size_t i = rows_;
  asset_class_.column.indexes[i] = asset_class_.Find(kAssetClasses, static_cast<size_t>(row.asset_class));
  timestamp_[i] = row.timestamp_us;
  price_[i] = row.price_e14;
  quantity_[i] = row.quantity_e8;
  side_.column.indexes[i] = side_.Find(kSides, static_cast<size_t>(row.side));
  condition_offsets_[i + 1] = static_cast<int32_t>(conditions_.count);
  source_sequence_[i] = row.source_sequence.value_or(0);
  source_sequence_valid_.Set(i, row.source_sequence.has_value());
  source_sequence_valid_.nulls += row.source_sequence ? 0 : 1;
  ingestion_timestamp_[i] = row.ingestion_timestamp_us;
  platform_sequence_[i] = row.platform_sequence.value_or(0);
  platform_sequence_valid_.Set(i, row.platform_sequence.has_value());
  platform_sequence_valid_.nulls += row.platform_sequence ? 0 : 1;
  vendor_offsets_[i + 1] = static_cast<int32_t>(entries_);
  vendor_valid_.Set(i, row.vendor_data.has_value());
  vendor_valid_.nulls += row.vendor_data ? 0 : 1;
  // Of a null an index of one of the dictionary's texts: some readers look all of them up.
  source_.column.indexes[i] =
      source_.Find(kTradeSources, static_cast<size_t>(row.source.value_or(TradeSource::kStream)));
  source_.valid.Set(i, row.source.has_value());
  source_.valid.nulls += row.source ? 0 : 1;
  exchange_date_[i] = DayOfMicros(row.timestamp_us);
  if (!options_.dictionaries) CountExpanded(row);
  ++rows_;
  return true;
}

// What dictionaries will take when they are written out.
void TradeColumns::CountExpanded(const TradeRow& row) {
  size_t keys = 0;
  if (row.vendor_data) {
    for (const VendorEntry& entry : *row.vendor_data) keys += entry.key.size() + entry.value.size();
  }
  expanded_ += std::max({row.symbol.size(), row.exchange.size(), row.currency.size(), keys, size_t{16}});
}

bool TradeColumns::AppendTexts(const TradeRow& row) {
  const int32_t symbol = symbol_.dictionary.Find(row.symbol);
  const int32_t exchange = exchange_.dictionary.Find(row.exchange);
  const int32_t currency = currency_.dictionary.Find(row.currency);
  if ((symbol | exchange | currency) < 0) [[unlikely]]
    return false;
  symbol_.indexes[rows_] = symbol;
  exchange_.indexes[rows_] = exchange;
  currency_.indexes[rows_] = currency;
  const uint64_t bits = message_id_.Append(row.message_id) | trade_id_.Append(row.trade_id);
  if ((bits & kNonAsciiBits) != 0 && !(IsUtf8(row.message_id) && IsUtf8(row.trade_id))) [[unlikely]]
    return false;
  if (!row.trade_conditions.empty() && !AppendConditions(row.trade_conditions)) return false;
  if (!row.vendor_data || AppendVendorData(*row.vendor_data)) return true;
  return false;
}

bool TradeColumns::AppendConditions(std::span<const std::string_view> conditions) {
  for (const std::string_view condition : conditions) {
    if ((conditions_.Append(condition) & kNonAsciiBits) != 0 && !IsUtf8(condition)) return false;
  }
  return true;
}

bool TradeColumns::AppendVendorData(std::span<const VendorEntry> entries) {
  const size_t first = entries_;
  vendor_keys_.indexes.Reserve(entries_ + entries.size());
  if (options_.dictionary_vendor_values) vendor_value_dictionary_.indexes.Reserve(entries_ + entries.size());
  uint64_t bits = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    int32_t& guess = key_guesses_[i % kGuesses];
    const int32_t key = vendor_keys_.dictionary.Find(entries[i].key, guess);
    if (key < 0) [[unlikely]]
      return false;
    guess = key;
    if (static_cast<size_t>(key) >= key_rows_.size()) [[unlikely]]
      key_rows_.resize(static_cast<size_t>(key) * 2 + 16);
    if (key_rows_[static_cast<size_t>(key)] == rows_ + 1) [[unlikely]] {
      TruncateEntries(first);
      return AppendDistinct(entries);
    }
    key_rows_[static_cast<size_t>(key)] = rows_ + 1;
    vendor_keys_.indexes[entries_] = key;
    if (options_.dictionary_vendor_values) {
      int32_t& value_guess = value_guesses_[i % kGuesses];
      const int32_t value = vendor_value_dictionary_.dictionary.Find(entries[i].value, value_guess);
      if (value < 0) [[unlikely]]
        return false;
      value_guess = value;
      vendor_value_dictionary_.indexes[entries_] = value;
    } else {
      bits |= vendor_values_.Append(entries[i].value);
    }
    ++entries_;
  }
  if ((bits & kNonAsciiBits) == 0) [[likely]]
    return true;
  return std::ranges::all_of(entries, [](const VendorEntry& entry) { return IsUtf8(entry.value); });
}

// The entries had a key twice.
bool TradeColumns::AppendDistinct(std::span<const VendorEntry> entries) {
  const auto is_text = [](const VendorEntry& entry) { return IsUtf8(entry.key) && IsUtf8(entry.value); };
  if (!std::ranges::all_of(entries, is_text)) return false;
  std::vector<VendorEntry> distinct;
  std::unordered_map<std::string_view, size_t> places;
  for (const VendorEntry& entry : entries) {
    const auto [place, added] = places.emplace(entry.key, distinct.size());
    if (added) {
      distinct.push_back(entry);
    } else {
      distinct[place->second].value = entry.value;
    }
  }
  std::ranges::fill(key_rows_, 0);
  return AppendVendorData(distinct);
}

void TradeColumns::TruncateEntries(size_t count) {
  entries_ = count;
  if (!options_.dictionary_vendor_values) vendor_values_.Truncate(count);
  std::ranges::fill(key_rows_, 0);  // the row that was given up may come again
}

}  // namespace k2::trade
