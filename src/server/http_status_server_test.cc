#include "server/http_status_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <thread>
#include <vector>

#include "base/metrics.h"
#include "base/time.h"
#include "net/http_client_for_tests.h"

namespace k2::server {
namespace {

class StatusServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = HttpStatusServer::Start({}, health_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    ASSERT_GT(server_->address().port, 0);
  }

  net::ResponseForTests Ask(const std::string& bytes) {
    return net::ConnectionForTests(server_->address().port).Ask(bytes);
  }

  // "<status> <body>"
  std::string Get(const std::string& path) {
    const net::ResponseForTests response = Ask(net::GetForTests(path));
    return response.status != 0 ? fmt::format("{} {}", response.status, response.body) : "no response";
  }

  std::atomic<int64_t> now_us_{1'000'000'000};
  Health health_{[this] { return now_us_.load(); }};
  std::unique_ptr<HttpStatusServer> server_;
};

TEST_F(StatusServerTest, ShowsMetrics) {
  CounterOf("test_served_total", "Served.").Add(3);
  const net::ResponseForTests response = Ask(net::GetForTests("/metrics"));
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.at("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NE(response.body.find("\ntest_served_total 3\n"), std::string::npos);
  EXPECT_NE(response.body.find("\nprocess_resident_memory_bytes "), std::string::npos);
}

TEST_F(StatusServerTest, LivesWhileLayersBeat) {
  EXPECT_EQ(Get("/livez"), "200 ok\n");
  health_.Beat("bronze");
  health_.Beat("silver");
  now_us_ += 61 * kMicrosPerSecond;
  health_.Beat("silver");
  EXPECT_EQ(Get("/livez"),
            "503 [-] layer bronze: has made no progress for 61.0 s; at most 60.0 s are allowed (61.0 s ago)\n"
            "livez: failed\n");
  health_.Beat("bronze");
  EXPECT_EQ(Get("/livez"), "200 ok\n");
}

TEST_F(StatusServerTest, IsReadyWhenAllIsOpenAndAnswers) {
  EXPECT_EQ(Get("/readyz"), "503 [-] layers: no layer has started yet\nreadyz: failed\n");
  health_.Expect("gold");
  EXPECT_TRUE(Get("/readyz").starts_with("503 [-] layer gold: is being opened"));
  health_.Beat("gold");
  EXPECT_EQ(Get("/readyz"), "200 ok\n");
  health_.SetDependency("catalog", false, "no answer");
  now_us_ += 2 * kMicrosPerSecond;
  EXPECT_EQ(Get("/readyz"), "503 [-] catalog: no answer (2.0 s ago)\nreadyz: failed\n");
  EXPECT_EQ(Get("/readyz?verbose"),
            "503 [+] layer gold: runs (2.0 s ago)\n[-] catalog: no answer (2.0 s ago)\nreadyz: failed\n");
  health_.SetDependency("catalog", true);
  EXPECT_EQ(Get("/readyz?verbose"),
            "200 [+] layer gold: runs (2.0 s ago)\n[+] catalog: answers (0.0 s ago)\nreadyz: ok\n");
}

TEST_F(StatusServerTest, ListsItsPagesAndKnowsNoOther) {
  EXPECT_TRUE(Get("/").starts_with("200 k2\n"));
  EXPECT_TRUE(Get("/metric").starts_with("404 not found\n"));
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"}) {
    const net::ResponseForTests refused = Ask(fmt::format("{} /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", method));
    EXPECT_EQ(refused.status, 405) << method;
    EXPECT_EQ(refused.headers.at("allow"), "GET, HEAD");
  }
  net::ConnectionForTests connection(server_->address().port);
  connection.Send("HEAD /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(connection.Read(false).status, 200);
}

TEST_F(StatusServerTest, AnswersManyAtOnce) {
  std::atomic<int> good{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      net::ConnectionForTests connection(server_->address().port);
      for (int n = 0; n < 10; ++n) {
        if (connection.Ask(net::GetForTests(n % 2 == 0 ? "/metrics" : "/livez")).status == 200) ++good;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(good, 80);
}

TEST_F(StatusServerTest, TwoCannotShareAnAddress) {
  const auto second = HttpStatusServer::Start(server_->address(), health_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(second.error().message,
            fmt::format("cannot listen on {}: Address already in use", server_->address().ToString()));
}

TEST_F(StatusServerTest, FreesItsPortAndCanBeStartedThereAgain) {
  const net::HttpAddress address = server_->address();
  EXPECT_EQ(Get("/livez"), "200 ok\n");
  server_.reset();
  EXPECT_EQ(net::ConnectionForTests(address.port).Ask(net::GetForTests("/livez")).status, 0);
  auto again = HttpStatusServer::Start(address, health_);
  ASSERT_TRUE(again) << again.error().message;
  server_ = std::move(*again);
  EXPECT_EQ(Get("/livez"), "200 ok\n");
}

// As many as there may be, that send and read nothing: each kind of answer comes all the same.
TEST_F(StatusServerTest, AnswersBesideClientsThatDoNothing) {
  std::deque<net::ConnectionForTests> bad;
  for (int i = 0; i < 300; ++i) {
    bad.emplace_back(server_->address().port);
    if (i % 2 == 1) bad.back().Send("POST /livez HTTP/1.1\r\nHost: localhost\r\nX: ");
  }
  for (const char* path : {"/livez", "/metrics", "/"}) EXPECT_TRUE(Get(path).starts_with("200 ")) << path;
}

TEST_F(StatusServerTest, IsAskedByItsOwnNamesOnly) {
  const auto status = [&](const std::string& host) {
    return Ask(fmt::format("GET /metrics HTTP/1.1\r\nHost: {}\r\n\r\n", host)).status;
  };
  EXPECT_EQ(status("localhost:9464"), 200);
  EXPECT_EQ(status("127.0.0.1.evil.example"), 421);
  server_.reset();
  auto named = HttpStatusServer::Start({}, health_, {"metrics.example"});
  ASSERT_TRUE(named);
  server_ = std::move(*named);
  EXPECT_EQ(status("metrics.example"), 200);
  server_.reset();
  auto everywhere = HttpStatusServer::Start({.host = "0.0.0.0"}, health_);
  ASSERT_TRUE(everywhere);
  server_ = std::move(*everywhere);
  EXPECT_EQ(status("k2:9464"), 200) << "monitoring has names of its own";
  EXPECT_EQ(Ask("GET / HTTP/1.1\r\nHost: k2:9464\r\n\r\n").status, 421);
}

TEST(HttpAddress, ThatIsNotOursIsRefused) {
  const Health health;
  for (const char* host : {"192.0.2.1", "no.such.host.invalid"}) {
    const auto server = HttpStatusServer::Start({.host = host, .port = 0}, health);
    ASSERT_FALSE(server) << host;
    EXPECT_EQ(server.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_NE(server.error().message.find(host), std::string::npos);
  }
}

}  // namespace
}  // namespace k2::server
