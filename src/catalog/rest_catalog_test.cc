#include "catalog/rest_catalog.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/time.h"
#include "catalog/rest_errors.h"
#include "catalog/rest_server_for_tests.h"

namespace k2::catalog {
namespace {

using Spoil = RestServerForTests::Spoil;

TEST_F(RestCatalogTest, TakesPrefixAndSeparatorFromTheConfiguration) {
  server_.config = R"({"defaults":{"prefix":"no"},"overrides":{"prefix":"main|lake/x","namespace-separator":"%2E"}})";
  const auto catalog = Open({.warehouse = "my lake", .headers = {{"X-Team", "k2"}}});
  EXPECT_EQ(server_.Seen()[0].target, "/v1/config?warehouse=my%20lake");
  EXPECT_EQ(catalog->Load({"a.b c", "t"}).error().kind, ErrorKind::kNotFound);
  const net::SeenRequest load = server_.Seen().back();
  EXPECT_EQ(load.target, "/v1/main%7Clake/x/namespaces/a%2Eb%20c/tables/t");
  EXPECT_EQ(load.headers.at("x-team"), "k2");
  EXPECT_EQ(load.headers.at("x-iceberg-access-delegation"), "vended-credentials");
  EXPECT_EQ(catalog->Describe(), "REST catalog " + server_.url() + ", warehouse my lake");
}

TEST_F(RestCatalogTest, SaysWhatIsWrongWithTheAddress) {
  EXPECT_EQ(OpenRestCatalog({.uri = "lake"}).error().kind, ErrorKind::kInvalidArgument);
  const auto closed =
      OpenRestCatalog({.uri = "http://127.0.0.1:" + std::to_string(net::FreePortForTests()), .retry_budget_ms = 200});
  EXPECT_EQ(closed.error().kind, ErrorKind::kUnavailable);
  server_.spoil = [](const net::SeenRequest&) {
    return Spoil{.instead = net::ScriptedReply{.status = 404, .body = "<html>"}};
  };
  const auto other = OpenRestCatalog({.uri = server_.url()});
  EXPECT_EQ(other.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_NE(other.error().message.find("not the root of an Iceberg REST catalog"), std::string::npos);
}

TEST_F(RestCatalogTest, KeepsSecretsOutOfMessages) {
  const std::string port = server_.url().substr(server_.url().rfind(':'));
  const std::string uri = "http://user:secret@127.0.0.1" + port;
  const auto catalog = OpenRestCatalog({.uri = uri, .retry_budget_ms = 200});
  ASSERT_TRUE(catalog) << catalog.error().message;
  EXPECT_EQ((*catalog)->Describe(), "REST catalog http://127.0.0.1" + port);
  server_.spoil = [](const net::SeenRequest&) {
    return Spoil{.instead = net::ScriptedReply{.status = 200, .body = "<html>"}};
  };
  const auto garbled = (*catalog)->Load({"a", "t"});
  ASSERT_FALSE(garbled);
  EXPECT_EQ(garbled.error().message.find("secret"), std::string::npos) << garbled.error().message;
  EXPECT_EQ(OpenRestCatalog({.uri = "ftp://user:secret@host"}).error().message.find("secret"), std::string::npos);
  net::HttpResponse moved{.status = 302, .headers = {{"location", "https://login/?code=secret"}}, .body = {}};
  EXPECT_TRUE(
      ReadFailure(moved).message.starts_with("it redirects to https://login/: redirects are not followed. Give "));
}

TEST_F(RestCatalogTest, LoadsOnceWhatHasNotMoved) {
  for (const bool etags : {false, true}) {
    server_.etags = etags;
    const auto catalog = Open();
    const TableState first = Load(*catalog);
    EXPECT_EQ(first.metadata_location, server_.Location());
    EXPECT_EQ(first.metadata->current_snapshot_id, iceberg::kSampleIdBase + server_.snapshots);
    const TableState second = Load(*catalog);
    EXPECT_EQ(second.metadata, first.metadata) << "the very object";
    EXPECT_EQ(server_.Seen().back().headers.contains("if-none-match"), etags);
    ++server_.snapshots;
    EXPECT_EQ(Load(*catalog).metadata->current_snapshot_id, iceberg::kSampleIdBase + server_.snapshots);
  }
}

TEST_F(RestCatalogTest, TableExists) {
  const auto catalog = Open();
  EXPECT_EQ(catalog->TableExists(kTrades), true);
  EXPECT_EQ(catalog->TableExists({"market_data", "none"}), false);
  EXPECT_EQ(catalog->Load({"market_data", "none"}).error().kind, ErrorKind::kNotFound);
}

TEST_F(RestCatalogTest, ListsPageByPageAndLevelByLevel) {
  server_.spoil = [](const net::SeenRequest& request) -> Spoil {
    const auto reply = [](std::string body) { return Spoil{.instead = net::ScriptedReply{.body = std::move(body)}}; };
    if (request.target == "/v1/namespaces") return reply(R"({"namespaces":[["a"]],"next-page-token":"p 2"})");
    if (request.target == "/v1/namespaces?pageToken=p%202") return reply(R"({"namespaces":[["b"]]})");
    if (request.target == "/v1/namespaces?parent=a") return reply(R"({"namespaces":[["a","x"]]})");
    if (request.target.starts_with("/v1/namespaces?parent=")) return reply(R"({"namespaces":[]})");
    if (request.target == "/v1/namespaces/a%1Fx/tables") {
      return reply(R"({"identifiers":[{"namespace":["a","x"],"name":"t2"},{"namespace":["a","x"],"name":"t1"}]})");
    }
    return {};
  };
  const auto catalog = Open();
  EXPECT_EQ(catalog->ListNamespaces().value(), (std::vector<std::string>{"a", "a.x", "b"}));
  EXPECT_EQ(catalog->ListTables("a.x").value(), (std::vector<TableName>{{"a.x", "t1"}, {"a.x", "t2"}}));
  EXPECT_TRUE(catalog->ListTables("none")->empty());
  server_.spoil = [](const net::SeenRequest&) {
    return Spoil{.instead = net::ScriptedReply{.body = R"({"namespaces":[["a"]],"next-page-token":"same"})"}};
  };
  EXPECT_EQ(catalog->ListNamespaces().error().kind, ErrorKind::kInvalidData);
}

TEST_F(RestCatalogTest, MakesNamespacesThatAreMissing) {
  server_.spoil = [](const net::SeenRequest& request) -> Spoil {
    if (request.target == "/v1/namespaces/a") return {.instead = net::ScriptedReply{.body = "{}"}};
    if (request.method == "POST") return {.instead = RestServerForTests::Error(409, "AlreadyExistsException", "raced")};
    return {};
  };
  EXPECT_TRUE(Open()->CreateNamespaceIfMissing("a.b").has_value());
  EXPECT_EQ(server_.Seen().back().body, R"({"namespace":["a","b"],"properties":{}})");
  EXPECT_EQ(server_.Count("POST", "/v1/namespaces"), 1);
}

TEST_F(RestCatalogTest, CreatesWhereItIsTold) {
  std::string body;
  server_.spoil = [&](const net::SeenRequest& request) -> Spoil {
    if (request.method != "POST") return {};
    body = request.body;
    return {.instead = net::ScriptedReply{.body = server_.TableBody()}};
  };
  const auto catalog = Open({.table_root = "file:///lake/tables/"});
  CreateTableRequest request;
  request.schema = iceberg::SampleSchema();
  request.spec = {.fields = {{.source_id = 2, .name = "timestamp_day", .transform = "day"}}};
  request.sort_order = {.fields = {{.source_id = 2}}};
  ASSERT_TRUE(catalog->Create({"a.b", "t"}, request).has_value());
  EXPECT_NE(body.find(R"("location":"file:///lake/tables/a/b/t")"), std::string::npos) << body;
  EXPECT_NE(body.find(R"("format-version":"2")"), std::string::npos) << body;
  EXPECT_NE(body.find(R"("write-order":{"order-id":1)"), std::string::npos) << body;
  ASSERT_TRUE(Open()->Create(kTrades, request).has_value());
  EXPECT_EQ(body.find(R"("location")"), std::string::npos) << "the catalog's choice";
  server_.spoil = [](const net::SeenRequest& seen) -> Spoil {
    if (seen.method != "POST") return {};
    return {.instead = RestServerForTests::Error(409, "AlreadyExistsException", "there")};
  };
  EXPECT_EQ(catalog->Create(kTrades, request).error().kind, ErrorKind::kAlreadyExists);
}

TEST_F(RestCatalogTest, ReadsAreTriedAgain) {
  const std::vector<Spoil> troubles = {
      {.instead = net::ScriptedReply{.status = 503, .headers = {{"Retry-After", "0"}}}},
      {.instead = net::ScriptedReply{.status = 500}},
      {.instead = net::ScriptedReply{.status = 429}},
      {.instead = net::ScriptedReply{.body = "<html>down for a moment</html>"}},
      {.fault = net::ReplyFault::kResetBeforeReply},
      {.fault = net::ReplyFault::kResetMidBody},
      {.fault = net::ReplyFault::kBlackHole},
      {.fault = net::ReplyFault::kSlowBody},
  };
  const auto catalog = Open({.retry_budget_ms = 10'000});
  for (size_t i = 0; i < troubles.size(); ++i) {
    int loads = 0;
    server_.spoil = [&](const net::SeenRequest& request) {
      return IsLoad(request) && ++loads == 1 ? troubles[i] : Spoil{};
    };
    EXPECT_TRUE(catalog->Load(kTrades).has_value()) << i;
    EXPECT_EQ(loads, 2) << i;
  }
}

TEST_F(RestCatalogTest, ReadsEndWithTheirBudget) {
  const auto catalog = Open({.retry_budget_ms = 400});
  server_.spoil = [](const net::SeenRequest&) { return Spoil{.instead = net::ScriptedReply{.status = 503}}; };
  const int64_t started_us = MonotonicMicros();
  EXPECT_EQ(catalog->Load(kTrades).error().kind, ErrorKind::kUnavailable);
  EXPECT_LT(MonotonicMicros() - started_us, 2'000'000);
  server_.spoil = [](const net::SeenRequest&) { return Spoil{.fault = net::ReplyFault::kResetBeforeReply}; };
  EXPECT_EQ(catalog->Load(kTrades).error().kind, ErrorKind::kUnavailable);
  EXPECT_GT(server_.Count("GET", "/tables/trades"), 3);
}

TEST_F(RestCatalogTest, NothingIsTriedAgainWhileStopping) {
  std::atomic<bool> stopping{false};
  const auto catalog = Open({.retry_budget_ms = 60'000, .stopping = [&] { return stopping.load(); }});
  std::atomic<int> loads{0};
  server_.spoil = [&](const net::SeenRequest& request) {
    if (IsLoad(request) && ++loads == 3) stopping = true;
    return Spoil{.instead = net::ScriptedReply{.status = 503, .headers = {{"Retry-After", "1"}}}};
  };
  EXPECT_FALSE(catalog->Load(kTrades));
  EXPECT_EQ(loads, 3);
  // One that waits for its next try does not wait on.
  stopping = false;
  const int64_t started_us = MonotonicMicros();
  server_.spoil = [](const net::SeenRequest&) {
    return Spoil{.instead = net::ScriptedReply{.status = 503, .headers = {{"Retry-After", "40"}}}};
  };
  const std::jthread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    stopping = true;
  });
  EXPECT_FALSE(catalog->Load(kTrades));
  EXPECT_LT(MonotonicMicros() - started_us, 20'000'000);
}

TEST_F(RestCatalogTest, GarbageInALoad) {
  const auto catalog = Open();
  for (const char* body : {"{", "{}", R"({"metadata":{}})", R"({"metadata-location":7,"metadata":{}})",
                           R"({"metadata-location":"l","metadata":"x"})", R"({"a":[[[}}})"}) {
    server_.spoil = [&](const net::SeenRequest&) { return Spoil{.instead = net::ScriptedReply{.body = body}}; };
    EXPECT_EQ(catalog->Load(kTrades).error().kind, ErrorKind::kInvalidData) << body;
  }
}

TEST_F(RestCatalogTest, HandsKeysOn) {
  const auto keys = std::make_shared<storage::StorageCredentials>();
  server_.config = R"({"defaults":{"s3.endpoint":"http://s3","client.region":"r"},"overrides":{}})";
  const auto catalog = Open({.credentials = keys});
  const std::string at = "file:///tmp/k2/trades/data/f";
  Load(*catalog);
  EXPECT_EQ(**keys->Find(at), (storage::StorageProperties{{"client.region", "r"}, {"s3.endpoint", "http://s3"}}));

  server_.extra = R"("config":{"s3.access-key-id":"a","s3.endpoint":"http://own","other":1},)";
  Load(*catalog);
  EXPECT_EQ((*keys->Find(at))->at("s3.access-key-id"), "a");
  EXPECT_EQ((*keys->Find(at))->at("s3.endpoint"), "http://own");
  EXPECT_FALSE((*keys->Find(at))->contains("other"));

  const std::string soon = std::to_string(NowMicros() / 1000 + 10'000);
  server_.extra = R"("storage-credentials":[{"prefix":"file:///tmp/k2/trades/data","config":{"s3.access-key-id":"b",)"
                  R"("s3.session-token-expires-at-ms":")" +
                  soon + R"("}}],)";
  Load(*catalog);
  // They end within the minute: the catalog is asked, by its own endpoint.
  server_.spoil = [](const net::SeenRequest& request) -> Spoil {
    if (!request.target.ends_with("/tables/trades/credentials")) return {};
    return {.instead = net::ScriptedReply{.body = R"({"storage-credentials":[{"prefix":"file:///tmp/k2/trades/data",)"
                                                  R"("config":{"s3.access-key-id":"c"}}]})"}};
  };
  EXPECT_EQ((*keys->Find(at))->at("s3.access-key-id"), "c");
  EXPECT_EQ((*keys->Find(at))->at("s3.endpoint"), "http://s3");

  // A catalog without that endpoint: the table is loaded anew, whatever its ETag.
  server_.etags = true;
  server_.spoil = nullptr;
  Load(*catalog);
  const std::string late = std::to_string(NowMicros() / 1000 + 100'000);
  server_.extra = R"("storage-credentials":[{"prefix":"file:///tmp/k2/trades/data","config":{"s3.access-key-id":"d",)"
                  R"("s3.session-token-expires-at-ms":")" +
                  late + R"("}}],)";
  EXPECT_EQ((*keys->Find(at))->at("s3.access-key-id"), "d");
}

}  // namespace
}  // namespace k2::catalog
