#include "exchange/exchange_time.h"

#include "base/time.h"
#include "exchange/json.h"

namespace k2::exchange {
namespace {

constexpr int64_t kMillisLimit = 100'000'000'000'000;
constexpr int64_t kYear10000Micros = 253'402'300'800 * kMicrosPerSecond;

}  // namespace

bool ParseEpochTime(std::string_view digits, int64_t& micros) {
  int64_t value = 0;
  if (!json::ParseUnsigned(digits, value)) return false;
  micros = value < kMillisLimit ? value * 1000 : value;
  return micros < kYear10000Micros;
}

bool ParseEpochSeconds(std::string_view text, int64_t& micros) {
  const size_t point = text.find('.');
  int64_t seconds = 0;
  if (!json::ParseUnsigned(text.substr(0, point), seconds) || seconds >= kYear10000Micros / kMicrosPerSecond) {
    return false;
  }
  micros = seconds * kMicrosPerSecond;
  if (point == std::string_view::npos) return true;
  const std::string_view fraction = text.substr(point + 1);
  if (fraction.empty()) return false;
  int64_t unit = kMicrosPerSecond / 10;
  for (const char c : fraction) {
    if (c < '0' || c > '9') return false;
    micros += (c - '0') * unit;
    unit /= 10;
  }
  return true;
}

}  // namespace k2::exchange
