#include "columns.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>
#include <limits>

namespace k2::python {
BadRow::BadRow(std::string of, int64_t row, std::string what)
    : BadInput(fmt::format("column {}, row {}: {}", of, row, what)), column(std::move(of)), problem(std::move(what)) {}

Column::Column(const ArrowSchema& schema, const ArrowArray& array, std::string name)
    : schema_(&schema), array_(&array), name_(std::move(name)), offset_(array.offset), length_(array.length) {
  if (schema.format == nullptr || array.length < 0 || array.offset < 0) Fail("is no valid Arrow array");
  buffers_ = array.buffers;
  if (array.null_count != 0 && array.n_buffers > 0 && buffers_ != nullptr && buffers_[0] != nullptr) {
    validity_.push_back({static_cast<const uint8_t*>(buffers_[0]), offset_});
  }
}

void Column::Fail(const std::string& what) const { throw BadInput(fmt::format("column {}: {}", name_, what)); }
void Column::FailAt(int64_t row, const std::string& what) const { throw BadRow(name_, row, what); }

Column Column::Named(std::string name) const {
  Column named = *this;
  named.name_ = std::move(name);
  return named;
}

bool Column::IsNull(int64_t row) const {
  for (const Bits& level : validity_) {
    const int64_t bit = level.offset + row;
    if ((level.bits[bit / 8] >> (bit % 8) & 1) == 0) return true;
  }
  return format() == "n";
}

void Column::NeedBuffer(int64_t i) const {
  if (i >= array_->n_buffers || buffers_ == nullptr || (buffers_[i] == nullptr && array_->length > 0)) {
    Fail(fmt::format("an array of format '{}' lacks a buffer", format()));
  }
}

std::vector<Column> Column::Children() const {
  if (schema_->n_children != array_->n_children || schema_->n_children < 0) Fail("array and type have other children");
  std::vector<Column> children;
  for (int64_t i = 0; i < schema_->n_children; ++i) {
    const ArrowSchema* schema = schema_->children[i];
    const ArrowArray* array = array_->children[i];
    if (schema == nullptr || array == nullptr) Fail("a child is missing");
    children.emplace_back(*schema, *array, schema->name == nullptr ? "" : schema->name);
    if (!IsStruct()) continue;
    Column& child = children.back();
    if (child.length_ < offset_ + length_) Fail("a child is too short");
    child.offset_ += offset_;
    child.length_ = length_;
    for (Bits& level : child.validity_) level.offset = child.offset_;
    child.validity_.insert(child.validity_.end(), validity_.begin(), validity_.end());
  }
  return children;
}

std::optional<Column> Column::Child(std::string_view name) const {
  for (Column& child : Children()) {
    if (child.name() == name) return std::move(child);
  }
  return std::nullopt;
}

bool BytesColumn::Reads(const Column& column) {
  const std::string_view format = column.format();
  return format == "u" || format == "z" || format == "U" || format == "Z" || format == "vu" || format == "vz";
}

BytesColumn::BytesColumn(const Column& column) : Column(column) {
  const std::string_view kind = format();
  if (schema_->dictionary != nullptr) {
    if (array_->dictionary == nullptr) Fail("its dictionary is missing");
    if (kind.size() != 1 || std::string_view("cCsSiIlL").find(kind[0]) == std::string_view::npos) {
      Fail("its dictionary has no integer indexes");
    }
    layout_ = Layout::kDictionary;
    dictionary_.emplace_back(Column(*schema_->dictionary, *array_->dictionary, name_));
    NeedBuffer(1);
    return;
  }
  if (!Reads(column)) Fail(fmt::format("texts or bytes are wanted, not Arrow's format '{}'", kind));
  if (kind[0] == 'v') {
    layout_ = Layout::kView;
    NeedBuffer(1);
  } else {
    layout_ = kind == "U" || kind == "Z" ? Layout::kLarge : Layout::kSmall;
    NeedBuffer(1);
    if (array_->n_buffers < 3) Fail("its bytes are missing");
  }
}

std::string_view BytesColumn::ViewAt(int64_t row) const {
  struct View {
    int32_t size;
    int32_t prefix;
    int32_t buffer;
    int32_t offset;
  };
  static_assert(sizeof(View) == 16);
  const char* at = static_cast<const char*>(buffers_[1]) + (offset_ + row) * 16;
  View view;
  std::memcpy(&view, at, sizeof view);
  if (view.size < 0) FailAt(row, "a size is negative");
  if (view.size <= 12) return {at + 4, static_cast<size_t>(view.size)};
  // The last buffer holds the sizes of those between it and the views.
  const int64_t count = array_->n_buffers - 3;
  if (view.buffer < 0 || view.buffer >= count || view.offset < 0) FailAt(row, "a view points nowhere");
  const int64_t size = static_cast<const int64_t*>(buffers_[array_->n_buffers - 1])[view.buffer];
  if (int64_t{view.offset} + view.size > size) FailAt(row, "a view points beyond its buffer");
  return {static_cast<const char*>(buffers_[2 + view.buffer]) + view.offset, static_cast<size_t>(view.size)};
}

std::optional<std::string_view> BytesColumn::At(int64_t row) const {
  if (IsNull(row)) return std::nullopt;
  if (layout_ == Layout::kView) return ViewAt(row);
  if (layout_ == Layout::kDictionary) {
    int64_t index = 0;
    switch (format()[0]) {
      case 'c': index = Get<int8_t>(1, row); break;
      case 'C': index = Get<uint8_t>(1, row); break;
      case 's': index = Get<int16_t>(1, row); break;
      case 'S': index = Get<uint16_t>(1, row); break;
      case 'i': index = Get<int32_t>(1, row); break;
      case 'I': index = Get<uint32_t>(1, row); break;
      default: index = Get<int64_t>(1, row); break;
    }
    if (index < 0 || index >= dictionary_.front().length()) FailAt(row, "an index lies beyond its dictionary");
    return dictionary_.front().At(index);
  }
  const bool large = layout_ == Layout::kLarge;
  const int64_t begin = large ? Get<int64_t>(1, row) : Get<int32_t>(1, row);
  const int64_t end = large ? Get<int64_t>(1, row + 1) : Get<int32_t>(1, row + 1);
  if (begin < 0 || end < begin) FailAt(row, "its offsets fall");
  if (begin == end) return std::string_view("", 0);
  if (buffers_[2] == nullptr) FailAt(row, "its bytes are missing");
  return std::string_view(static_cast<const char*>(buffers_[2]) + begin, static_cast<size_t>(end - begin));
}

std::string_view BytesColumn::Required(int64_t row) const {
  const std::optional<std::string_view> value = At(row);
  if (!value) FailAt(row, "is null");
  return *value;
}

LongColumn::LongColumn(const Column& column) : Column(column) {
  const std::string_view kind = format();
  if (kind.starts_with("ts") && kind.size() >= 4 && kind[3] == ':') {
    switch (kind[2]) {
      case 's': multiply_ = 1'000'000; break;
      case 'm': multiply_ = 1'000; break;
      case 'u': break;
      case 'n': divide_ = 1'000; break;
      default: Fail(fmt::format("Arrow's format '{}' is no time", kind));
    }
  } else if (kind.size() == 1 && std::string_view("cCsSiIlL").find(kind[0]) != std::string_view::npos) {
    width_ = kind[0];
  } else {
    Fail(fmt::format("whole numbers or times are wanted, not Arrow's format '{}'", kind));
  }
  if (schema_->dictionary != nullptr) Fail("a dictionary of numbers is not read: cast it");
  NeedBuffer(1);
}

std::optional<int64_t> LongColumn::At(int64_t row) const {
  if (IsNull(row)) return std::nullopt;
  int64_t value = 0;
  switch (width_) {
    case 'c': value = Get<int8_t>(1, row); break;
    case 'C': value = Get<uint8_t>(1, row); break;
    case 's': value = Get<int16_t>(1, row); break;
    case 'S': value = Get<uint16_t>(1, row); break;
    case 'i': value = Get<int32_t>(1, row); break;
    case 'I': value = Get<uint32_t>(1, row); break;
    case 'L': {
      const auto number = Get<uint64_t>(1, row);
      if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) FailAt(row, "is beyond 64 bits");
      value = static_cast<int64_t>(number);
      break;
    }
    default: value = Get<int64_t>(1, row); break;
  }
  if (divide_ != 1) return value / divide_ - (value % divide_ < 0 ? 1 : 0);
  if (__builtin_mul_overflow(value, multiply_, &value)) FailAt(row, "is beyond 64 bits of microseconds");
  return value;
}

