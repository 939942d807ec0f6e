// Source partitions in which tasks met a schema id that nobody can tell at present.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "base/result.h"

namespace k2 {

struct HeldPartition {
  int64_t offset = 0;  // of the first message that waits
  int32_t schema_id = 0;
  Error error;
};

// By topic and partition.
using HeldPartitions = std::map<std::pair<std::string, int32_t>, HeldPartition>;

// What the tasks of one step find. Safe to use from several threads.
class HeldByTasks {
 public:
  void Add(const std::string& topic, int32_t partition, HeldPartition held) {
    const std::lock_guard lock(mutex_);
    const auto [at, added] = held_.try_emplace({topic, partition}, held);
    if (!added && held.offset < at->second.offset) at->second = std::move(held);
  }
  [[nodiscard]] HeldPartitions Take() {
    const std::lock_guard lock(mutex_);
    return std::exchange(held_, {});
  }

 private:
  std::mutex mutex_;
  HeldPartitions held_;
};

}  // namespace k2
