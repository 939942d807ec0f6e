#include "trade/identity.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace k2::trade {

Uuid TradeMessageId(std::string_view exchange, std::string_view symbol, std::string_view trade_id) {
  const size_t size = exchange.size() + symbol.size() + trade_id.size() + 2;
  char buffer[256];
  std::string spill;
  char* name = buffer;
  if (size > sizeof buffer) {
    spill.resize(size);
    name = spill.data();
  }
  char* out = name;
  const auto append = [&out](std::string_view text) { out = std::copy_n(text.data(), text.size(), out); };
  append(exchange);
  *out++ = '|';
  append(symbol);
  *out++ = '|';
  append(trade_id);
  return NameUuid(kTradeNamespace, {name, size});
}

}  // namespace k2::trade
