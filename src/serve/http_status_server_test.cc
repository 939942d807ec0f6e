#include "serve/http_status_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/metrics.h"
#include "base/time.h"

namespace k2 {
namespace {

class StatusServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = HttpStatusServer::Start({}, health_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    ASSERT_GT(server_->address().port, 0);
    client_ = std::make_unique<httplib::Client>("127.0.0.1", server_->address().port);
    client_->set_connection_timeout(5);
    client_->set_read_timeout(5);
  }

  // "<status> <body>"
  std::string Get(const std::string& path) {
    const auto response = client_->Get(path);
    return response ? fmt::format("{} {}", response->status, response->body) : httplib::to_string(response.error());
  }

  std::atomic<int64_t> now_us_{1'000'000'000};
  Health health_{[this] { return now_us_.load(); }};
  std::unique_ptr<HttpStatusServer> server_;
  std::unique_ptr<httplib::Client> client_;
};

TEST_F(StatusServerTest, ShowsMetrics) {
  CounterOf("test_served_total", "Served.").Add(3);
  const auto response = client_->Get("/metrics");
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->get_header_value("Content-Type"), "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_NE(response->body.find("\ntest_served_total 3\n"), std::string::npos);
  EXPECT_NE(response->body.find("\nprocess_resident_memory_bytes "), std::string::npos);
}

TEST_F(StatusServerTest, LivesWhileLayersBeat) {
  EXPECT_EQ(Get("/livez"), "200 ok\n");
  health_.Beat("bronze");
  health_.Beat("silver");
  now_us_ += 61 * kMicrosPerSecond;
  health_.Beat("silver");
  EXPECT_EQ(Get("/livez"),
            "503 [-] layer bronze: has made no turn for 61.0 s, at most 60.0 s are allowed (61.0 s ago)\n"
            "livez: failed\n");
  health_.Beat("bronze");
  EXPECT_EQ(Get("/livez"), "200 ok\n");
}

TEST_F(StatusServerTest, IsReadyWhenAllIsOpenAndAnswers) {
  EXPECT_EQ(Get("/readyz"), "503 [-] layers: none has been started yet\nreadyz: failed\n");
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
  const auto posted = client_->Post("/metrics", "a=b", "application/x-www-form-urlencoded");
  ASSERT_TRUE(posted);
  EXPECT_EQ(posted->status, 404);
  const auto head = client_->Head("/livez");
  ASSERT_TRUE(head);
  EXPECT_EQ(head->status, 200);
}

TEST_F(StatusServerTest, AnswersManyAtOnce) {
  std::atomic<int> good{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      httplib::Client client("127.0.0.1", server_->address().port);
      for (int n = 0; n < 10; ++n) {
        const auto response = client.Get(n % 2 == 0 ? "/metrics" : "/livez");
        if (response && response->status == 200) ++good;
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
  EXPECT_EQ(second.error().message, fmt::format("cannot listen on {}: Address already in use; choose another address "
                                                "with --http",
                                                server_->address().ToString()));
}

TEST_F(StatusServerTest, FreesItsPortAndCanBeStartedThereAgain) {
  const HttpAddress address = server_->address();
  EXPECT_EQ(Get("/livez"), "200 ok\n");
  server_.reset();
  EXPECT_FALSE(client_->Get("/livez"));
  const auto again = HttpStatusServer::Start(address, health_);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(Get("/livez"), "200 ok\n");
}

// A client that connects and says nothing, and one that keeps its connection open, must not hold up the end.
TEST_F(StatusServerTest, StopsWhileClientsAreConnected) {
  client_->set_keep_alive(true);
  EXPECT_EQ(Get("/livez"), "200 ok\n");
  const int silent = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(server_->address().port));
  ::inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  ASSERT_EQ(::connect(silent, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  ASSERT_EQ(::write(silent, "GET /liv", 8), 8);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const int64_t started_us = MonotonicMicros();
  server_.reset();
  EXPECT_LT(MonotonicMicros() - started_us, 5 * kMicrosPerSecond);
  ::close(silent);
}

TEST(HttpAddress, IsParsed) {
  EXPECT_EQ(ParseHttpAddress(":9464")->ToString(), "127.0.0.1:9464");
  EXPECT_EQ(ParseHttpAddress("9464")->ToString(), "127.0.0.1:9464");
  EXPECT_EQ(ParseHttpAddress("0.0.0.0:0")->ToString(), "0.0.0.0:0");
  EXPECT_EQ(ParseHttpAddress("[::1]:80")->ToString(), "[::1]:80");
  EXPECT_EQ(ParseHttpAddress("localhost:65535")->host, "localhost");
  for (const char* bad : {"", ":", "localhost", "localhost:", ":-1", ":65536", ":80a", "::1:80", "[]:80", ":1 "}) {
    const auto address = ParseHttpAddress(bad);
    ASSERT_FALSE(address) << bad;
    EXPECT_EQ(address.error().kind, ErrorKind::kInvalidArgument);
  }
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
}  // namespace k2
