// Columns of anybody's Arrow data, read through the C Data Interface: the types that pyarrow, polars and DuckDB hand
// out for texts, bytes, integers, times, decimals, lists and maps.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "trade/arrow_c.h"
#include "trade/decimal.h"

namespace k2::python {

// What the caller handed over is not what it must be; the text names the column and the row.
struct BadInput : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// The same of one row, of the batch that the column is of.
struct BadRow : BadInput {
  BadRow(std::string column, int64_t row, std::string what);
  std::string column;
  std::string problem;
};

// A column of an array and of its type. Views: the array must outlive it.
class Column {
 public:
  Column(const ArrowSchema& schema, const ArrowArray& array, std::string name);

  // Of a struct's child: the struct's, which may show a part of it only.
  [[nodiscard]] int64_t length() const { return length_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  // The same column under the name that errors give it.
  [[nodiscard]] Column Named(std::string name) const;
  [[nodiscard]] std::string_view format() const { return schema_->format; }
  [[nodiscard]] bool IsStruct() const { return format() == "+s"; }
  [[nodiscard]] bool IsNull(int64_t row) const;
  // A child of a struct by name; nothing where there is none. Where the struct is null the child is.
  [[nodiscard]] std::optional<Column> Child(std::string_view name) const;
  [[nodiscard]] std::vector<Column> Children() const;

  [[noreturn]] void Fail(const std::string& what) const;
  [[noreturn]] void FailAt(int64_t row, const std::string& what) const;

 protected:
  void NeedBuffer(int64_t i) const;
  template <typename T>
  [[nodiscard]] T Get(int64_t buffer, int64_t row) const {
    return static_cast<const T*>(buffers_[buffer])[offset_ + row];
  }

  const ArrowSchema* schema_;
  const ArrowArray* array_;
  std::string name_;
  int64_t offset_;
  int64_t length_;
  struct Bits {
    const uint8_t* bits;
    int64_t offset;
  };
  std::vector<Bits> validity_;  // the column's own and its parents'
  const void* const* buffers_ = nullptr;
};

// utf8, binary, their large and view forms, and dictionaries of them.
class BytesColumn : public Column {
 public:
  explicit BytesColumn(const Column& column);
  static bool Reads(const Column& column);
  // Nothing: null.
  [[nodiscard]] std::optional<std::string_view> At(int64_t row) const;
  [[nodiscard]] std::string_view Required(int64_t row) const;

 private:
  enum class Layout : uint8_t { kSmall, kLarge, kView, kDictionary };
  [[nodiscard]] std::string_view ViewAt(int64_t row) const;
  Layout layout_ = Layout::kSmall;
  std::vector<BytesColumn> dictionary_;  // one, or none
};

// Signed and unsigned integers, and times as microseconds.
class LongColumn : public Column {
 public:
  explicit LongColumn(const Column& column);
  [[nodiscard]] std::optional<int64_t> At(int64_t row) const;
  [[nodiscard]] int64_t Required(int64_t row) const;

 private:
  char width_ = 'l';
  int64_t multiply_ = 1;
  int64_t divide_ = 1;
};

// decimal128 of any precision, as unscaled numbers of one type.
class DecimalColumn : public Column {
 public:
  DecimalColumn(const Column& column, trade::DecimalType type);
  [[nodiscard]] Int128 Required(int64_t row) const;

 private:
  trade::DecimalType type_;
  int32_t scale_;  // of the column
};

// Lists of any offset width, and maps, which are lists of pairs.
class ListColumn : public Column {
 public:
  explicit ListColumn(const Column& column);
  struct Range {
    int64_t begin = 0;
    int64_t end = 0;
  };
  [[nodiscard]] Range At(int64_t row) const;
  [[nodiscard]] const Column& items() const { return items_.front(); }

 private:
  bool large_ = false;
  std::vector<Column> items_;
};

}  // namespace k2::python
