// Source partitions of Silver that wait for a schema, while the others go on.
#include "base/log.h"
#include "pipeline/silver/silver_layer.h"

namespace k2::pipeline {

void SilverLayer::Hold(task::HeldPartitions found) {
  for (auto& [key, held] : found) {
    const auto before = held_.find(key);
    if (before == held_.end() || before->second.offset != held.offset) {
      log::Warn("a partition waits for the schema of a message; other partitions continue",
                {{"topic", key.topic},
                 {"partition", key.partition},
                 {"offset", held.offset},
                 {"schema", ToString(held.schema)},
                 {"error", held.error.message}});
    }
    held_.insert_or_assign(key, std::move(held));
  }
}

task::HeldSource SilverLayer::HeldSourceOf(const table::SourceKey& key) {
  return {.topic = key.topic, .topic_id = std::string(table::TopicIdOfRows(key)), .partition = key.partition};
}

// Up to the message that waits in this partition, unless its schema can be had, or is known not to be, by now. Gives
// the partition's entry, where it still waits.
std::optional<task::HeldPartition> SilverLayer::StopAtHeld(Range& range, bool ask) const {
  const auto found = held_.find(HeldSourceOf(range.key));
  if (found == held_.end()) return std::nullopt;
  if (schemas_ == nullptr) return std::nullopt;
  task::HeldPartition held = found->second;
  if (held.offset < range.begin.next_offset) return std::nullopt;
  if (ask) {
    // Of recordings the next task asks: it knows their folder.
    if (range.key.cluster == table::kRecordingCluster) return std::nullopt;
    const Result<std::string> schema = schemas_->SchemaJson(held.schema);
    if (schema || schema.error().kind != ErrorKind::kUnavailable) return std::nullopt;
    held.error = schema.error();
  }
  if (held.offset < range.end.next_offset) {
    range.end = {.next_offset = held.offset, .leader_epoch = range.end.leader_epoch};
    range.whole = false;
    range.gap.reset();
  }
  return held;
}

}  // namespace k2::pipeline
