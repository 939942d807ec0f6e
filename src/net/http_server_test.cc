#include "net/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <stdexcept>
#include <thread>
#include <vector>

#include "base/metrics.h"
#include "net/http_client_for_tests.h"

namespace k2::net {
namespace {

constexpr size_t kLargeBytes = 16 << 20;  // more than sockets buffer

class HttpServerTest : public ::testing::Test {
 protected:
  void Start(const HttpLimits& limits, const std::string& host = "127.0.0.1", std::vector<std::string> hosts = {}) {
    HttpServerOptions options{.address = {.host = host, .port = 0}, .hosts = std::move(hosts), .limits = limits};
    options.paths = {{"/livez", {.unlimited = true, .any_host_beyond_loopback = true}}};
    auto server =
        HttpServer::Start(std::move(options), [this](const HttpServerRequest& request) { return Handle(request); });
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    ASSERT_GT(port(), 0);
  }

  HttpServerResponse Handle(const HttpServerRequest& request) {
    ++handled_;
    if (request.path == "/throw") throw std::runtime_error("broken");
    if (request.path == "/large") return {.body = std::string(kLargeBytes, 'x')};
    return {.body = fmt::format("{} {} {}", request.method, request.path, request.body)};
  }

  [[nodiscard]] int port() const { return server_->address().port; }
  ConnectionForTests Connect(const std::string& source = {}) { return ConnectionForTests(port(), source); }
  int StatusOf(const std::string& bytes) { return Connect().Ask(bytes).status; }

