#include "iceberg/metrics.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <vector>

#include "iceberg/literal.h"

namespace k2::iceberg {
namespace {

constexpr uint32_t kLastCodePoint = 0x10ffff;

// Reads one code point; 0xffffffff where the bytes are not UTF-8 (RFC 3629).
uint32_t NextCodePoint(std::string_view& text) {
  constexpr uint32_t kBad = 0xffffffff;
  const auto first = static_cast<uint8_t>(text[0]);
  const size_t size = first < 0x80 ? 1 : (first >> 5 == 6 ? 2 : (first >> 4 == 14 ? 3 : (first >> 3 == 30 ? 4 : 0)));
  if (size == 0 || size > text.size()) return kBad;
  uint32_t point = size == 1 ? first : first & (0xffU >> (size + 1));
  for (size_t i = 1; i < size; ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte >> 6 != 2) return kBad;
    point = point << 6 | (byte & 0x3f);
  }
  static constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (point < kSmallest[size] || point > kLastCodePoint || (point >= 0xd800 && point < 0xe000)) return kBad;
  text.remove_prefix(size);
  return point;
}

void AppendCodePoint(std::string& out, uint32_t point) {
  if (point < 0x80) {
    out.push_back(static_cast<char>(point));
    return;
  }
  const int extra = point < 0x800 ? 1 : (point < 0x10000 ? 2 : 3);
  static constexpr uint32_t kLead[] = {0, 0xc0, 0xe0, 0xf0};
  out.push_back(static_cast<char>(kLead[extra] | point >> (6 * extra)));
  for (int i = extra - 1; i >= 0; --i) out.push_back(static_cast<char>(0x80 | (point >> (6 * i) & 0x3f)));
}

// The first `length` code points, and whether more follow.
std::optional<std::vector<uint32_t>> CodePoints(std::string_view text, int32_t length, bool& more) {
  std::vector<uint32_t> points;
  while (!text.empty() && points.size() < static_cast<size_t>(length)) {
    const uint32_t point = NextCodePoint(text);
    if (point > kLastCodePoint) return std::nullopt;
    points.push_back(point);
  }
  more = !text.empty();
  return points;
}

std::optional<Literal> LowerBound(const Literal& value, const Type& type, const MetricsMode& mode) {
  if (IsNull(value) || IsNan(value)) return std::nullopt;
  // The order of zeros is IEEE's total order (spec): a bound must hold for both.
  if (const auto* number = std::get_if<float>(&value); number && *number == 0) return Literal(-0.0F);
  if (const auto* number = std::get_if<double>(&value); number && *number == 0) return Literal(-0.0);
  if (mode.kind != MetricsMode::Kind::kTruncate) return value;
  if (type.id == TypeId::kString) return TruncateString(std::get<std::string>(value), mode.length);
  if (type.id == TypeId::kBinary) return std::get<std::string>(value).substr(0, static_cast<size_t>(mode.length));
  return value;
}

std::optional<Literal> UpperBound(const Literal& value, const Type& type, const MetricsMode& mode) {
  if (IsNull(value) || IsNan(value)) return std::nullopt;
  if (const auto* number = std::get_if<float>(&value); number && *number == 0) return Literal(0.0F);
  if (const auto* number = std::get_if<double>(&value); number && *number == 0) return Literal(0.0);
  if (mode.kind != MetricsMode::Kind::kTruncate) return value;
  if (type.id == TypeId::kString) return RoundUpString(std::get<std::string>(value), mode.length);
  if (type.id == TypeId::kBinary) return RoundUpBytes(std::get<std::string>(value), mode.length);
  return value;
}

}  // namespace

Result<MetricsMode> ParseMetricsMode(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (lower == "none") return MetricsMode{MetricsMode::Kind::kNone, 0};
  if (lower == "counts") return MetricsMode{MetricsMode::Kind::kCounts, 0};
  if (lower == "full") return MetricsMode{MetricsMode::Kind::kFull, 0};
  if (lower.starts_with("truncate(") && lower.ends_with(')')) {
    int32_t length = 0;
    const char* end = lower.data() + lower.size() - 1;
    const auto parsed = std::from_chars(lower.data() + 9, end, length);
    if (parsed.ec == std::errc() && parsed.ptr == end && length > 0) {
      return MetricsMode{MetricsMode::Kind::kTruncate, length};
    }
  }
  return Fail(ErrorKind::kInvalidArgument, "metrics mode \"{}\": use none, counts, truncate(N) or full", text);
}

MetricsMode MetricsModeFor(const std::map<std::string, std::string>& properties, const std::string& column) {
  for (const std::string& key :
       {"write.metadata.metrics.column." + column, std::string("write.metadata.metrics.default")}) {
    if (const auto found = properties.find(key); found != properties.end()) {
      if (const Result<MetricsMode> mode = ParseMetricsMode(found->second)) return *mode;
    }
  }
  return {};
}

Status AddColumnMetrics(int32_t field_id, const Type& type, const MetricsMode& mode, const ColumnMetrics& metrics,
                        DataFile& file) {
  if (metrics.size_bytes) file.column_sizes[field_id] = *metrics.size_bytes;
  if (mode.kind == MetricsMode::Kind::kNone) return {};
  if (metrics.value_count) file.value_counts[field_id] = *metrics.value_count;
  if (metrics.null_count) file.null_value_counts[field_id] = *metrics.null_count;
  if (metrics.nan_count) file.nan_value_counts[field_id] = *metrics.nan_count;
  if (mode.kind == MetricsMode::Kind::kCounts) return {};
  if (!Fits(metrics.lower, type) || !Fits(metrics.upper, type)) {
    return Fail(ErrorKind::kInvalidArgument, "a bound of column {} is not a value of {}", field_id, type.ToString());
  }
  if (const auto lower = LowerBound(metrics.lower, type, mode)) {
    K2_ASSIGN(file.lower_bounds[field_id], ToBytes(*lower, type));
  }
  if (const auto upper = UpperBound(metrics.upper, type, mode)) {
    K2_ASSIGN(file.upper_bounds[field_id], ToBytes(*upper, type));
  }
  return {};
}

std::optional<std::string> TruncateString(std::string_view text, int32_t length) {
  bool more = false;
  const auto points = CodePoints(text, length, more);
  if (!points) return std::nullopt;
  std::string out;
  for (const uint32_t point : *points) AppendCodePoint(out, point);
  return out;
}

std::optional<std::string> RoundUpString(std::string_view text, int32_t length) {
  bool more = false;
  auto points = CodePoints(text, length, more);
  if (!points) return std::nullopt;
  std::string out;
  if (!more) return std::string(text);
  while (!points->empty() && points->back() == kLastCodePoint) points->pop_back();
  if (points->empty()) return std::nullopt;
  ++points->back();
  if (points->back() == 0xd800) points->back() = 0xe000;  // surrogates are no characters
  for (const uint32_t point : *points) AppendCodePoint(out, point);
  return out;
}

std::optional<std::string> RoundUpBytes(std::string_view bytes, int32_t length) {
  if (bytes.size() <= static_cast<size_t>(length)) return std::string(bytes);
  std::string out(bytes.substr(0, static_cast<size_t>(length)));
  while (!out.empty() && out.back() == '\xff') out.pop_back();
  if (out.empty()) return std::nullopt;
  out.back() = static_cast<char>(static_cast<uint8_t>(out.back()) + 1);
  return out;
}

}  // namespace k2::iceberg
