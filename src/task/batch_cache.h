// Rows that this process has just written, by the path of their file, so that the next layer need not read them back.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/metrics.h"

namespace arrow {
class RecordBatch;
}

namespace k2::task {

using Batches = std::vector<std::shared_ptr<arrow::RecordBatch>>;

// Bounded by bytes; the oldest go first. A miss only means a read from storage. Thread-safe.
class BatchCache {
 public:
  explicit BatchCache(int64_t max_bytes) : max_bytes_(max_bytes) {}

  void Put(const std::string& path, Batches batches);
  // The rows of a file, and forgets them: each layer has one reader. Empty when they are not here.
  Batches Take(const std::string& path);
  // The rows of a file, without forgetting them.
  [[nodiscard]] bool Holds(const std::string& path) const;
  [[nodiscard]] Batches Peek(const std::string& path) const;
  [[nodiscard]] int64_t bytes() const;
  [[nodiscard]] int64_t hits() const;
  [[nodiscard]] int64_t misses() const;

 private:
  struct Entry {
    std::string path;
    Batches batches;
    int64_t bytes = 0;
  };
  Gauge& gauge_ = GaugeOf("k2_handover_bytes", "Memory of the rows that are passed from layer to layer.");
  mutable std::mutex mutex_;
  int64_t max_bytes_;
  int64_t bytes_ = 0;
  int64_t hits_ = 0;
  int64_t misses_ = 0;
  std::list<Entry> entries_;
  std::unordered_map<std::string, std::list<Entry>::iterator> by_path_;
};

}  // namespace k2::task
