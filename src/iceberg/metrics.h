// Column metrics of a data file as manifests hold them (format/spec.md, "Data Files" and Appendix D).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "iceberg/data_file.h"
#include "iceberg/schema.h"

namespace k2::iceberg {

// How much of a column's metrics is kept (table property write.metadata.metrics.default, ….column.<name>).
struct MetricsMode {
  enum class Kind { kNone, kCounts, kTruncate, kFull };
  Kind kind = Kind::kTruncate;
  int32_t length = 16;  // characters of a string, bytes of a binary
  bool operator==(const MetricsMode&) const = default;
};
// none, counts, truncate(N), full, in either case. Error kInvalidArgument.
Result<MetricsMode> ParseMetricsMode(std::string_view text);
// The mode of a column by its full name (a.b for nested ones); the default where a property is missing or wrong.
MetricsMode MetricsModeFor(const std::map<std::string, std::string>& properties, const std::string& column);

// What a writer knows of a column's values in one file.
struct ColumnMetrics {
  std::optional<int64_t> size_bytes;   // on disk
  std::optional<int64_t> value_count;  // nulls and NaNs included
  std::optional<int64_t> null_count;
  std::optional<int64_t> nan_count;
  Literal lower;  // of the values that are neither null nor NaN; null: unknown
  Literal upper;
};

// Puts them into the file's maps. Bounds are cut as the mode says, an upper bound that cannot be rounded up and a NaN
// are left out. Error kInvalidArgument: a bound is no value of the type.
Status AddColumnMetrics(int32_t field_id, const Type& type, const MetricsMode& mode, const ColumnMetrics& metrics,
                        DataFile& file);

// The first `length` characters of a UTF-8 string; nullopt when it is not UTF-8.
std::optional<std::string> TruncateString(std::string_view text, int32_t length);
// A string of at most `length` characters that is not less than `text`; nullopt when there is none, or it is not UTF-8.
std::optional<std::string> RoundUpString(std::string_view text, int32_t length);
// The same for bytes.
std::optional<std::string> RoundUpBytes(std::string_view bytes, int32_t length);

}  // namespace k2::iceberg
