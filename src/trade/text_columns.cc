#include "trade/text_columns.h"

namespace k2::trade {

int32_t Dictionary::Lookup(std::string_view text) {
  if (texts_.count * 2 >= table_.size()) Rehash();
  const size_t mask = table_.size() - 1;
  size_t place = HashText(text) & mask;
  for (; table_[place] >= 0; place = (place + 1) & mask) {
    if (Is(table_[place], text)) return table_[place];
  }
  if (!IsUtf8(text)) return -1;
  texts_.Append(text);
  return table_[place] = static_cast<int32_t>(texts_.count - 1);
}

void Dictionary::Rehash() {
  table_.assign(std::max<size_t>(64, table_.size() * 2), -1);
  const size_t mask = table_.size() - 1;
  for (size_t i = 0; i < texts_.count; ++i) {
    size_t place = HashText(texts_[i]) & mask;
    while (table_[place] >= 0) place = (place + 1) & mask;
    table_[place] = static_cast<int32_t>(i);
  }
}

}  // namespace k2::trade
