// What can befall a commit over HTTP, and what is made of it. The rule: "unknown" whenever it may have been applied.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/uuid.h"
#include "catalog/rest_server_for_tests.h"

namespace k2::catalog {
namespace {

using Spoil = RestServerForTests::Spoil;

TEST_F(RestCatalogTest, CommitsAndKeepsTheReply) {
  server_.etags = true;
  const auto catalog = Open();
  const CommitOutcome outcome = Append(*catalog, Load(*catalog));
  ASSERT_EQ(NameOf(outcome), "committed");
  const TableState& state = std::get<Committed>(outcome).state;
  EXPECT_EQ(state.metadata->snapshots.size(), 2U);
  EXPECT_EQ(state.metadata_location, server_.Location());
  EXPECT_EQ(Load(*catalog).metadata, state.metadata) << "a 304 to the reply's ETag";
  const net::SeenRequest load = server_.Seen()[1];
  const net::SeenRequest commit = server_.Seen()[2];
  EXPECT_NE(commit.connection, load.connection) << "a connection of its own: libcurl must not send it twice";
  EXPECT_TRUE(
      commit.body.starts_with(R"({"identifier":{"namespace":["market_data"],"name":"trades"},"requirements":[{)"))
      << commit.body;
  EXPECT_NE(commit.body.find(R"("updates":[{"action":"add-snapshot")"), std::string::npos) << commit.body;
}

TEST_F(RestCatalogTest, ACommitIsStoppedAtTheLastMoment) {
  const auto catalog = Open();
  const TableState base = Load(*catalog);
  const size_t seen = server_.Seen().size();
  int passes = 0;  // before the connection, and when it stands
  int stop_at = 1;
  const BeforeSwap stop = [&]() -> Status {
    return ++passes < stop_at ? Status{} : Fail(ErrorKind::kConflict, "it slept");
  };
  for (; stop_at <= 2; ++stop_at, passes = 0) {
    EXPECT_EQ(NameOf(Append(*catalog, base, stop)), "rejected conflict");
    EXPECT_EQ(server_.Seen().size(), seen) << "nothing was sent";
  }
  EXPECT_EQ(NameOf(Append(*catalog, base, stop)), "committed") << "it is asked no third time";
}

TEST_F(RestCatalogTest, AStaleCommitIsAConflict) {
  const auto catalog = Open();
  const TableState base = Load(*catalog);
  ++server_.snapshots;
  EXPECT_EQ(NameOf(Append(*catalog, base)), "conflict");
  EXPECT_EQ(server_.commits, 0);
}

// One message for each of the words by which a conflict is told, as the catalogs say them.
TEST_F(RestCatalogTest, ConflictsThatAreAnsweredWith400) {
  const auto catalog = Open();
  for (const std::string message : {
           "Requirement failed: branch main has changed: expected id 1 != 2",
           "Cannot add snapshot with sequence number 7 older than last sequence number 8",
           "Snapshot already exists for id: 5520831229483724761",
           "Validation failed, please retry: Cannot add a snapshot, first-row-id is behind table next-row-id: 1 < 2",
           "Cannot commit: stale table metadata",
           "Cannot commit market_data.trades: metadata location s3://a/1.json has changed from s3://a/0.json",
           "Table metadata refresh is required",
           "Commit validation failed",
           "Commit failed: another one was faster",
           "Commit conflict on main",
           "ConcurrentModificationException",
       }) {
    const TableState base = Load(*catalog);
    for (const int status : {400, 409}) {
      server_.spoil = [&](const net::SeenRequest& request) {
        return IsCommit(request) ? Spoil{.instead = RestServerForTests::Error(status, "ValidationException", message)}
                                 : Spoil{};
      };
      EXPECT_EQ(NameOf(Append(*catalog, base)), "conflict") << status << " " << message;
    }
    server_.spoil = nullptr;
  }
}

TEST_F(RestCatalogTest, ATableOnThisMachinesDisksIsNoPartOfARemoteWarehouse) {
  const auto local = Open();
  ASSERT_TRUE(Load(*local).metadata->location.starts_with("file:"));
  const auto catalog = Open({.table_root = "s3://lake/warehouse"});
  const auto refused = catalog->Load(kTrades);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kPermission);
  EXPECT_NE(refused.error().message.find("but the warehouse is s3://lake/warehouse"), std::string::npos)
      << refused.error().message;
}

struct Case {
  const char* name;
  Spoil spoil;
  const char* outcome;
  int commits;  // that the server has applied
};

net::ScriptedReply Failure(int status, const std::string& type = "", const std::string& message = "") {
  return RestServerForTests::Error(status, type, message);
}

TEST_F(RestCatalogTest, EveryFaultOfACommit) {
  const std::vector<Case> cases = {
      {"conflict", {.instead = Failure(409, "CommitFailedException")}, "conflict", 0},
      {"precondition", {.instead = Failure(412)}, "conflict", 0},
      {"400 by type", {.instead = Failure(400, "CommitFailedException")}, "conflict", 0},
      {"400 by words",
       {.instead = Failure(400, "BadRequest", "Requirement failed: branch main has changed")},
       "conflict",
       0},
      {"400 of Unity", {.instead = Failure(400, "BadRequest", "Commit validation failed")}, "conflict", 0},
      {"400", {.instead = Failure(400, "BadRequestException", "unknown update")}, "rejected invalid_argument", 0},
      {"400 of a clock that is behind",
       {.instead =
            Failure(400, "ValidationException", "Invalid update timestamp 5: before last snapshot log entry at 9")},
       "not sent",
       0},
      {"400 in doubt", {.instead = Failure(400, "CommitStateUnknownException"), .applied = true}, "unknown", 1},
      {"401", {.instead = Failure(401)}, "rejected permission", 0},
      {"403", {.instead = Failure(403)}, "rejected permission", 0},
      {"404", {.instead = Failure(404, "NoSuchTableException")}, "rejected not_found", 0},
      {"406", {.instead = Failure(406)}, "rejected unsupported", 0},
      {"422", {.instead = Failure(422)}, "rejected invalid_argument", 0},
      {"302",
       {.instead = net::ScriptedReply{.status = 302, .headers = {{"Location", "/x"}}}},
       "rejected invalid_argument",
       0},
      {"429", {.instead = Failure(429)}, "not sent", 0},
      {"408", {.instead = Failure(408)}, "unknown", 0},
      {"500 before", {.instead = Failure(500)}, "unknown", 0},
      {"500 after", {.instead = Failure(500, "CommitStateUnknownException"), .applied = true}, "unknown", 1},
      {"501", {.instead = Failure(501)}, "unknown", 0},
      {"502 after", {.instead = net::ScriptedReply{.status = 502, .body = "<html>"}, .applied = true}, "unknown", 1},
      {"503 after", {.instead = Failure(503), .applied = true}, "unknown", 1},
      {"504 after", {.instead = Failure(504), .applied = true}, "unknown", 1},
      {"204", {.instead = net::ScriptedReply{.status = 204}, .applied = true}, "unknown", 1},
      {"garbage", {.instead = net::ScriptedReply{.body = "\x01\x02{"}, .applied = true}, "unknown", 1},
      {"no metadata", {.instead = net::ScriptedReply{.body = "{}"}, .applied = true}, "unknown", 1},
      {"reply lost", {.fault = net::ReplyFault::kResetBeforeReply}, "unknown", 1},
      {"closed", {.fault = net::ReplyFault::kCloseBeforeReply}, "unknown", 1},
      {"reset mid-body", {.fault = net::ReplyFault::kResetMidBody}, "unknown", 1},
      {"black hole", {.fault = net::ReplyFault::kBlackHole}, "unknown", 1},
      {"slow body", {.fault = net::ReplyFault::kSlowBody}, "unknown", 1},
  };
  const auto catalog = Open();
  for (const Case& one : cases) {
    const TableState base = Load(*catalog);
    server_.commits = 0;
    std::atomic<int> sent = 0;
    server_.spoil = [&](const net::SeenRequest& request) {
      if (!IsCommit(request)) return Spoil{};
      ++sent;
      return one.spoil;
    };
    const CommitOutcome outcome = Append(*catalog, base);
    EXPECT_EQ(NameOf(outcome), one.outcome) << one.name;
    EXPECT_EQ(server_.commits, one.commits) << one.name;
    EXPECT_EQ(sent, 1) << one.name << ": a commit is never sent twice";
    server_.spoil = nullptr;
  }
}

TEST_F(RestCatalogTest, AHugeReplyIsUnknown) {
  const auto catalog = Open({.http = net::MakeHttpClient({.max_response_bytes = 20'000})});
  const TableState base = Load(*catalog);
  server_.extra = R"("padding":")" + std::string(20'000, 'x') + R"(",)";
  EXPECT_EQ(NameOf(Append(*catalog, base)), "unknown");
  EXPECT_EQ(server_.commits, 1);
}

// A cache or a proxy that answers with the table as it was.
TEST_F(RestCatalogTest, AReplyWithoutTheSnapshotIsUnknown) {
  const auto catalog = Open();
  const TableState base = Load(*catalog);
  const std::string old = server_.TableBody();
  server_.spoil = [&](const net::SeenRequest& request) {
    return IsCommit(request) ? Spoil{.instead = net::ScriptedReply{.body = old}, .applied = true} : Spoil{};
  };
  EXPECT_EQ(NameOf(Append(*catalog, base)), "unknown");
  EXPECT_EQ(Load(*catalog).metadata->snapshots.size(), 2U);
}

TEST_F(RestCatalogTest, ACatalogThatIsDownWasNotSentTo) {
  const auto catalog = Open();
  const TableState base = Load(*catalog);
  server_.Stop();
  EXPECT_EQ(NameOf(Append(*catalog, base)), "not sent");
}

// OAuth2: the same server gives tokens, at /v1/oauth/tokens.
class RestAuthTest : public RestCatalogTest {
 protected:
  void SetUp() override {
    server_.spoil = [this](const net::SeenRequest& request) -> Spoil {
      if (request.target != "/v1/oauth/tokens") return {};
      forms_.push_back(request.body);
      if (down_) return {.instead = net::ScriptedReply{.status = 503}};
      if (refused_) {
        return {.instead = net::ScriptedReply{.status = 401,
                                              .body = R"({"error":"invalid_client","error_description":"who?"})"}};
      }
      server_.token = "t" + std::to_string(forms_.size());
      return {.instead = net::ScriptedReply{.body = R"({"access_token":")" + server_.token +
                                                    R"(","token_type":"bearer","expires_in":)" + life_ + "}"}};
    };
  }
  std::vector<std::string> forms_;
  std::string life_ = "3600";
  bool down_ = false;
  bool refused_ = false;
};

TEST_F(RestAuthTest, FetchesATokenOnce) {
  const auto catalog = Open({.credential = "my id:s&cret", .scope = "PRINCIPAL_ROLE:ALL"});
  Load(*catalog);
  Load(*catalog);
  EXPECT_EQ(forms_, std::vector<std::string>{"grant_type=client_credentials&client_id=my%20id&client_secret=s%26cret&"
                                             "scope=PRINCIPAL_ROLE%3AALL"});
}

TEST_F(RestAuthTest, RenewsInTime) {
  life_ = "1";
  const auto catalog = Open({.credential = "a:b"});
  std::this_thread::sleep_for(std::chrono::milliseconds(850));
  Load(*catalog);
  EXPECT_EQ(forms_.size(), 2U);
  // The old one serves while no new one can be had and it is not over.
  std::this_thread::sleep_for(std::chrono::milliseconds(850));
  down_ = true;
  Load(*catalog);
  EXPECT_EQ(forms_.size(), 3U);
}

TEST_F(RestAuthTest, A401MidCommitIsRepeatedOnce) {
  const auto catalog = Open({.credential = "a:b"});
  const TableState base = Load(*catalog);
  server_.token = "another";  // ended at the server
  EXPECT_EQ(NameOf(Append(*catalog, base)), "committed");
  EXPECT_EQ(server_.commits, 1);
  EXPECT_EQ(forms_.size(), 2U);
  EXPECT_EQ(server_.Count("POST", "/tables/trades"), 2);
}

TEST_F(RestAuthTest, A401ThatStaysIsRejected) {
  const auto catalog = Open({.credential = "a:b"});
  const TableState base = Load(*catalog);
  const auto tokens = server_.spoil;
  server_.spoil = [&](const net::SeenRequest& request) {
    return IsCommit(request) ? Spoil{.instead = Failure(419)} : tokens(request);
  };
  EXPECT_EQ(NameOf(Append(*catalog, base)), "rejected permission");
  EXPECT_EQ(server_.Count("POST", "/tables/trades"), 2);
  EXPECT_EQ(catalog->Load(kTrades).has_value(), true);
}

TEST_F(RestAuthTest, NoTokenNoCommit) {
  const auto catalog = Open({.credential = "a:b"});
  const TableState base = Load(*catalog);
  server_.token = "another";
  down_ = true;
  EXPECT_EQ(NameOf(Append(*catalog, base)), "not sent");
  down_ = false;
  refused_ = true;
  EXPECT_EQ(NameOf(Append(*catalog, base)), "rejected permission");
  EXPECT_EQ(server_.commits, 0);
  const auto refused = OpenRestCatalog({.uri = server_.url(), .credential = "a:secret"});
  EXPECT_EQ(refused.error().kind, ErrorKind::kPermission);
  EXPECT_NE(refused.error().message.find("who?"), std::string::npos) << refused.error().message;
  EXPECT_EQ(refused.error().message.find("secret"), std::string::npos) << refused.error().message;
}

TEST_F(RestAuthTest, ABearerTokenIsUsedAsItIs) {
  server_.token = "given";
  const auto catalog = Open({.token = "given"});
  Load(*catalog);
  server_.token = "other";
  EXPECT_EQ(catalog->Load(kTrades).error().kind, ErrorKind::kPermission);
  EXPECT_TRUE(forms_.empty());
}

TEST_F(RestAuthTest, SecretsInFilesAreReadAgain) {
  const std::string path = testing::TempDir() + "k2-secret-" + RandomHex64();
  const auto write = [&](const std::string& text) { std::ofstream(path, std::ios::trunc) << text << "\n"; };
  write("one");
  server_.token = "one";
  const auto catalog = Open({.token = Secret::OfFile(path), .header_lines = "X-Gate: open\nX-Other:  a: b "});
  const TableState base = Load(*catalog);
  write("two");
  server_.token = "two";
  EXPECT_EQ(NameOf(Append(*catalog, base)), "committed");
  EXPECT_EQ(server_.Seen().back().headers.at("x-gate"), "open");
  EXPECT_EQ(server_.Seen().back().headers.at("x-other"), "a: b");
  std::filesystem::remove(path);
  const TableState next = base;
  EXPECT_EQ(NameOf(Append(*catalog, next)), "rejected permission");  // not sent, and said so
  EXPECT_EQ(server_.commits, 1);
}

TEST(HeaderLines, AreNamesAndValues) {
  EXPECT_TRUE(net::ParseHeaderLines("")->empty());
  EXPECT_EQ(net::ParseHeaderLines("\r\nA: b\r\n").value().front().second, "b");
  for (const char* wrong : {"secret", ": secret", "a secret: b", "Host: secret", "content-length: secret"}) {
    const auto parsed = net::ParseHeaderLines(wrong);
    ASSERT_FALSE(parsed) << wrong;
    EXPECT_EQ(parsed.error().message.find("secret"), std::string::npos) << parsed.error().message;
  }
}

TEST_F(RestAuthTest, ARedirectIsToldWithWhatToDo) {
  server_.spoil = [](const net::SeenRequest&) -> Spoil {
    return {.instead =
                net::ScriptedReply{.status = 303, .headers = {{"Location", "https://login.example/x?next=secret"}}}};
  };
  const auto refused = OpenRestCatalog({.uri = server_.url()});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("https://login.example/x"), std::string::npos) << refused.error().message;
  EXPECT_NE(refused.error().message.find("workspace"), std::string::npos) << refused.error().message;
  EXPECT_EQ(refused.error().message.find("secret"), std::string::npos) << refused.error().message;
}

TEST(AwsScope, IsInTheNamesOfItsHosts) {
  const auto scope = [](const char* url) {
    const storage::AwsScope found = AwsScopeOfHost(url);
    return found.region + "/" + found.service;
  };
  EXPECT_EQ(scope("https://glue.eu-west-1.amazonaws.com/iceberg"), "eu-west-1/glue");
  EXPECT_EQ(scope("https://glue-fips.us-gov-east-1.amazonaws.com/iceberg"), "us-gov-east-1/glue");
  EXPECT_EQ(scope("https://s3tables.us-east-1.amazonaws.com/iceberg"), "us-east-1/s3tables");
  EXPECT_EQ(scope("https://x1.execute-api.eu-west-3.amazonaws.com/prod"), "eu-west-3/execute-api");
  EXPECT_EQ(scope("https://glue.cn-north-1.amazonaws.com.cn/iceberg"), "cn-north-1/glue");
  EXPECT_EQ(scope("https://b-1.lake.c2.kafka.us-east-1.amazonaws.com:9098"), "us-east-1/");
  EXPECT_EQ(scope("https://glue.eu-west-1.example.org/"), "/");
}

TEST_F(RestAuthTest, TheTokenServiceThatTheCatalogNames) {
  net::HttpServerForTests service(
      [](const net::SeenRequest&) { return net::ScriptedReply{.body = R"({"access_token":"x"})"}; });
  server_.config = R"({"overrides":{"oauth2-server-uri":")" + service.url() + R"(/token"}})";
  const auto catalog = Open({.credential = "a:b"});
  server_.token = "x";
  Load(*catalog);
  EXPECT_EQ(service.Seen().size(), 1U);
  EXPECT_EQ(service.Seen()[0].target, "/token");
}

}  // namespace
}  // namespace k2::catalog
