// Source partitions in which tasks met a schema that nobody can tell at present.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "base/result.h"
#include "trade/message_framing.h"

namespace k2::task {

struct HeldPartition {
  int64_t offset = 0;  // of the first message that waits
  trade::SchemaRef schema;
  Error error;
};

// As a task's ranges name them.
struct HeldSource {
  std::string topic;
  std::string topic_id;
  int32_t partition = 0;
  auto operator<=>(const HeldSource&) const = default;
};
using HeldPartitions = std::map<HeldSource, HeldPartition>;

// What the tasks of one step find. Safe to use from several threads.
class HeldByTasks {
 public:
  void Add(HeldSource source, HeldPartition held) {
    const std::lock_guard lock(mutex_);
    const auto [at, added] = held_.try_emplace(std::move(source), held);
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

}  // namespace k2::task
