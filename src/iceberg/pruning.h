// What a reader need not open: conjuncts against partition summaries, partition values and column bounds
// (format/spec.md, "Scan Planning"). Never prunes what may match: what is missing or not understood may.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "iceberg/data_file.h"
#include "iceberg/schema.h"
#include "iceberg/table_metadata.h"
#include "iceberg/transform.h"

namespace k2::iceberg {

enum class CompareOp { kEq, kLt, kLe, kGt, kGe, kIn, kIsNull, kIsNotNull };

// One conjunct over a top-level or nested primitive column (not inside a list or map): field `op` values (one value, or
// several for kIn, none for the null tests). Decimals are given in the column's scale. No comparison matches null.
struct ColumnPredicate {
  int32_t field_id = 0;
  CompareOp op = CompareOp::kEq;
  std::vector<Literal> values;
};

// The predicate that a partition value satisfies whenever its row's source value satisfies `predicate` (inclusive
// projection); nullopt when nothing follows.
std::optional<ColumnPredicate> ProjectInclusive(const Transform& transform, const Type& source,
                                                const ColumnPredicate& predicate);
// The predicate whose truth for a partition value proves that all rows of the partition satisfy `predicate`; nullopt
// when nothing does.
std::optional<ColumnPredicate> ProjectStrict(const Transform& transform, const Type& source,
                                             const ColumnPredicate& predicate);

// Does one value satisfy the predicate? Comparisons with null do not.
bool Matches(const ColumnPredicate& predicate, const Literal& value);
// May a value between the bounds (either may be null: unknown) satisfy it? The null tests always may.
bool MayMatchRange(const ColumnPredicate& predicate, const Literal& lower, const Literal& upper);

// A set of conjuncts made ready for the manifests and files of one table. The metadata must outlive it.
class Pruner {
 public:
  Pruner(const TableMetadata& metadata, std::vector<ColumnPredicate> conjuncts);

  [[nodiscard]] bool ManifestMayMatch(const ManifestFile& manifest) const;
  [[nodiscard]] bool FileMayMatch(const DataFile& file) const;
  // Do all rows of the file certainly satisfy all conjuncts?
  [[nodiscard]] bool AllRowsMatch(const DataFile& file) const;

 private:
  // A conjunct as seen through one field of one partition spec.
  struct Projected {
    size_t conjunct = 0;  // index in conjuncts_
    size_t field = 0;     // index in the spec
    Type result;          // type of the partition value
    std::optional<ColumnPredicate> inclusive;
    std::optional<ColumnPredicate> strict;
  };
  void Project(const PartitionSpec& spec);
  [[nodiscard]] bool BoundsMayMatch(const ColumnPredicate& predicate, const DataFile& file) const;
  [[nodiscard]] bool BoundsProve(const ColumnPredicate& predicate, const DataFile& file) const;

  const TableMetadata* metadata_;
  std::vector<ColumnPredicate> conjuncts_;
  std::map<int32_t, std::vector<Projected>> by_spec_;
};

}  // namespace k2::iceberg
