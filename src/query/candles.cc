#include "query/candles.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/time.h"

namespace k2::query {
namespace {

constexpr const char* kGreen = "\x1b[32m";
constexpr const char* kRed = "\x1b[31m";
constexpr const char* kPlain = "\x1b[0m";

// As many candles as there are columns: neighbours are joined, the last ones reach the right edge.
std::vector<Candle> Joined(std::span<const Candle> candles, size_t columns) {
  const size_t each = (candles.size() + columns - 1) / columns;
  std::vector<Candle> out;
  for (size_t i = 0; i < candles.size(); ++i) {
    const Candle& candle = candles[i];
    if (i % each == 0) {
      out.push_back(candle);
      continue;
    }
    Candle& joined = out.back();
    joined.high = std::max(joined.high, candle.high);
    joined.low = std::min(joined.low, candle.low);
    joined.close = candle.close;
    joined.volume += candle.volume;
  }
  return out;
}

// How much of a half cell a candle covers: nothing, its wick, its body.
enum Cover { kNothing, kWick, kBody };

// Which sign shows (upper half, lower half).
const char* Sign(Cover upper, Cover lower, bool broken) {
  static constexpr std::array<std::array<const char*, 3>, 3> kSigns = {{
      {" ", "╷", "╻"},
      {"╵", "│", "╽"},
      {"╹", "╿", "┃"},
  }};
  return upper == kBody && lower == kBody && broken ? "╏" : kSigns[upper][lower];
}

class Scale {
 public:
  Scale(double low, double high, int half_cells) : low_(low), high_(high), half_cells_(half_cells) {
    if (high_ <= low_) {  // one price only: put it in the middle
      const double pad = std::max(std::abs(low_) * 0.001, 1e-8);
      low_ -= pad;
      high_ += pad;
    }
  }
  // The half cell of a price, 0 at the bottom.
  int At(double price) const {
    const double part = (price - low_) / (high_ - low_) * half_cells_;
    return std::clamp(static_cast<int>(std::floor(part)), 0, half_cells_ - 1);
  }
  double PriceAt(double half_cell) const { return low_ + (high_ - low_) * half_cell / half_cells_; }

 private:
  double low_;
  double high_;
  int half_cells_;
};

Cover CoverOf(const Candle& candle, const Scale& scale, int half_cell) {
  const int top = scale.At(std::max(candle.open, candle.close));
  const int bottom = scale.At(std::min(candle.open, candle.close));
  if (half_cell >= bottom && half_cell <= top) return kBody;
  if (half_cell >= scale.At(candle.low) && half_cell <= scale.At(candle.high)) return kWick;
  return kNothing;
}

int DecimalsFor(double span) {
  return span <= 0 ? 2 : std::clamp(static_cast<int>(std::ceil(2 - std::log10(span))), 0, 8);
}

// At most five characters: 950, 1.2k, 34M.
std::string Compact(double number) {
  static constexpr std::array<const char*, 5> kUnits = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  while (number >= 999.5 && unit + 1 < kUnits.size()) {
    number /= 1000;
    ++unit;
  }
  return fmt::format("{:.{}f}{}", number, number < 9.95 ? (number < 0.0995 ? 3 : 1) : 0, kUnits[unit]);
}

constexpr int kVolumeLabel = 10;  // " vol " and a compact number

// Times under the columns, as many as fit; with dates where the picture is longer than two days.
std::string TimeLine(const std::vector<Candle>& candles) {
  const bool days = candles.back().start_micros - candles.front().start_micros > 2 * kMicrosPerDay;
  std::string line;
  for (size_t i = 0; i < candles.size(); ++i) {
    if (i < line.size()) continue;
    const std::string time = FormatTimestamp(candles[i].start_micros);
    const std::string label = days ? time.substr(5, 5) : time.substr(11, 5);
    if (i + label.size() > candles.size() && i > 0) break;
    line.resize(i, ' ');
    line += label + std::string(label.size(), ' ');
  }
  while (line.ends_with(' ')) line.pop_back();
  return line;
}

class Picture {
 public:
  Picture(std::vector<Candle> candles, const CandleStyle& style) : candles_(std::move(candles)), style_(style) {}

  std::string Line(const Scale& scale, int row) const {
    std::string out;
    const char* ink = nullptr;
    for (const Candle& candle : candles_) {
      const bool falls = candle.close < candle.open;
      const char* sign =
          Sign(CoverOf(candle, scale, 2 * row + 1), CoverOf(candle, scale, 2 * row), falls && !style_.colour);
      Ink(falls ? kRed : kGreen, ink, out);
      out += sign;
    }
    if (ink != nullptr) out += kPlain;
    return out;
  }

  std::string VolumeLine() const {
    static constexpr std::array<const char*, 9> kBars = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double most = 0;
    for (const Candle& candle : candles_) most = std::max(most, candle.volume);
    std::string out;
    const char* ink = nullptr;
    for (const Candle& candle : candles_) {
      // Any volume shows: only none is blank.
      const auto bar = most > 0 && candle.volume > 0 ? static_cast<size_t>(std::ceil(candle.volume / most * 8)) : 0;
      Ink(candle.close < candle.open ? kRed : kGreen, ink, out);
      out += kBars[std::min<size_t>(bar, 8)];
    }
    if (ink != nullptr) out += kPlain;
    return out + " vol " + Compact(most);
  }

 private:
  void Ink(const char* wanted, const char*& ink, std::string& out) const {
    if (!style_.colour || ink == wanted) return;
    out += wanted;
    ink = wanted;
  }

  std::vector<Candle> candles_;
  const CandleStyle& style_;
};

}  // namespace

std::string DrawCandles(std::span<const Candle> candles, const CandleStyle& style) {
  std::string out;
  if (!style.title.empty()) out += style.title + "\n";
  if (candles.empty()) return out + "no candles: no trades in this period\n";
  double low = candles.front().low;
  double high = candles.front().high;
  for (const Candle& candle : candles) {
    low = std::min(low, candle.low);
    high = std::max(high, candle.high);
  }
  const int decimals = DecimalsFor(high - low);
  const auto label_width = static_cast<int>(fmt::format("{:.{}f}", high, decimals).size());
  const int columns = std::max(20, style.width) - std::max(label_width + 3, kVolumeLabel);
  const int rows = std::max(6, style.height) - 2 - (style.title.empty() ? 0 : 1);
  const auto joined = Joined(candles, static_cast<size_t>(std::max(columns, 8)));
  const Scale scale(low, high, 2 * rows);
  const Picture picture(joined, style);
  for (int row = rows - 1; row >= 0; --row) {
    out += picture.Line(scale, row);
    const bool labelled = row == rows - 1 || row == 0 || (rows - 1 - row) % 4 == 0;
    out += labelled ? fmt::format(" ┤ {:>{}.{}f}", scale.PriceAt(2 * row + 1), label_width, decimals) : " │";
    out += '\n';
  }
  out += picture.VolumeLine() + "\n";
  return out + TimeLine(joined) + "\n";
}

}  // namespace k2::query
