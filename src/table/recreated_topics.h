// Kafka topics that were deleted and created again under their name, and that somebody has accepted into the same
// tables (docs/source-offsets.md, "A topic that was recreated"). Kept as a property of Bronze, set in the commit that
// adds the new topic's offsets.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "iceberg/table_metadata.h"
#include "table/source_offsets.h"

namespace k2::table {

inline constexpr char kRecreatedTopicsKey[] = "k2.recreated-topics";

// By topic id: the topic that was accepted.
struct RecreatedTopic {
  std::string cluster;
  std::string topic;
  std::string at;
  bool operator==(const RecreatedTopic&) const = default;
};
using RecreatedTopics = std::map<std::string, RecreatedTopic, std::less<>>;

// Empty: none was. Errors: kInvalidData, kOffsetMismatch for a version that this K2 does not know.
Result<RecreatedTopics> ReadRecreatedTopics(const iceberg::TableMetadata& bronze);
std::string RecreatedTopicsToJson(const RecreatedTopics& topics);

// What the rows of a source have in their column topic_id: nothing where it is a recording.
std::string_view TopicIdOfRows(const SourceKey& source);

// Whether a row is of the source, by its columns topic, partition and topic_id. A row without a topic_id (it is older
// than that column, or of a recording) is of the topic that was there first.
bool RowIsOf(const SourceKey& source, const RecreatedTopics& recreated, std::string_view topic,
             std::string_view topic_id, int32_t partition);
// Which of the sources a row is of. Null: of none of them.
const SourceKey* SourceOfRow(const SourcePositions& sources, const RecreatedTopics& recreated, std::string_view topic,
                             std::string_view topic_id, int32_t partition);

}  // namespace k2::table
