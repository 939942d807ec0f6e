// Partition transforms (format/spec.md, "Partition Transforms"; hashes of Appendix B).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "iceberg/data_file.h"
#include "iceberg/schema.h"
#include "iceberg/table_metadata.h"

namespace k2::iceberg {

struct Transform {
  enum class Kind { kIdentity, kBucket, kTruncate, kYear, kMonth, kDay, kHour, kVoid };
  Kind kind = Kind::kIdentity;
  int32_t argument = 0;  // bucket: number of buckets, truncate: width

  // Error kUnsupported: a transform the specification of version 2 does not know.
  static Result<Transform> Parse(std::string_view text);
  // year, month, day, hour
  [[nodiscard]] bool IsTemporal() const { return kind >= Kind::kYear && kind <= Kind::kHour; }
  // Does a larger source value never have a smaller result?
  [[nodiscard]] bool KeepsOrder() const { return kind != Kind::kBucket && kind != Kind::kVoid; }
};

// The partition value of a source value; null stays null. Errors: kInvalidArgument, where the literal is no value of
// the source type or the transform does not take that type.
Result<Literal> ApplyTransform(const Transform& transform, const Type& source, const Literal& value);

// Murmur3, 32 bits, x86, seed 0.
uint32_t Murmur3(std::string_view bytes);
// The hash under bucket[N]. Error kInvalidArgument: the type has none.
Result<int32_t> BucketHash(const Type& source, const Literal& value);

// A partition value as the Java library writes it in paths: 2024-08-08, 2024-08-08-23, null.
std::string PartitionValueText(const Transform& transform, const Type& source, const Literal& value);

// A file's partition values under an identity transform, by the id of their column: what its rows have in a column that
// the file lacks (spec, "Column Projection").
std::map<int32_t, Literal> IdentityValues(const PartitionSpec& spec, const std::vector<Literal>& partition);
std::map<int32_t, Literal> IdentityValues(const TableMetadata& metadata, const DataFile& file);

// The folder of a partition: exchange_date=2024-08-08/exchange_hour=23, names and values URL-encoded as Java's
// URLEncoder does; empty for an unpartitioned spec. Error kInvalidArgument: the values are not those of the spec.
Result<std::string> PartitionPath(const PartitionSpec& spec, const Schema& schema,
                                  const std::vector<Literal>& partition);

}  // namespace k2::iceberg