int64_t LongColumn::Required(int64_t row) const {
  const std::optional<int64_t> value = At(row);
  if (!value) FailAt(row, "is null");
  return *value;
}

DecimalColumn::DecimalColumn(const Column& column, trade::DecimalType type)
    : Column(column), type_(type), scale_(type.scale) {
  // d:precision,scale or d:precision,scale,bits
  const std::string_view kind = format();
  const size_t comma = kind.find(',');
  if (!kind.starts_with("d:") || comma == std::string_view::npos) {
    Fail(fmt::format("decimals are wanted, not Arrow's format '{}': cast it to decimal({}, {})", kind, type.precision,
                     type.scale));
  }
  const std::string_view rest = kind.substr(comma + 1);
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), scale_);
  const std::string_view bits(end, static_cast<size_t>(rest.data() + rest.size() - end));
  if (error != std::errc() || !(bits.empty() || bits == ",128")) Fail("decimals of 128 bits are wanted");
  if (scale_ < 0 || scale_ > 30) Fail(fmt::format("a scale of {} is not read", scale_));
  NeedBuffer(1);
}

Int128 DecimalColumn::Required(int64_t row) const {
  if (IsNull(row)) FailAt(row, "is null");
  Int128 value = 0;
  std::memcpy(&value, static_cast<const char*>(buffers_[1]) + (offset_ + row) * 16, sizeof value);
  if (!trade::FitsExactly(value, scale_, type_)) {
    const bool digits = scale_ > type_.scale && value % trade::PowerOfTen(scale_ - type_.scale) != 0;
    FailAt(row, digits ? fmt::format("has more than {} digits behind the point", type_.scale)
                       : fmt::format("does not fit decimal({}, {})", type_.precision, type_.scale));
  }
  return scale_ > type_.scale ? value / trade::PowerOfTen(scale_ - type_.scale)
                              : value * trade::PowerOfTen(type_.scale - scale_);
}

ListColumn::ListColumn(const Column& column) : Column(column) {
  const std::string_view kind = format();
  if (kind != "+l" && kind != "+L" && kind != "+m") {
    Fail(fmt::format("a list or map is wanted, not Arrow's format '{}'", kind));
  }
  large_ = kind == "+L";
  items_ = Children();
  if (items_.size() != 1) Fail("a list has one child");
  if (array_->length > 0) NeedBuffer(1);
}

ListColumn::Range ListColumn::At(int64_t row) const {
  if (IsNull(row)) return {};
  const Range range = large_ ? Range{Get<int64_t>(1, row), Get<int64_t>(1, row + 1)}
                             : Range{Get<int32_t>(1, row), Get<int32_t>(1, row + 1)};
  if (range.begin < 0 || range.end < range.begin || range.end > items_.front().length()) {
    FailAt(row, "its offsets lie beyond its items");
  }
  return range;
}

}  // namespace k2::python
