#include "net/http_response_text.h"

#include <gtest/gtest.h>

#include "base/time.h"

namespace k2::net {
namespace {

TEST(HttpResponseText, IsAResponse) {
  const int64_t now_us = 784'111'777 * kMicrosPerSecond;
  const HttpServerResponse response{.status = 404, .body = "no\n", .headers = {{"Allow", "GET\r\nX: y"}}};
  const std::string head =
      "HTTP/1.1 404 Not Found\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 3\r\n"
      "Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nAllow: GET  X: y\r\n"
      "Connection: close\r\n\r\n";
  EXPECT_EQ(FormatHttpResponse(response, true, "Connection: close\r\n", now_us), head + "no\n");
  EXPECT_EQ(FormatHttpResponse(response, false, "Connection: close\r\n", now_us), head);
}

}  // namespace
}  // namespace k2::net
