// The exchanges K2 knows.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace k2 {

enum class Exchange : uint8_t { kBinance, kKraken };

// As it stands in messages: BINANCE.
constexpr std::string_view MessageName(Exchange exchange) {
  return exchange == Exchange::kBinance ? "BINANCE" : "KRAKEN";
}

// As it stands on command lines, in topics and in source keys: binance.
constexpr std::string_view ConfigName(Exchange exchange) {
  return exchange == Exchange::kBinance ? "binance" : "kraken";
}

constexpr std::optional<Exchange> ParseExchange(std::string_view config_name) {
  for (const Exchange exchange : {Exchange::kBinance, Exchange::kKraken}) {
    if (config_name == ConfigName(exchange)) return exchange;
  }
  return std::nullopt;
}

}  // namespace k2
