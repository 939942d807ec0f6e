// Tables that stand: what they meet upstream only somebody else can mend or accept. They are looked at again at an
// interval, everything else goes on, and the upstream table keeps what they have not read
// (docs/source-offsets.md, "When others change an upstream table").
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "table/table.h"

namespace k2::pipeline {

// The tag in the upstream table by which `table` (gold_crypto_trades, silver_*) keeps the snapshot at which it stands:
// k2-stands-gold, k2-stands-silver-binance. The one before that snapshot has the same with "-before".
inline constexpr std::string_view kStandsTagPrefix = "k2-stands-";
std::string StandsTag(std::string_view table);
std::string BeforeTag(std::string_view table);

// Sets both tags, or leaves those that are there.
Status SetStandsTags(table::Table& upstream, std::string_view table, int64_t snapshot_id);
// Asks the catalog only where the metadata that `upstream` has in memory shows one.
Status RemoveStandsTags(table::Table& upstream, std::string_view table);

// The snapshot of the upstream table at which a table stands that has read up to the snapshot `read`: the tagged one,
// else the newest since by which another engine has removed or rewritten files, else appended some, else main's head.
// Null: the upstream table has no snapshot.
const iceberg::Snapshot* StandsAt(const iceberg::TableMetadata& upstream, std::string_view table, int64_t read);

// An error of one table alone, and none that passes by itself.
bool IsOfTheTable(const Error& error);

// What stands within a layer, by table, with when it is looked at again: after 1 s, then after twice as long each time,
// at most 30 s.
class StandingTables {
 public:
  void Add(const std::string& table, Error error);
  void Remove(const std::string& table) { tables_.erase(table); }
  // Whether it stands, and is not to be looked at again yet.
  [[nodiscard]] bool IsAside(const std::string& table) const;
  [[nodiscard]] bool Contains(const std::string& table) const { return tables_.contains(table); }
  [[nodiscard]] bool empty() const { return tables_.empty(); }
  // Of all of them; nullopt: nothing stands.
  [[nodiscard]] std::optional<Error> error() const;

 private:
  struct Standing {
    Error error;
    int64_t pause_us = 0;
    int64_t again_us = 0;
  };
  std::map<std::string, Standing> tables_;
};

}  // namespace k2::pipeline
