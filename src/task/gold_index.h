// Which trades Gold holds already, by hour, within a bound of memory.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/uuid.h"
#include "iceberg/delete_index.h"
#include "task/interval_set.h"

namespace k2::task {

// The identity of a trade as Gold compares it. A message_id that K2 made itself and whose exchange numbers its trades
// is a number in a sequence; any other is 128 bits.
struct TradeKey {
  Uuid id;
  int32_t sequence_of = -1;  // index of the (exchange, symbol) in a KeyReader; -1: compare by id
  int64_t sequence = 0;
  // Compared by id, and looks like one of K2's own without being derived from this trade's fields: it may be the id of
  // a trade that is held as a number. Only the stored ids can tell.
  bool suspect = false;
};

struct UuidHash {
  using is_avalanching = void;
  size_t operator()(const Uuid& uuid) const {
    uint64_t words[2];
    std::memcpy(words, uuid.bytes.data(), sizeof words);
    return (words[0] ^ (words[1] * 0x9e3779b97f4a7c15ULL)) * 0xff51afd7ed558ccdULL;
  }
};
using IdSet = boost::unordered_flat_set<Uuid, UuidHash>;

// Names of the sequences: one number for each (exchange, symbol) seen by this process.
class SequenceNames {
 public:
  int32_t Number(std::string_view exchange, std::string_view symbol);

 private:
  std::map<std::string, int32_t, std::less<>> numbers_;
};

// A set of trades.
class TradeSet {
 public:
  // False when it was there.
  bool Insert(const TradeKey& key);
  [[nodiscard]] bool Contains(const TradeKey& key) const;
  void InsertAll(const TradeSet& other);
  [[nodiscard]] int64_t bytes() const;
  // Bytes at most while and after `more` is inserted: growing holds the old and the new array for a moment.
  [[nodiscard]] int64_t BytesWith(const TradeSet& more) const;
  [[nodiscard]] bool HasSequences() const { return !sequences_.empty(); }

 private:
  [[nodiscard]] int64_t SequenceBytes() const;

  IdSet ids_;
  std::map<int32_t, IntervalSet> sequences_;
};

// 128 bits that stand for a message_id text: a UUID in its canonical lower-case form is itself; any other text is
// hashed (SHA-1, under a namespace of its own, so that it meets no UUID by chance).
Uuid IdOfText(std::string_view message_id);

// The trade's key: its sequence number when message_id is the one K2 derives from exchange, symbol and trade_id, and
// trade_id is EXCHANGE-<number>.
TradeKey KeyOfTrade(std::string_view message_id, std::string_view exchange, std::string_view symbol,
                    std::string_view trade_id, SequenceNames& names);

// Sets of recent hours. An hour is true for the files it covers: those of which it holds all trades of the hour. Files
// that do not fit in the bound stay uncovered, and are read by who asks. Not thread-safe.
class GoldIndex {
 public:
  explicit GoldIndex(int64_t max_bytes) : max_bytes_(max_bytes) {}

  struct File {
    std::string path;
    int64_t record_count = 0;
    bool other_hours = false;  // it may hold rows of other hours, too
    iceberg::DeleteFiles deletes = {};
    // A file is what it holds: with other delete files it is another one.
    [[nodiscard]] std::string Name() const;
  };
  // Reads the trades that one file has of the hour, part by part, until `take` answers false.
  using Take = std::function<bool(const std::vector<TradeKey>& keys)>;
  using Loader = std::function<Status(const File& file, const Take& take)>;

  // Brings `hour` up to date with the files that Gold holds for it now, and says which of them it could not take in.
  Result<std::vector<File>> Prepare(int64_t hour, const std::vector<File>& files, const Loader& load);

  [[nodiscard]] bool Contains(int64_t hour, const TradeKey& key) const;
  [[nodiscard]] bool HasSequences(int64_t hour) const;
  // Is the key in the hour before or after that is in memory? The same id in two hours is an identity conflict; looking
  // in every hour that is held would cost a catch-up over many hours more than the rows themselves.
  [[nodiscard]] bool ContainsElsewhere(int64_t hour, const TradeKey& key) const;

  // Takes in the trades of files that were just written for `hour`, if they fit.
  void Add(int64_t hour, const TradeSet& trades, const std::vector<std::string>& paths);

  // Forgets everything: after a commit that failed, what was added is not in Gold.
  void Clear();

  [[nodiscard]] int64_t bytes() const { return bytes_; }
  [[nodiscard]] int64_t max_bytes() const { return max_bytes_; }
  SequenceNames& names() { return names_; }

 private:
  struct Hour {
    TradeSet trades;
    std::set<std::string> covered;  // names of files
    int64_t bytes = 0;
    int64_t used = 0;  // clock of the last use
  };
  bool MakeRoom(const Hour& hour, int64_t bytes_then);
  void Account(Hour& hour);

  int64_t max_bytes_;
  int64_t bytes_ = 0;
  int64_t clock_ = 0;
  std::map<int64_t, Hour> hours_;
  SequenceNames names_;
};

}  // namespace k2::task
