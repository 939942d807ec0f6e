// Any bytes as a message's headers and value: a schema and where the body begins, within the value; or nothing.
#include <cstdlib>
#include <vector>

#include "trade/message_framing.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr std::string_view kKeys[] = {"__value_schema_id", "apicurio.value.contentId", "apicurio.value.globalId",
                                        "__key_schema_id", ""};
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::vector<k2::trade::MessageHeader> headers;
  // A header: a byte for its key, one for its length (255: no value), its value. A byte beyond the keys ends them.
  while (rest.size() >= 2 && static_cast<uint8_t>(rest[0]) < std::size(kKeys)) {
    k2::trade::MessageHeader header{.key = kKeys[static_cast<uint8_t>(rest[0])], .value = std::nullopt};
    const auto length = static_cast<uint8_t>(rest[1]);
    rest.remove_prefix(2);
    if (length != 255) {
      header.value = rest.substr(0, length);
      rest.remove_prefix(header.value->size());
    }
    headers.push_back(header);
  }
  const auto framing = k2::trade::FramingOf(headers, rest);
  if (!framing) return 0;
  if (framing->body > rest.size() || k2::trade::ToString(framing->schema).size() < 4) std::abort();
  // The same of the same, and a prefix speaks only where no header does.
  if (k2::trade::FramingOf(headers, rest) != framing) std::abort();
  if (framing->body > 0 && k2::trade::FramingOf({}, rest) != framing) std::abort();
  return 0;
}
