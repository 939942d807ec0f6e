#include "exchange/registry.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/similar.h"
#include "exchange/binance/binance.h"
#include "exchange/coinbase/coinbase.h"
#include "exchange/kraken/kraken.h"

namespace k2::exchange {
namespace {

constexpr const Exchange* kExchanges[] = {
    &kBinanceExchange,
    &kKrakenExchange,
    &kCoinbaseExchange,
};

}  // namespace

std::span<const Exchange* const> Exchanges() { return kExchanges; }

size_t IndexOf(const Exchange& exchange) {
  return static_cast<size_t>(std::ranges::find(kExchanges, &exchange) - std::begin(kExchanges));
}

const Exchange* ExchangeByName(std::string_view name) {
  const auto* const found = std::ranges::find(kExchanges, name, [](const Exchange* one) { return one->name; });
  return found == std::end(kExchanges) ? nullptr : *found;
}

const Exchange* ExchangeBySilverTable(std::string_view table) {
  const auto* const found = std::ranges::find(kExchanges, table, [](const Exchange* one) { return one->silver_table; });
  return found == std::end(kExchanges) ? nullptr : *found;
}

const Exchange* ExchangeOfTopic(std::string_view topic) {
  constexpr std::string_view kRecording = "recording/";
  if (topic.starts_with(kRecording)) {
    topic.remove_prefix(kRecording.size());
    return ExchangeByName(topic.substr(0, topic.find('/')));
  }
  const size_t dot = topic.rfind('.');
  return ExchangeByName(dot == std::string_view::npos ? topic : topic.substr(dot + 1));
}

Result<const Exchange*> KnownExchange(std::string_view name) {
  if (const Exchange* exchange = ExchangeByName(name)) return exchange;
  std::vector<std::string> known;
  for (const Exchange* exchange : Exchanges()) known.emplace_back(exchange->name);
  return WithHint(Fail(ErrorKind::kInvalidArgument, "unknown exchange '{}': {}", name, ExchangeNames()),
                  DidYouMean(name, known, ""));
}

std::string ExchangeNames(std::string_view Exchange::* name, std::string_view before_each) {
  std::string names;
  for (const Exchange* exchange : kExchanges) {
    if (!names.empty()) names += exchange == *std::rbegin(kExchanges) ? " or " : ", ";
    names += before_each;
    names += exchange->*name;
  }
  return names;
}

std::string DefaultTopics() {
  std::string topics;
  for (const Exchange* exchange : kExchanges) {
    topics += fmt::format("{}market.crypto.trades.{}", topics.empty() ? "" : ",", exchange->name);
  }
  return topics;
}

}  // namespace k2::exchange
