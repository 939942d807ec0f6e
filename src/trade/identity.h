// The identity of a trade: the same whenever and wherever the trade is received, so that Gold can tell it came before.
#pragma once

#include <string_view>

#include "base/uuid.h"

namespace k2::trade {

// The namespace of K2's trade ids: 9df25468-8673-4cd2-8d9d-d6c934edddd0. Drawn once at random, and never changed:
// every id in every table hangs on it.
inline constexpr Uuid kTradeNamespace{
    {0x9d, 0xf2, 0x54, 0x68, 0x86, 0x73, 0x4c, 0xd2, 0x8d, 0x9d, 0xd6, 0xc9, 0x34, 0xed, 0xdd, 0xd0}};

// UUID version 5 (RFC 9562 section 5.5) of the UTF-8 name `EXCHANGE|SYMBOL|trade_id`, all three as they stand in the
// V2 message. Test vectors (any RFC 9562 library gives the same):
//   BINANCE|BTCUSDT|BINANCE-3735683259  ->  85cb576c-4aad-52dc-8859-673926c79977
//   KRAKEN|BTCUSD|KRAKEN-4665846        ->  8821ea69-f07c-5a91-984b-151ba7a2b2f8
//   KRAKEN|XMRUSD|KRAKEN-XMR/USD:1618678142.557535:354.11000000:0.89594024:s:0
//                                       ->  fa775d4e-2af9-505d-82a9-6834f10adc29
Uuid TradeMessageId(std::string_view exchange, std::string_view symbol, std::string_view trade_id);

}  // namespace k2::trade