  std::atomic<int> handled_{0};
  std::unique_ptr<HttpServer> server_;
};

int64_t MillisSince(int64_t started_us) { return (MonotonicMicros() - started_us) / 1000; }

TEST_F(HttpServerTest, AnswersAndKeepsTheConnection) {
  Start({.requests_per_connection_max = 3});
  ConnectionForTests connection = Connect();
  for (int i = 0; i < 2; ++i) {
    const ResponseForTests response = connection.Ask(GetForTests("/a?b"));
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "GET /a ");
    EXPECT_EQ(response.headers.at("connection"), "keep-alive");
    EXPECT_EQ(response.headers.at("keep-alive"), fmt::format("timeout=8, max={}", 2 - i));
  }
  EXPECT_EQ(connection.Ask(GetForTests("/a")).headers.at("connection"), "close");
  EXPECT_TRUE(connection.WaitForClose(1'000));
}

TEST_F(HttpServerTest, AnswersHeadWithoutABodyAndOldClients) {
  Start({});
  ConnectionForTests connection = Connect();
  connection.Send("HEAD /a HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const ResponseForTests head = connection.Read(false);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), "8");
  EXPECT_EQ(connection.Ask(GetForTests("/b")).body, "GET /b ");
  ConnectionForTests old = Connect();
  EXPECT_EQ(old.Ask("GET /a HTTP/1.0\r\n\r\n").body, "GET /a ");
  EXPECT_TRUE(old.WaitForClose(1'000));
  ConnectionForTests half = Connect();  // sends its request, and that it will send no more
  half.Send(GetForTests("/c"));
  half.EndSending();
  EXPECT_EQ(half.Read().body, "GET /c ");
  EXPECT_TRUE(half.WaitForClose(1'000));
}

TEST_F(HttpServerTest, AnswersPipelinedRequestsInOrder) {
  Start({});
  ConnectionForTests connection = Connect();
  std::string bytes;
  for (int i = 0; i < 50; ++i) bytes += GetForTests(fmt::format("/{}", i));
  connection.Send(bytes);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(connection.Read().body, fmt::format("GET /{} ", i));
}

TEST_F(HttpServerTest, TakesABodyWhereItMay) {
  Start({.body_bytes_max = 10});
  EXPECT_EQ(Connect().Ask("POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc").body, "POST /a abc");
  EXPECT_EQ(StatusOf("POST /a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\n"), 413);
}

TEST_F(HttpServerTest, TellsWhyItRefuses) {
  Start({});
  EXPECT_EQ(StatusOf("nonsense\r\n\r\n"), 400);
  EXPECT_EQ(StatusOf("GET / HTTP/2.0\r\n\r\n"), 505);
  EXPECT_EQ(StatusOf("GET /" + std::string(20'000, 'a')), 414);
  EXPECT_EQ(StatusOf(GetForTests("/", "X: " + std::string(20'000, 'a') + "\r\n")), 431);
  EXPECT_EQ(StatusOf(GetForTests("/", "Content-Length: 5\r\n") + "hello"), 413);
  EXPECT_EQ(handled_, 0);
  EXPECT_EQ(StatusOf(GetForTests("/throw")), 500);
  EXPECT_EQ(StatusOf(GetForTests("/")), 200) << "it goes on";
  // Who is still sending sees the answer nevertheless.
  ConnectionForTests sending = Connect();
  sending.Send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (int i = 0; i < 20; ++i) sending.Send("1000\r\n" + std::string(0x1000, 'x') + "\r\n");
  EXPECT_EQ(sending.Read().status, 413);
  ConnectionForTests endless = Connect();
  endless.Send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
  const int64_t started_us = MonotonicMicros();
  while (endless.Send("10000\r\n" + std::string(0x10000, 'x') + "\r\n") && MillisSince(started_us) < 5'000) {
  }
  EXPECT_LT(MillisSince(started_us), 4'000) << "it does not read for ever";
}

TEST_F(HttpServerTest, RefusesForeignHosts) {
  Start({}, "127.0.0.1", {"k2.example"});
  const auto status = [&](const std::string& host, const std::string& path = "/") {
    return StatusOf(fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", path, host));
  };
  for (const char* host : {"localhost", "localhost:1", "127.0.0.1", "[::1]:80", "K2.example"})
    EXPECT_EQ(status(host), 200);
  for (const char* host : {"evil.example", "127.0.0.1.evil.example", "192.0.2.7", "a b"}) EXPECT_EQ(status(host), 421);
  EXPECT_EQ(status("evil.example", "/livez"), 421) << "it listens on loopback";
  EXPECT_EQ(StatusOf("GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n"), 421);
  EXPECT_EQ(StatusOf("GET http://localhost/ HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 200);
}

TEST_F(HttpServerTest, BeyondLoopbackMonitoringUsesItsOwnNames) {
  Start({}, "0.0.0.0");
  const auto status = [&](const std::string& host, const std::string& path) {
    return StatusOf(fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", path, host));
  };
  EXPECT_EQ(status("k2-0.k2.default.svc:9464", "/livez"), 200);
  EXPECT_EQ(status("k2-0.k2.default.svc:9464", "/"), 421);
  EXPECT_EQ(status(fmt::format("127.0.0.1:{}", port()), "/"), 200) << "the address at which the connection came in";
}

TEST_F(HttpServerTest, CutsOffSlowSenders) {
  Start({.request_time_max_us = 300'000});
  const int64_t started_us = MonotonicMicros();
  ConnectionForTests silent = Connect();
  ConnectionForTests empty_lines = Connect();
  ConnectionForTests half = Connect();
  half.Send("GET /liv");
  ConnectionForTests trickle = Connect();
  trickle.Send("GET /livez HTTP/1.1\r\n");
  while (MillisSince(started_us) < 250) {  // a time for all of it, not between two bytes
    trickle.Send("a: b\r\n");
    empty_lines.Send("\r\n");
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_EQ(half.Read().status, 408);
  EXPECT_EQ(trickle.Read().status, 408);
  for (ConnectionForTests* each : {&silent, &empty_lines, &half, &trickle}) EXPECT_TRUE(each->WaitForClose(2'000));
  EXPECT_LT(MillisSince(started_us), 2'000);
}

TEST_F(HttpServerTest, CutsOffSlowReadersAndIdleOnes) {
  Start({.response_time_max_us = 300'000, .idle_time_max_us = 300'000});
  ConnectionForTests reader = Connect();
  reader.Send(GetForTests("/large"));
  ConnectionForTests idle = Connect();
  EXPECT_EQ(idle.Ask(GetForTests("/a")).status, 200);
  const int64_t started_us = MonotonicMicros();
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  EXPECT_TRUE(idle.WaitForClose(1'000));
  EXPECT_EQ(reader.Read().status, 0) << "the response was cut";
  EXPECT_LT(MillisSince(started_us), 3'000);
}

TEST_F(HttpServerTest, TheOldestMakesPlace) {
  Start({.connections_max = 10});
  std::deque<ConnectionForTests> bad;
  for (int i = 0; i < 300; ++i) {
    bad.push_back(Connect());
    if (i % 3 == 1) bad.back().Send("GET /liv");
    if (i % 30 == 2) bad.back().Send(GetForTests("/large"));
    if (i % 10 == 0) {
      EXPECT_EQ(StatusOf(GetForTests("/livez")), 200);
    }
  }
  EXPECT_TRUE(bad.front().WaitForClose(1'000));
  EXPECT_EQ(StatusOf(GetForTests("/livez")), 200);
  bad.clear();
  ConnectionForTests busy = Connect();  // has waited for less than those that say nothing
  for (int i = 0; i < 50; ++i) {
    bad.push_back(Connect());
    EXPECT_EQ(busy.Ask(GetForTests("/livez")).status, 200);
  }
  EXPECT_NE(ExposeMetrics().find("\nk2_http_connections_cut_total{reason=\"crowded_out\"}"), std::string::npos);
}

TEST_F(HttpServerTest, AClientDoesNotCrowdOutOthers) {
  Start({.connections_per_client_max = 5});
  ConnectionForTests other = Connect("127.0.0.2");
  std::deque<ConnectionForTests> bad;
  for (int i = 0; i < 100; ++i) bad.push_back(Connect());
  EXPECT_TRUE(bad.front().WaitForClose(1'000));
  EXPECT_EQ(other.Ask(GetForTests("/a")).status, 200);
}

TEST_F(HttpServerTest, BoundsTheRateOfAClient) {
  Start({.requests_per_second = 1, .requests_burst = 5});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(StatusOf(GetForTests("/a")), 200);
  ConnectionForTests connection = Connect();
  const ResponseForTests refused = connection.Ask(GetForTests("/a"));
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.headers.at("retry-after"), "1");
  EXPECT_TRUE(connection.WaitForClose(1'000));
  EXPECT_EQ(StatusOf(GetForTests("/livez")), 200) << "a probe is answered";
  EXPECT_EQ(Connect("127.0.0.2").Ask(GetForTests("/a")).status, 200) << "another client";
  EXPECT_EQ(handled_, 7);
}

TEST_F(HttpServerTest, StopsAtOnceWhateverIsConnected) {
  Start({});
  std::deque<ConnectionForTests> clients;
  for (int i = 0; i < 30; ++i) {
    clients.push_back(Connect());
    if (i % 3 == 1) clients.back().Send("GET /liv");
    if (i % 10 == 2) clients.back().Send(GetForTests("/large"));
  }
  EXPECT_EQ(StatusOf(GetForTests("/livez")), 200);
  const int64_t started_us = MonotonicMicros();
  const HttpAddress address = server_->address();
  server_.reset();
  EXPECT_LT(MillisSince(started_us), 1'000);
  EXPECT_EQ(ConnectionForTests(address.port).Ask(GetForTests("/livez")).status, 0);
}

TEST_F(HttpServerTest, RefusesHostsThatAreNone) {
  const auto server =
      HttpServer::Start({.hosts = {"a:80"}}, [](const HttpServerRequest&) { return HttpServerResponse{}; });
  ASSERT_FALSE(server);
  EXPECT_EQ(server.error().kind, ErrorKind::kInvalidArgument);
}

}  // namespace
}  // namespace k2::net
