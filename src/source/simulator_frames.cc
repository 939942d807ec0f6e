#include "source/simulator_frames.h"

#include <algorithm>

#include "base/time.h"

namespace k2 {
namespace {

constexpr size_t kFrameRoom = 256;  // more than the fixed text and the numbers of one trade

// Writes into room made beforehand at the end of a string, which is much faster than formatting.
class Writer {
 public:
  Writer(std::string& out, size_t room) : out_(out) {
    const size_t size = out.size();
    out.resize_and_overwrite(size + room, [](char*, size_t bytes) { return bytes; });
    at_ = out.data() + size;
  }
  ~Writer() { out_.resize(static_cast<size_t>(at_ - out_.data())); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  Writer& Text(std::string_view text) {
    at_ = std::copy(text.begin(), text.end(), at_);
    return *this;
  }
  Writer& Number(int64_t number) {
    char digits[20];
    char* p = digits + sizeof digits;
    auto left = static_cast<uint64_t>(number);
    do {
      *--p = static_cast<char>('0' + left % 10);
      left /= 10;
    } while (left > 0);
    return Text({p, static_cast<size_t>(digits + sizeof digits - p)});
  }
  // With exactly `width` digits.
  Writer& Padded(int64_t number, size_t width) {
    for (size_t i = width; i-- > 0; number /= 10) at_[i] = static_cast<char>('0' + number % 10);
    at_ += width;
    return *this;
  }
  Writer& Decimal(int64_t value_e8) {
    return Number(value_e8 / 100'000'000).Text(".").Padded(value_e8 % 100'000'000, 8);
  }
  // As JavaScript prints it: no trailing zeros, an exponent below 10^-6.
  Writer& JsonNumber(int64_t value_e8) {
    if (value_e8 > 0 && value_e8 < 100) {
      if (value_e8 < 10) return Number(value_e8).Text("e-8");
      Number(value_e8 / 10);
      if (value_e8 % 10 != 0) Text(".").Number(value_e8 % 10);
      return Text("e-7");
    }
    Number(value_e8 / 100'000'000);
    int64_t fraction = value_e8 % 100'000'000;
    if (fraction == 0) return *this;
    size_t width = 8;
    for (; fraction % 10 == 0; fraction /= 10) --width;
    return Text(".").Padded(fraction, width);
  }
  Writer& Rfc3339(int64_t micros) {
    const CivilDate date = CivilFromDays(DayOfMicros(micros));
    const int64_t of_day = FloorMod(micros, kMicrosPerDay);
    const int64_t seconds = of_day / kMicrosPerSecond;
    Padded(date.year, 4).Text("-").Padded(date.month, 2).Text("-").Padded(date.day, 2).Text("T");
    Padded(seconds / 3600, 2).Text(":").Padded(seconds / 60 % 60, 2).Text(":").Padded(seconds % 60, 2);
    return Text(".").Padded(of_day % kMicrosPerSecond, 6).Text("Z");
  }

 private:
  std::string& out_;
  char* at_;
};

void WriteBinanceTrade(const SimulatedTrade& trade, std::string& out) {
  Writer w(out, kFrameRoom + trade.stream.size() + trade.pair.size());
  const int64_t time_ms = trade.time_us / 1000;
  w.Text(R"({"stream":")")
      .Text(trade.stream)
      .Text(R"(@trade","data":{"e":"trade","E":)")
      .Number(time_ms + trade.id % 2);
  w.Text(R"(,"s":")").Text(trade.pair).Text(R"(","t":)").Number(trade.id).Text(R"(,"p":")").Decimal(trade.price_e8);
  w.Text(R"(","q":")").Decimal(trade.quantity_e8).Text(R"(","T":)").Number(time_ms);
  w.Text(R"(,"m":)").Text(trade.buy ? "false" : "true").Text(R"(,"M":true}})");
}

void WriteKrakenTrade(const SimulatedTrade& trade, Writer& w) {
  w.Text(R"({"symbol":")").Text(trade.pair).Text(R"(","side":")").Text(trade.buy ? "buy" : "sell");
  w.Text(R"(","price":)").JsonNumber(trade.price_e8).Text(R"(,"qty":)").JsonNumber(trade.quantity_e8);
  w.Text(R"(,"ord_type":")").Text(trade.is_limit ? "limit" : "market").Text(R"(","trade_id":)").Number(trade.id);
  w.Text(R"(,"timestamp":")").Rfc3339(trade.time_us).Text(R"("})");
}

void WriteBinanceOther(const SimulatedTrade& trade, uint64_t variant, std::string& out) {
  Writer w(out, 2 * kFrameRoom + 2 * trade.stream.size() + 2 * trade.pair.size());
  w.Text(R"({"stream":")").Text(trade.stream);
  if (variant % 4 != 0) {
    w.Text(R"(@bookTicker","data":{"u":)").Number(trade.id).Text(R"(,"s":")").Text(trade.pair);
    w.Text(R"(","b":")").Decimal(trade.price_e8).Text(R"(","B":")").Decimal(trade.quantity_e8);
    w.Text(R"(","a":")").Decimal(trade.price_e8).Text(R"(","A":")").Decimal(trade.quantity_e8).Text(R"("}})");
    return;
  }
  w.Text(R"(@depth@100ms","data":{"e":"depthUpdate","E":)").Number(trade.time_us / 1000).Text(R"(,"s":")");
  w.Text(trade.pair).Text(R"(","U":)").Number(trade.id).Text(R"(,"u":)").Number(trade.id + 7).Text(R"(,"b":[[")");
  w.Decimal(trade.price_e8).Text(R"(","0.00000000"]],"a":[[")").Decimal(trade.price_e8).Text(R"(",")");
  w.Decimal(trade.quantity_e8).Text(R"("]]}})");
}

void WriteKrakenOther(const SimulatedTrade& trade, uint64_t variant, std::string& out) {
  Writer w(out, 2 * kFrameRoom + trade.pair.size());
  if (variant % 3 == 0) {
    w.Text(R"({"channel":"heartbeat"})");
  } else if (variant % 3 == 1) {
    w.Text(R"({"channel":"ticker","type":"update","data":[{"symbol":")").Text(trade.pair).Text(R"(","bid":)");
    w.JsonNumber(trade.price_e8).Text(R"(,"last":)").JsonNumber(trade.price_e8).Text("}]}");
  } else {
    w.Text(R"({"channel":"book","type":"update","data":[{"symbol":")")
        .Text(trade.pair)
        .Text(R"(","bids":[],"asks":[{)");
    w.Text(R"("price":)").JsonNumber(trade.price_e8).Text(R"(,"qty":)").JsonNumber(trade.quantity_e8).Text("}]}]}");
  }
}

// Puts another value behind `key` (which no text before it contains); values hold no comma and no brace.
void ReplaceValue(std::string& frame, std::string_view key, std::string_view value) {
  const size_t at = frame.find(key) + key.size();
  frame.replace(at, frame.find_first_of(",}", at) - at, value);
}

void RemoveField(std::string& frame, std::string_view key) {
  const size_t at = frame.find(key);
  frame.erase(at, frame.find(',', at) + 1 - at);
}

struct Spoiling {
  std::string_view key;
  std::string_view value;  // empty: the field is left out
};

constexpr Spoiling kBinanceSpoilings[] = {{R"("p":)", R"("12.3.4")"},
                                          {R"("p":)", R"("0.00000000")"},
                                          {R"("q":)", R"("0.000000001")"},
                                          {R"("q":)", R"("-1.00000000")"},
                                          {R"("p":)", "1.5"},
                                          {R"("t":)", ""},
                                          {R"("s":)", R"("BTCUSDT_260327")"},
                                          {R"("T":)", R"("noon")"},
                                          {R"("m":)", R"("maybe")"}};
constexpr Spoiling kKrakenSpoilings[] = {{R"("price":)", "12.3.4"},       {R"("price":)", "0"},
                                         {R"("qty":)", "1e-9"},           {R"("qty":)", "-1"},
                                         {R"("price":)", R"("1.5")"},     {R"("trade_id":)", ""},
                                         {R"("symbol":)", R"("NOPAIR")"}, {R"("timestamp":)", R"("noon")"},
                                         {R"("side":)", R"("hold")"}};
static_assert(std::size(kBinanceSpoilings) + 3 == kSpoilings && std::size(kKrakenSpoilings) + 3 == kSpoilings);

}  // namespace

void AppendTradeFrame(Exchange exchange, std::span<const SimulatedTrade> trades, std::string& out) {
  if (exchange == Exchange::kBinance) return WriteBinanceTrade(trades.front(), out);
  size_t room = kFrameRoom;
  for (const SimulatedTrade& trade : trades) room += kFrameRoom + trade.pair.size();
  Writer w(out, room);
  w.Text(R"({"channel":"trade","type":"update","data":[)");
  for (size_t i = 0; i < trades.size(); ++i) {
    if (i > 0) w.Text(",");
    WriteKrakenTrade(trades[i], w);
  }
  w.Text("]}");
}

void AppendOtherFrame(Exchange exchange, const SimulatedTrade& trade, uint64_t variant, std::string& out) {
  exchange == Exchange::kBinance ? WriteBinanceOther(trade, variant, out) : WriteKrakenOther(trade, variant, out);
}

void SpoilFrame(Exchange exchange, uint64_t variant, uint64_t random, std::string& frame) {
  const std::span<const Spoiling> spoilings =
      exchange == Exchange::kBinance ? std::span<const Spoiling>(kBinanceSpoilings) : kKrakenSpoilings;
  variant %= kSpoilings;
  if (variant < spoilings.size()) {
    const Spoiling& spoiling = spoilings[variant];
    spoiling.value.empty() ? RemoveField(frame, spoiling.key) : ReplaceValue(frame, spoiling.key, spoiling.value);
  } else if (variant == spoilings.size()) {
    frame.resize(random % frame.size());  // cut anywhere, to nothing even
  } else if (variant == spoilings.size() + 1) {
    frame[frame.find("trade") + 8 + random % 16] = '\xff';
  } else {
    frame = "ping";
  }
}

void AppendReceiveTime(int64_t receive_us, int64_t extra_ns, std::string& out) {
  Writer w(out, 32);
  w.Number(receive_us).Padded(extra_ns, 3).Text(" ");
}

}  // namespace k2
