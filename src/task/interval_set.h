// Sets of integers that are nearly consecutive, as intervals: bytes per gap, not per number.
#pragma once

#include <cstdint>
#include <iterator>
#include <map>

namespace k2::task {

class IntervalSet {
 public:
  // False when it was there.
  bool Insert(int64_t value) {
    // The common case first: one more than the end of the interval that was extended last.
    if (last_ != intervals_.end() && value == last_->second + 1) {
      const auto next = std::next(last_);
      if (next == intervals_.end() || next->first > value + 1) {
        ++last_->second;
        return true;
      }
    }
    auto after = intervals_.upper_bound(value);  // first interval that begins beyond value
    if (after != intervals_.begin()) {
      const auto before = std::prev(after);
      if (value <= before->second) {
        last_ = before;
        return false;
      }
      if (value == before->second + 1) {
        ++before->second;
        if (after != intervals_.end() && after->first == value + 1) {
          before->second = after->second;
          intervals_.erase(after);
        }
        last_ = before;
        return true;
      }
    }
    if (after != intervals_.end() && after->first == value + 1) {
      const int64_t end = after->second;
      last_ = intervals_.emplace_hint(intervals_.erase(after), value, end);
      return true;
    }
    last_ = intervals_.emplace_hint(after, value, value);
    return true;
  }

  [[nodiscard]] bool Contains(int64_t value) const {
    const auto after = intervals_.upper_bound(value);
    return after != intervals_.begin() && value <= std::prev(after)->second;
  }

  void InsertAll(const IntervalSet& other) {
    for (const auto& [begin, end] : other.intervals_) InsertRange(begin, end);
  }

  [[nodiscard]] size_t intervals() const { return intervals_.size(); }
  [[nodiscard]] bool empty() const { return intervals_.empty(); }
  [[nodiscard]] const std::map<int64_t, int64_t>& ranges() const { return intervals_; }  // begin -> last

  IntervalSet() = default;
  IntervalSet(const IntervalSet& other) : intervals_(other.intervals_) {}
  IntervalSet(IntervalSet&& other) noexcept : intervals_(std::move(other.intervals_)) {}
  IntervalSet& operator=(IntervalSet other) noexcept {
    intervals_.swap(other.intervals_);
    last_ = intervals_.end();
    return *this;
  }
  ~IntervalSet() = default;

 private:
  void InsertRange(int64_t begin, int64_t last) {
    auto at = intervals_.upper_bound(begin);
    if (at != intervals_.begin() && std::prev(at)->second >= begin - 1) {
      --at;
      begin = at->first;
    }
    while (at != intervals_.end() && at->first <= last + 1) {
      if (at->second > last) last = at->second;
      at = intervals_.erase(at);
    }
    last_ = intervals_.emplace_hint(at, begin, last);
  }

  std::map<int64_t, int64_t> intervals_;  // begin -> last, apart by at least one number
  std::map<int64_t, int64_t>::iterator last_ = intervals_.end();
};

}  // namespace k2::task
