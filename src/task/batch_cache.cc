#include "task/batch_cache.h"

#include <arrow/record_batch.h>
#include <arrow/util/byte_size.h>

namespace k2::task {

void BatchCache::Put(const std::string& path, Batches batches) {
  int64_t bytes = 0;
  for (const auto& batch : batches) bytes += arrow::util::TotalBufferSize(*batch);
  if (bytes > max_bytes_) return;
  const std::lock_guard lock(mutex_);
  entries_.push_back({.path = path, .batches = std::move(batches), .bytes = bytes});
  by_path_[path] = std::prev(entries_.end());
  bytes_ += bytes;
  while (bytes_ > max_bytes_) {
    bytes_ -= entries_.front().bytes;
    by_path_.erase(entries_.front().path);
    entries_.pop_front();
  }
  gauge_.Set(static_cast<double>(bytes_));
}

Batches BatchCache::Take(const std::string& path) {
  const std::lock_guard lock(mutex_);
  const auto found = by_path_.find(path);
  if (found == by_path_.end()) {
    ++misses_;
    return {};
  }
  ++hits_;
  Batches batches = std::move(found->second->batches);
  bytes_ -= found->second->bytes;
  entries_.erase(found->second);
  by_path_.erase(found);
  gauge_.Set(static_cast<double>(bytes_));
  return batches;
}

Batches BatchCache::Peek(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  const auto found = by_path_.find(path);
  return found == by_path_.end() ? Batches{} : found->second->batches;
}

bool BatchCache::Holds(const std::string& path) const {
  const std::lock_guard lock(mutex_);
  return by_path_.contains(path);
}

int64_t BatchCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}
int64_t BatchCache::hits() const {
  const std::lock_guard lock(mutex_);
  return hits_;
}
int64_t BatchCache::misses() const {
  const std::lock_guard lock(mutex_);
  return misses_;
}

}  // namespace k2::task
