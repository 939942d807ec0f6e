// UUIDs (RFC 9562): random ones for names, name-based ones for the identity of trades.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace k2 {

struct Uuid {
  std::array<uint8_t, 16> bytes{};
  bool operator==(const Uuid&) const = default;

  static constexpr size_t kTextSize = 36;
  void Format(char* out) const;  // writes kTextSize lower-case characters, no terminator
  [[nodiscard]] std::string ToString() const;
  // Reads the 36-character form, either case; false when it is not one.
  static bool Parse(std::string_view text, Uuid& out);
};

Uuid RandomUuid();                                             // version 4
Uuid NameUuid(const Uuid& name_space, std::string_view name);  // version 5: SHA-1 (RFC 9562 section 5.5)

// 16 random hex digits: attempt ids in file names.
std::string RandomHex64();
int64_t RandomPositiveInt64();  // snapshot ids

}  // namespace k2
