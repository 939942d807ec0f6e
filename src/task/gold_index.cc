#include "task/gold_index.h"

#include <algorithm>
#include <bit>

#include "trade/identity.h"

namespace k2::task {
namespace {

// Namespace of the hashes of message ids that are no UUIDs; drawn once at random.
constexpr Uuid kTextNamespace{
    {0x2c, 0x61, 0x0f, 0x9e, 0x55, 0x0d, 0x4b, 0x6b, 0xa8, 0x3c, 0x0e, 0x97, 0xd1, 0x4a, 0x72, 0x18}};

bool IsLowerCase(std::string_view text) {
  return std::ranges::none_of(text, [](char c) { return c >= 'A' && c <= 'F'; });
}

// The number n of a trade_id "<exchange>-<n>" in its only decimal form; -1 when it is none.
int64_t NumberOf(std::string_view trade_id, std::string_view exchange) {
  if (trade_id.size() <= exchange.size() + 1 || !trade_id.starts_with(exchange)) return -1;
  if (trade_id[exchange.size()] != '-') return -1;
  const std::string_view digits = trade_id.substr(exchange.size() + 1);
  if (digits.size() > 18 || (digits.size() > 1 && digits[0] == '0')) return -1;
  int64_t number = 0;
  for (const char digit : digits) {
    if (digit < '0' || digit > '9') return -1;
    number = number * 10 + (digit - '0');
  }
  return number;
}

constexpr int64_t kBytesPerInterval = 64;
constexpr int64_t kBytesPerSlot = 17;  // open addressing: 16 bytes and one of metadata

}  // namespace

int32_t SequenceNames::Number(std::string_view exchange, std::string_view symbol) {
  std::string name;
  name.reserve(exchange.size() + symbol.size() + 1);
  name.append(exchange).append("|").append(symbol);
  const auto found = numbers_.find(name);
  if (found != numbers_.end()) return found->second;
  const auto number = static_cast<int32_t>(numbers_.size());
  numbers_.emplace(std::move(name), number);
  return number;
}

bool TradeSet::Insert(const TradeKey& key) {
  if (key.sequence_of >= 0) {
    if (!ids_.empty() && ids_.contains(key.id)) return false;
    return sequences_[key.sequence_of].Insert(key.sequence);
  }
  return ids_.insert(key.id).second;
}

bool TradeSet::Contains(const TradeKey& key) const {
  if (!ids_.empty() && ids_.contains(key.id)) return true;
  if (key.sequence_of < 0) return false;
  const auto found = sequences_.find(key.sequence_of);
  return found != sequences_.end() && found->second.Contains(key.sequence);
}

void TradeSet::InsertAll(const TradeSet& other) {
  ids_.insert(other.ids_.begin(), other.ids_.end());
  for (const auto& [name, intervals] : other.sequences_) sequences_[name].InsertAll(intervals);
}

int64_t TradeSet::bytes() const { return static_cast<int64_t>(ids_.bucket_count()) * kBytesPerSlot + SequenceBytes(); }

int64_t TradeSet::SequenceBytes() const {
  int64_t total = 0;
  for (const auto& [name, intervals] : sequences_) {
    total += static_cast<int64_t>(intervals.intervals() + 1) * kBytesPerInterval;
  }
  return total;
}

int64_t TradeSet::BytesWith(const TradeSet& more) const {
  const int64_t with_sequences = bytes() + more.SequenceBytes();
  const size_t ids = ids_.size() + more.ids_.size();
  if (ids <= ids_.max_load()) return with_sequences;
  // Boost's table: groups of 15 slots, two of them or a higher power of two, at most 7/8 full; it grows a little early.
  constexpr size_t kSlotsPerGroup = 15;
  const size_t needed = (ids + ids / 61 + 2) * 8 / 7 + 1;
  const size_t slots = std::max<size_t>(std::bit_ceil(needed / kSlotsPerGroup + 1), 2) * kSlotsPerGroup;
  return with_sequences + static_cast<int64_t>(slots) * kBytesPerSlot;
}

Uuid IdOfText(std::string_view message_id) {
  Uuid id;
  if (Uuid::Parse(message_id, id) && IsLowerCase(message_id)) return id;
  return NameUuid(kTextNamespace, message_id);
}

TradeKey KeyOfTrade(std::string_view message_id, std::string_view exchange, std::string_view symbol,
                    std::string_view trade_id, SequenceNames& names) {
  TradeKey key{.id = IdOfText(message_id)};
  if ((key.id.bytes[6] >> 4) != 5) return key;
  // The name that is hashed joins its parts by '|': a part that holds one could be two names.
  const bool one_name = symbol.find('|') == std::string_view::npos && trade_id.find('|') == std::string_view::npos;
  if (!one_name || trade::TradeMessageId(exchange, symbol, trade_id) != key.id) {
    key.suspect = true;
    return key;
  }
  const int64_t number = NumberOf(trade_id, exchange);
  if (number < 0) return key;
  key.sequence_of = names.Number(exchange, symbol);
  key.sequence = number;
  return key;
}

std::string GoldIndex::File::Name() const {
  std::string name = path;
  for (const auto& file : deletes) name.append("\n").append(file->path);
  return name;
}

Result<std::vector<GoldIndex::File>> GoldIndex::Prepare(int64_t hour, const std::vector<File>& files,
                                                        const Loader& load) {
  std::set<std::string> live;
  for (const File& file : files) live.insert(file.Name());
  const auto found = hours_.find(hour);
  if (found != hours_.end() && !std::ranges::includes(live, found->second.covered)) {
    // A file that was covered is gone (compacted, rolled back), or has rows deleted: what is known may be too much.
    bytes_ -= found->second.bytes;
    hours_.erase(found);
  }
  Hour& entry = hours_[hour];
  entry.used = ++clock_;
  std::vector<File> uncovered;
  for (const File& file : files) {
    std::string name = file.Name();
    if (entry.covered.contains(name)) continue;
    // What was taken in before the room ran out is in Gold all the same: it may stay.
    bool whole = true;
    K2_TRY(load(file, [&](const std::vector<TradeKey>& keys) {
      TradeSet part;
      for (const TradeKey& key : keys) part.Insert(key);
      whole = MakeRoom(entry, entry.trades.BytesWith(part));
      if (!whole) return false;
      entry.trades.InsertAll(part);
      Account(entry);
      return true;
    }));
    if (!whole) {
      uncovered.push_back(file);
      continue;
    }
    entry.covered.insert(std::move(name));
  }
  return uncovered;
}

bool GoldIndex::Contains(int64_t hour, const TradeKey& key) const {
  const auto found = hours_.find(hour);
  return found != hours_.end() && found->second.trades.Contains(key);
}

bool GoldIndex::HasSequences(int64_t hour) const {
  const auto found = hours_.find(hour);
  return found != hours_.end() && found->second.trades.HasSequences();
}

bool GoldIndex::ContainsElsewhere(int64_t hour, const TradeKey& key) const {
  auto after = hours_.upper_bound(hour);
  if (after != hours_.end() && after->second.trades.Contains(key)) return true;
  const auto before = hours_.lower_bound(hour);
  return before != hours_.begin() && std::prev(before)->second.trades.Contains(key);
}

void GoldIndex::Add(int64_t hour, const TradeSet& trades, const std::vector<std::string>& paths) {
  Hour& entry = hours_[hour];
  entry.used = ++clock_;
  if (!MakeRoom(entry, entry.trades.BytesWith(trades))) return;
  entry.trades.InsertAll(trades);
  entry.covered.insert(paths.begin(), paths.end());
  Account(entry);
}

void GoldIndex::Clear() {
  hours_.clear();
  bytes_ = 0;
}

// Drops other hours, the least recently used first, until `hour` may grow to `bytes_then`. False when it may not.
bool GoldIndex::MakeRoom(const Hour& hour, int64_t bytes_then) {
  while (bytes_ - hour.bytes + bytes_then > max_bytes_) {
    auto oldest = hours_.end();
    for (auto at = hours_.begin(); at != hours_.end(); ++at) {
      if (&at->second == &hour) continue;
      if (oldest == hours_.end() || at->second.used < oldest->second.used) oldest = at;
    }
    if (oldest == hours_.end()) return false;
    bytes_ -= oldest->second.bytes;
    hours_.erase(oldest);
  }
  return true;
}

void GoldIndex::Account(Hour& hour) {
  const int64_t now = hour.trades.bytes();
  bytes_ += now - hour.bytes;
  hour.bytes = now;
}

}  // namespace k2::task
