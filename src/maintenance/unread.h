// What the downstream layer has not read of a table, file by file.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pipeline/lakehouse.h"
#include "table/dropped_unread.h"
#include "table/recreated_topics.h"
#include "table/scan.h"
#include "task/bronze_parts.h"

namespace k2::maintenance {

class Readers {
 public:
  // Of one of K2's tables, by where its downstream layer is now.
  static Result<Readers> Of(const pipeline::Lakehouse& lakehouse, const table::Table& table);

  struct Unread {
    table::DroppedUnread rows;  // what would be lost with the file
    bool blocked = false;       // the downstream layer is (UnreadFacts of retention_rules.h)
    bool needed = false;        // by Silver, to catch up with rejected_trades
  };
  // Never too little. May read columns of a Bronze file that holds rows of several sources.
  [[nodiscard]] Result<Unread> Of(const table::ScanFile& file) const;

  // Is any of it still missing to the downstream layer? What a layer has passed, or has been told to pass, is not.
  [[nodiscard]] table::DroppedUnread StillMissing(table::DroppedUnread dropped) const;

 private:
  explicit Readers(const table::Table& table) : table_(table) {}
  Status LookAtSilver(const pipeline::Lakehouse& lakehouse);
  Status LookAtGold(const pipeline::Lakehouse& lakehouse);
  [[nodiscard]] int64_t ReadTo(const table::SourceKey& key) const;
  [[nodiscard]] Result<Unread> Find(const table::ScanFile& file) const;
  [[nodiscard]] Result<Unread> OfBronze(const table::ScanFile& file) const;
  [[nodiscard]] Result<Unread> OfRejected(const table::ScanFile& file) const;

  enum class Downstream { kNobody, kSilver, kSilverCatchingUp, kGold };
  table::Table table_;
  Downstream downstream_ = Downstream::kNobody;
  table::RecreatedTopics recreated_;
  table::LayerProgress own_;
  bool blocked_ = false;
  std::map<table::SourceKey, int64_t> read_to_;  // offsets below it are read
  int64_t read_sequence_ = 0;                    // Gold has read all that came up to it
};

}  // namespace k2::maintenance
