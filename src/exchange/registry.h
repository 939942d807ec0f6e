// The exchanges that K2 knows, each once. Lists of them, in texts, topics, tables and tests, come from here.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "exchange/exchange.h"

namespace k2::exchange {

// In the order in which tables are made and listed. New ones are added at the end: task documents of version 2 name
// Silver's tables by their place (task/task_json.cc).
std::span<const Exchange* const> Exchanges();

// Its place in Exchanges().
size_t IndexOf(const Exchange& exchange);

// Null where none has the name.
const Exchange* ExchangeByName(std::string_view name);
const Exchange* ExchangeBySilverTable(std::string_view table);
// The exchange whose messages a topic holds: `recording/<exchange>/<hash>`, or a topic whose name ends in
// `.<exchange>`; null where the topic names none that is known.
const Exchange* ExchangeOfTopic(std::string_view topic);

// Error kInvalidArgument: there is none of that name, with those that there are.
Result<const Exchange*> KnownExchange(std::string_view name);

// Their names as an error or a help text lists them: "binance or kraken".
std::string ExchangeNames(std::string_view Exchange::* name = &Exchange::name, std::string_view before_each = "");
// `market.crypto.trades.<exchange>` of each, comma-separated.
std::string DefaultTopics();

}  // namespace k2::exchange
