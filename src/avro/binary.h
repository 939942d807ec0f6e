// Avro's binary encoding of primitives (specification, "Binary Encoding"): appending and bounds-checked reading.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace k2::avro {

static_assert(std::endian::native == std::endian::little, "fixed-width values are copied as they stand");

inline constexpr size_t kMaxVarintSize = 10;

constexpr uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
constexpr int64_t UnZigZag(uint64_t value) { return static_cast<int64_t>((value >> 1) ^ (0 - (value & 1))); }

// Writes a long at `out`, which must have kMaxVarintSize bytes of room, and returns the end of what was written.
inline char* WriteLong(char* out, int64_t value) {
  uint64_t bits = ZigZag(value);
  while (bits >= 0x80) {
    *out++ = static_cast<char>(bits | 0x80);
    bits >>= 7;
  }
  *out++ = static_cast<char>(bits);
  return out;
}

inline void AppendLong(std::string& out, int64_t value) {
  char buffer[kMaxVarintSize];
  out.append(buffer, static_cast<size_t>(WriteLong(buffer, value) - buffer));
}
inline void AppendInt(std::string& out, int32_t value) { AppendLong(out, value); }
inline void AppendBoolean(std::string& out, bool value) { out.push_back(value ? '\1' : '\0'); }
inline void AppendFloat(std::string& out, float value) {
  char buffer[sizeof(value)];
  std::memcpy(buffer, &value, sizeof(value));
  out.append(buffer, sizeof(value));
}
inline void AppendDouble(std::string& out, double value) {
  char buffer[sizeof(value)];
  std::memcpy(buffer, &value, sizeof(value));
  out.append(buffer, sizeof(value));
}
// A string or bytes value: its length, then its bytes.
inline void AppendBytes(std::string& out, std::string_view value) {
  AppendLong(out, static_cast<int64_t>(value.size()));
  out.append(value);
}

// A value of the union ["null", T], which is how optional fields are written: whether it is there, then the value.
inline bool AppendPresent(std::string& out, bool present) {
  AppendLong(out, present ? 1 : 0);
  return present;
}
inline void AppendOptional(std::string& out, const std::optional<int64_t>& value) {
  if (AppendPresent(out, value.has_value())) AppendLong(out, *value);
}
inline void AppendOptional(std::string& out, const std::optional<std::string>& value) {
  if (AppendPresent(out, value.has_value())) AppendBytes(out, *value);
}

// Reads primitives from a byte range it does not own. Every function is false, and the value is not to be used, when
// the bytes end too early or are not a legal encoding; the position is then unspecified, but within the range.
class BinaryReader {
 public:
  BinaryReader() = default;
  explicit BinaryReader(std::string_view bytes) : position_(bytes.data()), end_(bytes.data() + bytes.size()) {}

  [[nodiscard]] const char* position() const { return position_; }
  [[nodiscard]] size_t remaining() const { return static_cast<size_t>(end_ - position_); }
  [[nodiscard]] bool AtEnd() const { return position_ == end_; }

  // A varint of more than 10 bytes, or of 10 bytes with more than 64 bits, is refused.
  [[gnu::always_inline]] [[nodiscard]] bool ReadLong(int64_t& value) {
    if (position_ != end_ && static_cast<uint8_t>(*position_) < 0x80) {  // most lengths and indexes
      value = UnZigZag(static_cast<uint8_t>(*position_++));
      return true;
    }
    return ReadLongVarint(value);
  }
  [[nodiscard]] bool ReadInt(int32_t& value) {
    int64_t wide = 0;
    if (!ReadLong(wide) || wide < std::numeric_limits<int32_t>::min() || wide > std::numeric_limits<int32_t>::max()) {
      return false;
    }
    value = static_cast<int32_t>(wide);
    return true;
  }
  [[nodiscard]] bool ReadBoolean(bool& value) {
    if (position_ == end_ || static_cast<uint8_t>(*position_) > 1) return false;
    value = *position_++ != 0;
    return true;
  }
  [[nodiscard]] bool ReadFloat(float& value) { return ReadPlain(&value, sizeof(value)); }
  [[nodiscard]] bool ReadDouble(double& value) { return ReadPlain(&value, sizeof(value)); }
  // A view into the range.
  [[nodiscard]] bool ReadBytes(std::string_view& value) {
    int64_t size = 0;
    return ReadLong(size) && ReadFixed(size, value);
  }
  [[nodiscard]] bool ReadFixed(int64_t size, std::string_view& value) {
    if (size < 0 || static_cast<uint64_t>(size) > remaining()) return false;
    value = std::string_view(position_, static_cast<size_t>(size));
    position_ += size;
    return true;
  }
  [[nodiscard]] bool Skip(int64_t size) {
    if (size < 0 || static_cast<uint64_t>(size) > remaining()) return false;
    position_ += size;
    return true;
  }
  [[nodiscard]] bool SkipBytes() {
    int64_t size = 0;
    return ReadLong(size) && Skip(size);
  }
  // The head of an array or map block: its count of items, 0 at the end of the value. byte_size is the length of the
  // block where the writer gave one (a negative count), else -1; a length beyond the range is refused.
  [[nodiscard]] bool ReadBlock(int64_t& count, int64_t& byte_size) {
    byte_size = -1;
    if (!ReadLong(count)) return false;
    if (count >= 0) return true;
    if (count == std::numeric_limits<int64_t>::min()) return false;
    count = -count;
    return ReadLong(byte_size) && byte_size >= 0 && static_cast<uint64_t>(byte_size) <= remaining();
  }

 private:
  bool ReadPlain(void* value, size_t size) {
    if (size > remaining()) return false;
    std::memcpy(value, position_, size);
    position_ += size;
    return true;
  }

  bool ReadLongVarint(int64_t& value) {
    if (remaining() >= 8) {
      uint64_t word = 0;
      std::memcpy(&word, position_, sizeof(word));
      const uint64_t stops = ~word & 0x8080808080808080;  // bytes that end a varint
      if (stops != 0) {
        word &= stops ^ (stops - 1);  // up to the first of them
        word = ((word & 0x7f007f007f007f00) >> 1) | (word & 0x007f007f007f007f);
        word = ((word & 0x3fff00003fff0000) >> 2) | (word & 0x00003fff00003fff);
        word = ((word & 0x0fffffff00000000) >> 4) | (word & 0x000000000fffffff);
        value = UnZigZag(word);
        position_ += (std::countr_zero(stops) >> 3) + 1;
        return true;
      }
    }
    return ReadLongByBytes(value);
  }

  [[gnu::noinline]] bool ReadLongByBytes(int64_t& value) {
    uint64_t bits = 0;
    const char* p = position_;
    for (unsigned shift = 0; shift < 70 && p != end_; shift += 7) {
      const auto byte = static_cast<uint8_t>(*p++);
      if (shift == 63 && byte > 1) return false;
      bits |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) {
        value = UnZigZag(bits);
        position_ = p;
        return true;
      }
    }
    return false;
  }

  const char* position_ = nullptr;
  const char* end_ = nullptr;
};

}  // namespace k2::avro
