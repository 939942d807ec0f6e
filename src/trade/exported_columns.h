// Reads what TradeColumns exports as texts, straight from the Arrow C Data Interface.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/time.h"
#include "trade/decimal.h"
#include "trade/trade_columns.h"

namespace k2::trade {

class Exported {
 public:
  ArrowArray array{};
  ArrowSchema schema{};

  explicit Exported(TradeColumns& columns) { columns.Export(&array, &schema); }
  ~Exported() {
    if (array.release != nullptr) array.release(&array);
    if (schema.release != nullptr) schema.release(&schema);
  }
  Exported(const Exported&) = delete;
  Exported& operator=(const Exported&) = delete;

  [[nodiscard]] int64_t rows() const { return array.length; }
  [[nodiscard]] std::string name(int64_t column) const { return schema.children[column]->name; }

  // One value of a column by name, for people.
  [[nodiscard]] std::string At(const std::string& column, int64_t row) const {
    for (int64_t i = 0; i < array.n_children; ++i) {
      if (column == schema.children[i]->name) return Show(*array.children[i], *schema.children[i], row);
    }
    return "no column " + column;
  }

 private:
  template <typename T>
  static T Get(const ArrowArray& array, int buffer, int64_t i) {
    return static_cast<const T*>(array.buffers[buffer])[i];
  }

  static std::string Show(const ArrowArray& values, const ArrowSchema& type, int64_t row) {
    if (values.buffers[0] != nullptr) {
      EXPECT_TRUE((type.flags & ARROW_FLAG_NULLABLE) != 0);
      if ((Get<uint8_t>(values, 0, row / 8) >> (row % 8) & 1) == 0) return "null";
    }
    const std::string format = type.format;
    if (type.dictionary != nullptr) return Show(*values.dictionary, *type.dictionary, Get<int32_t>(values, 1, row));
    if (format == "u") {
      const auto begin = Get<int32_t>(values, 1, row);
      const auto end = Get<int32_t>(values, 1, row + 1);
      return {static_cast<const char*>(values.buffers[2]) + begin, static_cast<size_t>(end - begin)};
    }
    if (format == "l") return std::to_string(Get<int64_t>(values, 1, row));
    if (format == "tsu:UTC") return FormatTimestamp(Get<int64_t>(values, 1, row));
    if (format == "tdD") return FormatDate(Get<int32_t>(values, 1, row));
    if (format.starts_with("d:")) return FormatDecimal(Get<Int128>(values, 1, row), format.ends_with(",14") ? 14 : 8);
    std::string text = "[";
    const bool map = format == "+m";
    for (int32_t i = Get<int32_t>(values, 1, row); i < Get<int32_t>(values, 1, row + 1); ++i) {
      const ArrowArray& child = *values.children[0];
      const ArrowSchema& child_type = *type.children[0];
      if (text.size() > 1) text += ",";
      if (map) {
        text += Show(*child.children[0], *child_type.children[0], i) + "=" +
                Show(*child.children[1], *child_type.children[1], i);
      } else {
        text += Show(child, child_type, i);
      }
    }
    return text + "]";
  }
};

}  // namespace k2::trade
