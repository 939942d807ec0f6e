// Texts of simulated frames and of the lines they stand in, written fast.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/time.h"

namespace k2::exchange {

inline constexpr size_t kFrameRoom = 256;  // more than the fixed text and the numbers of one trade

// Writes into room made beforehand at the end of a string, which is much faster than formatting.
class FrameWriter {
 public:
  FrameWriter(std::string& out, size_t room) : out_(out) {
    const size_t size = out.size();
    out.resize_and_overwrite(size + room, [](char*, size_t bytes) { return bytes; });
    at_ = out.data() + size;
  }
  ~FrameWriter() { out_.resize(static_cast<size_t>(at_ - out_.data())); }
  FrameWriter(const FrameWriter&) = delete;
  FrameWriter& operator=(const FrameWriter&) = delete;

  FrameWriter& Text(std::string_view text) {
    at_ = std::copy(text.begin(), text.end(), at_);
    return *this;
  }
  FrameWriter& LowerCase(std::string_view text) {
    for (const char c : text) *at_++ = c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    return *this;
  }
  FrameWriter& Number(int64_t number) {
    char digits[20];
    char* p = digits + sizeof digits;
    auto left = static_cast<uint64_t>(number);
    do {
      *--p = static_cast<char>('0' + left % 10);
      left /= 10;
    } while (left > 0);
    return Text({p, static_cast<size_t>(digits + sizeof digits - p)});
  }
  // With exactly `width` digits.
  FrameWriter& Padded(int64_t number, size_t width) {
    for (size_t i = width; i-- > 0; number /= 10) at_[i] = static_cast<char>('0' + number % 10);
    at_ += width;
    return *this;
  }
  FrameWriter& Decimal(int64_t value_e8) {
    return Number(value_e8 / 100'000'000).Text(".").Padded(value_e8 % 100'000'000, 8);
  }
  // As JavaScript prints it: no trailing zeros, an exponent below 10^-6.
  FrameWriter& JsonNumber(int64_t value_e8) {
    if (value_e8 > 0 && value_e8 < 100) {
      if (value_e8 < 10) return Number(value_e8).Text("e-8");
      Number(value_e8 / 10);
      if (value_e8 % 10 != 0) Text(".").Number(value_e8 % 10);
      return Text("e-7");
    }
    Number(value_e8 / 100'000'000);
    int64_t fraction = value_e8 % 100'000'000;
    if (fraction == 0) return *this;
    size_t width = 8;
    for (; fraction % 10 == 0; fraction /= 10) --width;
    return Text(".").Padded(fraction, width);
  }
  FrameWriter& Rfc3339(int64_t micros) {
    const CivilDate date = CivilFromDays(DayOfMicros(micros));
    const int64_t of_day = FloorMod(micros, kMicrosPerDay);
    const int64_t seconds = of_day / kMicrosPerSecond;
    Padded(date.year, 4).Text("-").Padded(date.month, 2).Text("-").Padded(date.day, 2).Text("T");
    Padded(seconds / 3600, 2).Text(":").Padded(seconds / 60 % 60, 2).Text(":").Padded(seconds % 60, 2);
    return Text(".").Padded(of_day % kMicrosPerSecond, 6).Text("Z");
  }

 private:
  std::string& out_;
  char* at_;
};

}  // namespace k2::exchange
