#include "net/http_request_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace k2::net {
namespace {

using State = HttpRequestReader::State;

constexpr size_t kHeadMax = 512;

// What comes out of `bytes` when they come `step` at a time: requests, then how it ended.
std::vector<std::string> Read(std::string_view bytes, size_t step, size_t body_max = 0) {
  HttpRequestReader reader(kHeadMax, body_max);
  std::vector<std::string> seen;
  for (;;) {
    const State state = reader.Next();
    if (state == State::kComplete) {
      const HttpServerRequest request = reader.Take();
      seen.push_back(fmt::format("{} {}?{} of {}, {} headers, '{}'{}", request.method, request.path, request.query,
                                 request.host, request.headers.size(), request.body,
                                 request.keep_alive ? "" : ", last"));
      continue;
    }
    if (state == State::kRefused) {
      seen.push_back(fmt::format("{} {}", reader.refusal().status, reader.refusal().reason));
      return seen;
    }
    if (bytes.empty()) {
      if (state == State::kPartial) seen.emplace_back("partial");
      return seen;
    }
    const std::span<char> space = reader.Space();
    const size_t count = std::min({step, bytes.size(), space.size()});
    EXPECT_GT(count, 0U);
    EXPECT_LE(space.size(), kHeadMax);
    std::memcpy(space.data(), bytes.data(), count);
    reader.Received(count);
    bytes.remove_prefix(count);
  }
}

// However they come, the same comes out.
std::vector<std::string> ReadInAnySteps(std::string_view bytes, size_t body_max = 0) {
  const std::vector<std::string> whole = Read(bytes, bytes.size() + 1, body_max);
  for (const size_t step : {1, 2, 3, 7, 64}) EXPECT_EQ(Read(bytes, step, body_max), whole) << bytes.substr(0, 200);
  return whole;
}

using Lines = std::vector<std::string>;

TEST(HttpRequestReader, ReadsRequests) {
  EXPECT_EQ(ReadInAnySteps("GET /readyz?verbose&a=b HTTP/1.1\r\nHost: a:1\r\nX: y\r\n\r\n"),
            Lines{"GET /readyz?verbose&a=b of a:1, 2 headers, ''"});
  EXPECT_EQ(ReadInAnySteps("HEAD / HTTP/1.1\r\nhost:a\r\nConnection: Close\r\n\r\n"),
            Lines{"HEAD /? of a, 2 headers, '', last"});
  EXPECT_EQ(ReadInAnySteps("GET / HTTP/1.0\r\n\r\n"), Lines{"GET /? of , 0 headers, '', last"});
  EXPECT_EQ(ReadInAnySteps("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), Lines{"GET /? of , 1 headers, ''"});
  EXPECT_EQ(ReadInAnySteps("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
            Lines{"GET /? of a, 2 headers, ''"});
}

TEST(HttpRequestReader, ReadsOneAfterAnother) {
  EXPECT_EQ(ReadInAnySteps("\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\nGET /c"),
            (Lines{"GET /a? of a, 1 headers, ''", "GET /b? of b, 1 headers, ''", "partial"}));
  std::string many;
  for (int i = 0; i < 100; ++i) many += "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
  EXPECT_EQ(ReadInAnySteps(many).size(), 100U);
}

// The host of the target counts, not the header (RFC 9112, 3.2.2).
TEST(HttpRequestReader, TakesTheHostOfTheTarget) {
  EXPECT_EQ(ReadInAnySteps("GET HTTP://b:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n"),
            Lines{"GET /x?y of b:80, 1 headers, ''"});
  EXPECT_EQ(ReadInAnySteps("GET http://b HTTP/1.1\r\nHost: a\r\n\r\n"), Lines{"GET /? of b, 1 headers, ''"});
  EXPECT_EQ(ReadInAnySteps("GET http://b?q HTTP/1.1\r\nHost: a\r\n\r\n"), Lines{"GET /?q of b, 1 headers, ''"});
}

// The status alone.
std::string StatusOf(const std::string& bytes, size_t body_max = 0) {
  const std::vector<std::string> seen = ReadInAnySteps(bytes, body_max);
  return seen.empty() ? "" : seen.back().substr(0, 3);
}

TEST(HttpRequestReader, RefusesWhatIsNoRequest) {
  using std::string_literals::operator""s;
  for (const std::string& bad : {
           "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"s,  // a TLS client's hello
           "\0\0\0\0"s,
           "GET\r\n\r\n"s,
           "GET / HTTP/1.1\nHost: a\n\n"s,
           "GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n"s,
           "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n"s,
           "GET / HTTP/1.1\r\nHost : a\r\n\r\n"s,
           "GET / XXXX/1.1\r\nHost: a\r\n\r\n"s,
           "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"s,
           "GET / HTTP/1.1\r\n\r\n"s,                        // no Host
           "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"s,  // two
           "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"s,
           "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 2\r\n\r\n"s,
           "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"s,
           "GET x HTTP/1.1\r\nHost: a\r\n\r\n"s,
           "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"s,
           "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"s,
           "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n"s,
       }) {
    EXPECT_EQ(StatusOf(bad + "\r\n\r\n"), "400") << bad;
    EXPECT_EQ(Read(bad, bad.size()).back().substr(0, 3), "400") << bad;
  }
  EXPECT_EQ(StatusOf("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), "505");
  EXPECT_EQ(StatusOf("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "505");
  EXPECT_EQ(StatusOf("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"), "417");
}

TEST(HttpRequestReader, RefusesWhatIsTooLarge) {
  EXPECT_EQ(ReadInAnySteps("GET /" + std::string(5'000, 'a')), Lines{"414 the request line is longer than 512 bytes"});
  const std::string head = "GET / HTTP/1.1\r\nHost: a\r\n";
  EXPECT_EQ(ReadInAnySteps(head + "X: " + std::string(5'000, 'a')), Lines{"431 the headers are larger than 512 bytes"});
  std::string many = head;
  for (int i = 0; i < 1'000; ++i) many += "a: b\r\n";
  EXPECT_EQ(StatusOf(many + "\r\n"), "431");
  EXPECT_EQ(StatusOf(std::string(5'000, 'A')), "414");
  // The request line is read, and its place free again, before the rest comes.
  EXPECT_EQ(
      StatusOf("GET /" + std::string(300, 'a') + " HTTP/1.1\r\nHost: a\r\nX: " + std::string(300, 'a') + "\r\n\r\n"),
      "431");
  const std::string fits = head + "X: " + std::string(kHeadMax - head.size() - 7, 'a') + "\r\n\r\n";
  ASSERT_EQ(fits.size(), kHeadMax);
  EXPECT_EQ(ReadInAnySteps(fits), Lines{"GET /? of a, 2 headers, ''"});
}

TEST(HttpRequestReader, TakesNoBodyUnlessAllowed) {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\n";
  EXPECT_EQ(ReadInAnySteps(head + "Content-Length: 1\r\n\r\n"), Lines{"413 a request body is not supported"});
  EXPECT_EQ(StatusOf(head + "Content-Length: 18446744073709551615\r\n\r\n"), "413");
  EXPECT_EQ(StatusOf(head + "Transfer-Encoding: chunked\r\n\r\n"), "413");
  EXPECT_EQ(StatusOf(head + "Transfer-Encoding: chunked\r\n\r\nfffff\r\naaaaaa"), "413");
  EXPECT_EQ(StatusOf(head + "Transfer-Encoding: gzip\r\n\r\n"), "413");
}

TEST(HttpRequestReader, BoundsABodyThatIsAllowed) {
  const std::string head = "POST / HTTP/1.1\r\nHost: a\r\n";
  EXPECT_EQ(ReadInAnySteps(head + "Content-Length: 3\r\n\r\nabcGET /", 4),
            (Lines{"POST /? of a, 2 headers, 'abc'", "partial"}));
  EXPECT_EQ(StatusOf(head + "Content-Length: 5\r\n\r\nabcde", 4), "413");
  EXPECT_EQ(StatusOf(head + "Transfer-Encoding: chunked\r\n\r\n0\r\n1", 64), "411");
  EXPECT_EQ(StatusOf(head + "Transfer-Encoding: gzip\r\n\r\n", 4), "411");
  const std::string longer(2'000, 'x');  // than the buffer: read in parts
  EXPECT_EQ(ReadInAnySteps(head + "Content-Length: 2000\r\n\r\n" + longer, 4'000),
            Lines{"POST /? of a, 2 headers, '" + longer + "'"});
}

}  // namespace
}  // namespace k2::net
