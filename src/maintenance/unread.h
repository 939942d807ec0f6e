// What the layer below a table has yet to read of it, file by file.
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
  // Of one of K2's tables, as the layer below it stands now.
  static Result<Readers> Of(const pipeline::Lakehouse& lakehouse, const table::Table& table);

  struct Unread {
    table::DroppedUnread rows;  // what would be lost with the file
    bool held = false;          // the layer below stands: as long as it does, no hold ends
    bool vital = false;  // no hold's end makes it droppable: without it the layer below would go wrong in silence
  };
  // Never too little. May read columns of a Bronze file that holds rows of several sources.
  [[nodiscard]] Result<Unread> Of(const table::ScanFile& file) const;

  // Is any of it still missing to the layer below? What a layer has passed, or has been told to pass, is not.
  [[nodiscard]] table::DroppedUnread StillMissing(table::DroppedUnread dropped) const;

 private:
  explicit Readers(const table::Table& table) : table_(table) {}
  Status LookAtSilver(const pipeline::Lakehouse& lakehouse);
  Status LookAtGold(const pipeline::Lakehouse& lakehouse);
  [[nodiscard]] int64_t ReadTo(const table::SourceKey& key) const;
  [[nodiscard]] Result<Unread> Find(const table::ScanFile& file) const;
  [[nodiscard]] Result<Unread> OfBronze(const table::ScanFile& file) const;
  [[nodiscard]] Result<Unread> OfRejected(const table::ScanFile& file) const;

  enum class Below { kNobody, kSilver, kSilverCatchingUp, kGold };
  table::Table table_;
  Below below_ = Below::kNobody;
  table::RecreatedTopics recreated_;
  table::LayerProgress own_;
  bool below_stands_ = false;
  std::map<table::SourceKey, int64_t> read_to_;  // offsets below it are judged
  int64_t read_sequence_ = 0;                    // Gold has read all that came up to it
};

}  // namespace k2::maintenance
