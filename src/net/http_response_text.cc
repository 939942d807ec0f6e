#include "net/http_response_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/time.h"

namespace k2::net {

std::string_view HttpReason(int status) {
  static constexpr std::array<std::pair<int, std::string_view>, 21> kReasons = {{
      {200, "OK"},
      {304, "Not Modified"},
      {400, "Bad Request"},
      {401, "Unauthorized"},
      {403, "Forbidden"},
      {404, "Not Found"},
      {405, "Method Not Allowed"},
      {408, "Request Timeout"},
      {411, "Length Required"},
      {413, "Content Too Large"},
      {414, "URI Too Long"},
      {417, "Expectation Failed"},
      {421, "Misdirected Request"},
      {429, "Too Many Requests"},
      {431, "Request Header Fields Too Large"},
      {500, "Internal Server Error"},
      {501, "Not Implemented"},
      {503, "Service Unavailable"},
      {505, "HTTP Version Not Supported"},
      {204, "No Content"},
      {406, "Not Acceptable"},
  }};
  const auto* const found = std::ranges::find(kReasons, status, &std::pair<int, std::string_view>::first);
  return found == kReasons.end() ? "Status" : found->second;
}

std::string FormatHttpDate(int64_t us) {
  static constexpr std::array<const char*, 7> kDays = {"Thu", "Fri", "Sat", "Sun",
                                                       "Mon", "Tue", "Wed"};  // of 1970-01-01
  static constexpr std::array<const char*, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const int64_t day = DayOfMicros(us);
  const CivilDate date = CivilFromDays(day);
  const int64_t second = FloorMod(us, kMicrosPerDay) / kMicrosPerSecond;
  return fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT", kDays.at(static_cast<size_t>(FloorMod(day, 7))),
                     date.day, kMonths.at(date.month - 1), date.year, second / 3600, second / 60 % 60, second % 60);
}

std::string FormatHttpResponse(const HttpServerResponse& response, bool with_body, std::string_view connection,
                               int64_t now_us) {
  std::string text = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Length: {}\r\n", response.status,
                                 HttpReason(response.status), FormatHttpDate(now_us), response.body.size());
  const auto add = [&](std::string_view name, std::string value) {
    std::ranges::replace_if(value, [](char c) { return c == '\r' || c == '\n'; }, ' ');
    text += fmt::format("{}: {}\r\n", name, value);
  };
  add("Content-Type", response.content_type);
  add("X-Content-Type-Options", "nosniff");
  for (const auto& [name, value] : response.headers) add(name, value);
  text += connection;
  text += "\r\n";
  if (with_body) text += response.body;
  return text;
}

}  // namespace k2::net
