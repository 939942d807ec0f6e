// Growing columns in Arrow's layout: buffers, texts, dictionaries. Parts of TradeColumns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string_view>
#include <utility>
#include <vector>

#include "trade/text.h"

namespace k2::trade {

// Memory for values of T that is handed on by Release and freed with free(). Not initialised.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), capacity_(std::exchange(other.capacity_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  [[nodiscard]] T* data() { return data_; }
  [[nodiscard]] const T* data() const { return data_; }
  [[nodiscard]] size_t capacity() const { return capacity_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }

  void Reserve(size_t count) {
    if (count > capacity_) [[unlikely]]
      Grow(count);
  }
  T* Release() {
    capacity_ = 0;
    return std::exchange(data_, nullptr);
  }

 private:
  void Grow(size_t count) {
    const size_t capacity = std::max({count, capacity_ * 2, size_t{64}});
    void* grown = std::realloc(data_, capacity * sizeof(T));
    if (grown == nullptr) throw std::bad_alloc();
    data_ = static_cast<T*>(grown);
    capacity_ = capacity;
  }

  T* data_ = nullptr;
  size_t capacity_ = 0;
};

// utf8: offsets and bytes. A value is added in two steps, so that a row can be given up: bytes past `size` and values
// past `count` do not exist.
struct TextColumn {
  Buffer<int32_t> offsets;  // count + 1 of them are set once count > 0
  Buffer<char> bytes;
  size_t count = 0;
  size_t size = 0;

  // Adds a value and returns the bits of CopyText.
  uint64_t Append(std::string_view text) {
    offsets.Reserve(count + 2);
    bytes.Reserve(size + text.size());
    if (count == 0) offsets[0] = 0;
    const uint64_t bits = CopyText(bytes.data() + size, text);
    size += text.size();
    offsets[++count] = static_cast<int32_t>(size);
    return bits;
  }
  // Room for as much as another column holds, and some more.
  void ReserveLike(const TextColumn& other) {
    offsets.Reserve(other.count + other.count / 8 + 2);
    bytes.Reserve(other.size + other.size / 8);
  }
  // Takes back all values but the first `to`.
  void Truncate(size_t to) {
    if (to == count) return;
    size = static_cast<size_t>(offsets[to]);
    count = to;
  }
  [[nodiscard]] std::string_view operator[](size_t i) const {
    return {bytes.data() + offsets[i], static_cast<size_t>(offsets[i + 1] - offsets[i])};
  }
};

// Distinct texts in the order in which they came first, each checked once to be UTF-8.
class Dictionary {
 public:
  // Index of the text; -1 when it is not UTF-8.
  int32_t Find(std::string_view text) {
    if (last_ >= 0 && Is(last_, text)) return last_;
    return last_ = Lookup(text);
  }
  // The same, trying one index first.
  int32_t Find(std::string_view text, int32_t guess) { return Is(guess, text) ? guess : Lookup(text); }

  [[nodiscard]] TextColumn& texts() { return texts_; }
  [[nodiscard]] const TextColumn& texts() const { return texts_; }
  [[nodiscard]] size_t size() const { return texts_.count; }

 private:
  // A guess may be of a text that does not exist yet.
  [[nodiscard]] bool Is(int32_t index, std::string_view text) const {
    if (static_cast<size_t>(index) >= texts_.count) return false;
    const std::string_view known = texts_[static_cast<size_t>(index)];
    return known.size() == text.size() && SameText(known.data(), text.data(), text.size());
  }
  int32_t Lookup(std::string_view text);
  void Rehash();

  TextColumn texts_;
  std::vector<int32_t> table_;  // open addressing, -1: free
  int32_t last_ = -1;
};

}  // namespace k2::trade
