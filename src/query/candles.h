// Candles drawn in a terminal. Pure: numbers in, text out. Doubles are for the picture only.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace k2::query {

struct Candle {
  int64_t start_micros = 0;
  double open = 0;
  double high = 0;
  double low = 0;
  double close = 0;
  double volume = 0;
};

struct CandleStyle {
  int width = 100;      // columns of the whole picture, the price scale among them; at least 20 are used
  int height = 20;      // lines of the whole picture; at least 6 are used
  bool colour = false;  // green and red; without it, rising bodies are solid and falling ones broken
  std::string title;
};

// One column a candle; where there are more candles than columns, neighbours are drawn as one. Prices to the right,
// volume and times (UTC) below. Every line ends with a newline; no candles give one line that says so.
std::string DrawCandles(std::span<const Candle> candles, const CandleStyle& style = {});

}  // namespace k2::query
