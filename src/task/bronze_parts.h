// What a Bronze file of several source partitions holds, told by its own columns.
#pragma once

#include <string>
#include <vector>

#include "task/task.h"

namespace k2::task {

// The rows of one source partition in a file: offsets first to last.
struct BronzePart {
  std::string topic;
  std::string topic_id;  // empty where the rows have none
  int32_t partition = 0;
  int64_t first = 0;
  int64_t last = 0;
  int64_t rows = 0;
  bool operator==(const BronzePart&) const = default;
};

// Reads topic, topic_id, partition and offset of all rows: from the cache, which keeps them, else from storage.
Result<std::vector<BronzePart>> ReadBronzeParts(const TaskContext& context, const std::string& path,
                                                const TableShape& shape);

}  // namespace k2::task
