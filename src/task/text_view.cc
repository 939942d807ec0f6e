#include "task/text_view.h"

namespace k2::task {

TextView::TextView(const std::shared_ptr<arrow::Array>& column) {
  if (column == nullptr) return;
  if (column->null_count() > 0) nulls_ = column.get();
  if (column->type_id() == arrow::Type::DICTIONARY) {
    const auto& dictionary = static_cast<const arrow::DictionaryArray&>(*column);
    values_ = static_cast<const arrow::StringArray*>(dictionary.dictionary().get());
    codes_ = static_cast<const arrow::Int32Array&>(*dictionary.indices()).raw_values();
  } else {
    values_ = static_cast<const arrow::StringArray*>(column.get());
  }
}

}  // namespace k2::task
