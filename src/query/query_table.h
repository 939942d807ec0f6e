// What the query module asks of a table: its columns, and which data files can hold rows that a filter wants. The
// engine knows no catalog, no manifest and no disk beyond these two interfaces.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"

namespace k2::query {

__extension__ typedef __int128 Int128;

// unscaled * 10^-scale
struct DecimalValue {
  Int128 unscaled = 0;
  int32_t scale = 0;
  bool operator==(const DecimalValue&) const = default;
};

// bool for boolean; int64 for int, long, date (days since 1970), time and timestamps (microseconds, UTC); double for
// float and double; string for string and, as raw bytes, for binary, fixed and uuid.
using PredicateValue = std::variant<bool, int64_t, double, DecimalValue, std::string>;

// A column of the Iceberg schema. Columns of data files are found by field_id, never by position (Iceberg spec, "Column
// Projection"), so renamed columns read right; of a file whose columns carry no ids, by the names that are mapped to
// it. A column that a file does not have is the file's constant for it, else its default, else NULL; that of a required
// one is an error.
struct ColumnInfo {
  std::string name;
  int32_t field_id = 0;
  // As in metadata.json: boolean, int, long, float, double, decimal(P,S), date, time, timestamp, timestamptz, string,
  // uuid, binary, fixed[N]; or list (children: element), map (children: key, value), struct (children: its fields).
  std::string iceberg_type;
  bool required = false;
  std::vector<ColumnInfo> children;
  std::vector<std::string> mapped_names{};          // in files without field ids (table property)
  std::optional<PredicateValue> initial_default{};  // of rows in files without the column
};

struct PlannedFile {
  std::string path;  // as the manifest gives it: an absolute path or a URI
  int64_t size_bytes = 0;
  int64_t record_count = 0;
  // By field id: partition values under an identity transform, for columns that the file lacks.
  std::map<int32_t, PredicateValue> constants{};
  // Where set: the rows of the file that are none of the table's, by their positions in it, in order. May read files.
  std::function<Result<std::vector<int64_t>>()> deleted_rows = nullptr;
};

enum class PredicateOp { kEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kIsNull, kIsNotNull };

// `column op value`. A row for which it is false or NULL is not wanted. kIn has one value or more; the tests for NULL
// have none; the others have one. The values have the column's own type.
struct ColumnPredicate {
  int32_t field_id = 0;
  PredicateOp op = PredicateOp::kEqual;
  std::vector<PredicateValue> values;
  bool operator==(const ColumnPredicate&) const = default;
};

// One table at one snapshot. It stays at that snapshot for as long as it lives, so that all scans of a query, and a
// count before and after, see the same rows. All calls may come from several threads.
class QueryTable {
 public:
  virtual ~QueryTable() = default;

  virtual const std::string& name() const = 0;
  // The columns of the snapshot's schema, in its order. Asked only when a query names the table.
  virtual Result<std::vector<ColumnInfo>> Columns() = 0;
  // The data files that can hold a row for which all conjuncts are true; an empty list of conjuncts asks for all. May
  // give too many files, never too few, and each file once.
  virtual Result<std::vector<PlannedFile>> Plan(const std::vector<ColumnPredicate>& conjuncts) = 0;
};

// A data file open for reading. Reads may come from several threads at once.
class QueryFile {
 public:
  virtual ~QueryFile() = default;
  virtual int64_t size_bytes() const = 0;
  // Whether reads cost no round trip; else DuckDB gathers them into few large ones.
  virtual bool is_local() const { return true; }
  // Reads exactly `length` bytes at `offset`. Error: kIo, also when the file ends before.
  virtual Status ReadAt(int64_t offset, void* out, int64_t length) = 0;
};

// Opens a file of the local disk; `path` may start with file:.
Result<std::unique_ptr<QueryFile>> OpenLocalQueryFile(const std::string& path);

}  // namespace k2::query
