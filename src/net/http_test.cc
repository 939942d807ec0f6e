#include "net/http.h"

#include <gtest/gtest.h>

#include <thread>

#include "net/http_server_for_tests.h"

namespace k2::net {
namespace {

ErrorKind KindOf(const Result<HttpResponse>& result) { return result ? ErrorKind::kInternal : result.error().kind; }

TEST(Http, SendsAndReceives) {
  HttpServerForTests server([](const SeenRequest& request) {
    return ScriptedReply{.status = 201, .body = request.body + "!", .headers = {{"X-One", "a"}, {"x-one", "b"}}};
  });
  const auto client = MakeHttpClient();
  const auto reply = client->Send({.method = "POST",
                                   .url = server.url() + "/a?b=c",
                                   .headers = {{"Content-Type", "application/json"}, {"X-Empty", ""}},
                                   .body = "hello"});
  ASSERT_TRUE(reply.has_value()) << reply.error().message;
  EXPECT_EQ(reply->status, 201);
  EXPECT_EQ(reply->body, "hello!");
  EXPECT_EQ(reply->headers.at("x-one"), "a, b");
  const auto seen = server.Seen();
  ASSERT_EQ(seen.size(), 1U);
  EXPECT_EQ(seen[0].method, "POST");
  EXPECT_EQ(seen[0].target, "/a?b=c");
  EXPECT_EQ(seen[0].headers.at("content-type"), "application/json");
  EXPECT_EQ(seen[0].headers.at("accept-encoding"), "gzip");
  EXPECT_TRUE(seen[0].headers.contains("x-empty"));
  EXPECT_FALSE(seen[0].headers.contains("expect"));
}

TEST(Http, IsStoppedAtTheLastMoment) {
  HttpServerForTests server([](const SeenRequest&) { return ScriptedReply{.body = "x"}; });
  const auto client = MakeHttpClient();
  HttpRequest request{.method = "POST", .url = server.url() + "/", .body = "hello"};
  int asked = 0;
  request.before_send = [&]() -> Status { return ++asked == 1 ? Status{} : Fail(ErrorKind::kConflict, "too late"); };
  EXPECT_TRUE(client->Send(request));
  const auto stopped = client->Send(request);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().kind, ErrorKind::kConflict);
  EXPECT_EQ(stopped.error().message, "too late");
  EXPECT_EQ(server.Seen().size(), 1U);
}

TEST(Http, EveryMethodAndNoInventedType) {
  HttpServerForTests server([](const SeenRequest&) { return ScriptedReply{.body = "x"}; });
  const auto client = MakeHttpClient();
  for (const char* method : {"GET", "HEAD", "DELETE", "POST", "PUT"}) {
    const auto reply = client->Send({.method = method, .url = server.url() + "/"});
    ASSERT_TRUE(reply.has_value()) << method << ": " << reply.error().message;
    const SeenRequest seen = server.Seen().back();
    EXPECT_EQ(seen.method, method);
    EXPECT_FALSE(seen.headers.contains("content-type")) << method;
    EXPECT_EQ(seen.connection, 1) << "kept alive";
  }
}

TEST(Http, ABodyAsItWasSent) {
  HttpServerForTests server([](const SeenRequest&) {
    return ScriptedReply{.body = "as it is", .headers = {{"Content-Encoding", "aws-chunked"}}};
  });
  const auto client = MakeHttpClient();
  const auto reply = client->Send({.url = server.url(), .body_as_sent = true});
  ASSERT_TRUE(reply.has_value()) << reply.error().message;
  EXPECT_EQ(reply->body, "as it is");
  EXPECT_FALSE(server.Seen().back().headers.contains("accept-encoding"));
  EXPECT_FALSE(client->Send({.url = server.url()}).has_value()) << "an encoding that was not asked for";
}

TEST(Http, AFreshConnectionWhereOneIsAskedFor) {
  HttpServerForTests server([](const SeenRequest&) { return ScriptedReply{}; });
  const auto client = MakeHttpClient();
  ASSERT_TRUE(client->Send({.url = server.url()}).has_value());
  ASSERT_TRUE(client->Send({.url = server.url(), .fresh_connection = true}).has_value());
  EXPECT_EQ(server.Seen().back().connection, 2);
}

TEST(Http, NotSentIsUnavailable) {
  const auto client = MakeHttpClient();
  const std::string closed = "http://127.0.0.1:" + std::to_string(FreePortForTests());
  const auto refused = client->Send({.url = closed});
  EXPECT_EQ(KindOf(refused), ErrorKind::kUnavailable);
  EXPECT_NE(refused.error().message.find(closed), std::string::npos) << refused.error().message;
  EXPECT_EQ(KindOf(client->Send({.url = "http://nowhere.invalid/"})), ErrorKind::kUnavailable);
  // TLS with one that does not speak it: hangs in the handshake, no request was sent.
  HttpServerForTests deaf([](const SeenRequest&) { return ScriptedReply{}; });
  const auto tls = client->Send({.url = "https" + deaf.url().substr(4), .connect_timeout_ms = 100});
  EXPECT_EQ(KindOf(tls), ErrorKind::kUnavailable);
  EXPECT_TRUE(deaf.Seen().empty());
}

TEST(Http, SentWithoutAWholeReplyIsIo) {
  for (const ReplyFault fault : {ReplyFault::kResetBeforeReply, ReplyFault::kCloseBeforeReply,
                                 ReplyFault::kResetMidBody, ReplyFault::kBlackHole, ReplyFault::kSlowBody}) {
    HttpServerForTests server(
        [fault](const SeenRequest&) { return ScriptedReply{.body = std::string(1000, 'x'), .fault = fault}; });
    const auto reply = MakeHttpClient()->Send(
        {.method = "POST", .url = server.url(), .body = "b", .timeout_ms = 200, .fresh_connection = true});
    EXPECT_EQ(KindOf(reply), ErrorKind::kIo) << static_cast<int>(fault);
    EXPECT_EQ(server.Seen().size(), 1U) << static_cast<int>(fault);
  }
}

// What fresh_connection is for: the server ends an idle connection at the moment of the next request.
TEST(Http, AFreshConnectionIsNeverSentTwice) {
  int count = 0;
  HttpServerForTests server([&count](const SeenRequest&) {
    return ScriptedReply{.fault = ++count == 1 ? ReplyFault::kNone : ReplyFault::kCloseBeforeReply};
  });
  const auto client = MakeHttpClient();
  ASSERT_TRUE(client->Send({.url = server.url()}).has_value());
  EXPECT_EQ(KindOf(client->Send({.method = "POST", .url = server.url(), .fresh_connection = true})), ErrorKind::kIo);
  EXPECT_EQ(server.Seen().size(), 2U);
}

TEST(Http, BoundsTheReply) {
  HttpServerForTests server([](const SeenRequest&) { return ScriptedReply{.body = std::string(4097, 'x')}; });
  const auto reply = MakeHttpClient({.max_response_bytes = 4096})->Send({.url = server.url()});
  EXPECT_EQ(KindOf(reply), ErrorKind::kIo);
  EXPECT_NE(reply.error().message.find("larger than 4096"), std::string::npos) << reply.error().message;
}

TEST(Http, FollowsNoRedirect) {
  HttpServerForTests server(
      [](const SeenRequest&) { return ScriptedReply{.status = 302, .headers = {{"location", "/elsewhere"}}}; });
  const auto reply = MakeHttpClient()->Send({.url = server.url()});
  ASSERT_TRUE(reply.has_value());
  EXPECT_EQ(reply->status, 302);
  EXPECT_EQ(server.Seen().size(), 1U);
}

TEST(Http, RefusesWhatIsNoRequest) {
  const auto client = MakeHttpClient();
  EXPECT_EQ(KindOf(client->Send({.url = "file:///etc/passwd"})), ErrorKind::kInvalidArgument);
  EXPECT_EQ(KindOf(client->Send({.url = ""})), ErrorKind::kInvalidArgument);
  EXPECT_EQ(KindOf(client->Send({.url = "http://127.0.0.1/", .headers = {{"a", "b\r\nc: d"}}})),
            ErrorKind::kInvalidArgument);
}

TEST(Http, KeepsSecretsOutOfMessages) {
  const auto reply = MakeHttpClient()->Send(
      {.url = "http://user:secret@127.0.0.1:" + std::to_string(FreePortForTests()) + "/p?token=secret"});
  ASSERT_FALSE(reply.has_value());
  EXPECT_EQ(reply.error().message.find("secret"), std::string::npos) << reply.error().message;
}

TEST(WithoutSecrets, LeavesTheAddress) {
  EXPECT_EQ(WithoutSecrets("https://user:pass@host:8081/a/b?token=secret#part"), "https://host:8081/a/b");
  EXPECT_EQ(WithoutSecrets("http://us@er:p@ss@host"), "http://host");
  EXPECT_EQ(WithoutSecrets("http://host/a@b"), "http://host/a@b");
  EXPECT_EQ(WithoutSecrets("/login?code=secret"), "/login");
  EXPECT_EQ(WithoutSecrets(""), "");
}

TEST(Http, ServesSeveralThreads) {
  HttpServerForTests server([](const SeenRequest& request) { return ScriptedReply{.body = request.target}; });
  const auto client = MakeHttpClient();
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < 25; ++i) {
        const std::string path = "/" + std::to_string(thread) + "/" + std::to_string(i);
        const auto reply = client->Send({.url = server.url() + path});
        if (!reply || reply->body != path) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(UrlEncode, KeepsOnlyUnreserved) { EXPECT_EQ(UrlEncode("aZ0-._~ /\x1f%\xc3\xa9"), "aZ0-._~%20%2F%1F%25%C3%A9"); }

}  // namespace
}  // namespace k2::net
