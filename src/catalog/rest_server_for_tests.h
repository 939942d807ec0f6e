// A REST catalog of one table, in the test's process, whose every answer a test can spoil.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>

#include "base/time.h"
#include "catalog/rest_catalog.h"
#include "iceberg/metadata_samples.h"
#include "net/http_server_for_tests.h"

namespace k2::catalog {

const inline TableName kTrades{"market_data", "trades"};

class RestServerForTests {
 public:
  // What befalls a request: a reply instead of the right one. `applied`: after the right one was carried out.
  struct Spoil {
    std::optional<net::ScriptedReply> instead;
    net::ReplyFault fault = net::ReplyFault::kNone;  // of the right reply
    bool applied = false;
  };
  std::function<Spoil(const net::SeenRequest&)> spoil;
  std::string config = R"({"defaults":{},"overrides":{}})";
  std::string extra;  // into the object of a load's reply: `"config":{…},`
  std::string token;  // where set: what requests must carry
  bool etags = false;
  std::atomic<int64_t> snapshots = 1;  // of the table
  std::atomic<int> commits = 0;        // that were applied

  [[nodiscard]] std::string url() const { return server_.url(); }
  [[nodiscard]] std::vector<net::SeenRequest> Seen() { return server_.Seen(); }
  [[nodiscard]] int Count(std::string_view method, std::string_view part) {
    int count = 0;
    for (const net::SeenRequest& request : Seen()) {
      count += request.method == method && request.target.find(part) != std::string::npos ? 1 : 0;
    }
    return count;
  }
  void Stop() { server_.Stop(); }

  [[nodiscard]] std::string Location() const { return "file:///t/metadata/" + std::to_string(snapshots) + ".json"; }
  [[nodiscard]] std::string TableBody() const {
    return R"({"metadata-location":")" + Location() + R"(",)" + extra + R"("metadata":)" +
           iceberg::TableMetadataToJson(iceberg::SampleTableWithSnapshots(snapshots).value()) + "}";
  }

 private:
  net::ScriptedReply Answer(const net::SeenRequest& request) {
    Spoil spoiled = spoil ? spoil(request) : Spoil{};
    if (spoiled.instead && !spoiled.applied) return *spoiled.instead;
    net::ScriptedReply right = Right(request);
    if (spoiled.instead) return *spoiled.instead;
    right.fault = spoiled.fault;
    return right;
  }
  net::ScriptedReply Right(const net::SeenRequest& request) {
    const auto sent = request.headers.find("authorization");
    if (!token.empty() && (sent == request.headers.end() || sent->second != "Bearer " + token)) {
      return Error(401, "NotAuthorizedException", "no");
    }
    if (request.target.starts_with("/v1/config")) return {.body = config};
    if (!request.target.ends_with("/tables/trades")) return Error(404, "NoSuchTableException", "no such table");
    const std::string etag = "\"" + std::to_string(snapshots) + "\"";
    if (request.method == "GET") {
      const auto known = request.headers.find("if-none-match");
      if (known != request.headers.end() && known->second == etag) return {.status = 304};
      return Table(etag);
    }
    if (request.method == "HEAD") return {.status = 204};
    const std::string head = R"("snapshot-id":)" + std::to_string(iceberg::kSampleIdBase + snapshots) + "}";
    if (request.body.find(R"("assert-ref-snapshot-id","ref":"main",)" + head) == std::string::npos) {
      return Error(409, "CommitFailedException", "Requirement failed: branch main has changed");
    }
    ++snapshots;
    ++commits;
    return Table("\"" + std::to_string(snapshots) + "\"");
  }
  [[nodiscard]] net::ScriptedReply Table(const std::string& etag) const {
    net::ScriptedReply reply{.body = TableBody()};
    if (etags) reply.headers = {{"ETag", etag}};
    return reply;
  }

 public:
  static net::ScriptedReply Error(int status, const std::string& type, const std::string& message) {
    return {.status = status,
            .body = R"({"error":{"message":")" + message + R"(","type":")" + type + R"(","code":)" +
                    std::to_string(status) + "}}"};
  }

 private:
  net::HttpServerForTests server_{[this](const net::SeenRequest& request) { return Answer(request); }};
};

class RestCatalogTest : public testing::Test {
 protected:
  std::shared_ptr<Catalog> Open(RestCatalogOptions options = {}) {
    options.uri = server_.url() + "/";
    options.commit_timeout_ms = 300;
    options.request_timeout_ms = 300;
    if (options.retry_budget_ms == 30'000) options.retry_budget_ms = 3'000;
    auto catalog = OpenRestCatalog(std::move(options));
    EXPECT_TRUE(catalog.has_value()) << catalog.error().message;
    return catalog.value_or(nullptr);
  }
  static TableState Load(Catalog& catalog) {
    auto state = catalog.Load(kTrades);
    EXPECT_TRUE(state.has_value()) << state.error().message;
    return state.value_or(TableState{});
  }
  // The next append to what `base` holds.
  static CommitOutcome Append(Catalog& catalog, const TableState& base, const BeforeSwap& before_swap = nullptr) {
    const auto number = static_cast<int64_t>(base.metadata->snapshots.size()) + 1;
    return catalog.Commit(kTrades, base,
                          {iceberg::AssertTableUuid{std::string(iceberg::kSampleUuid)},
                           iceberg::AssertRefSnapshotId{"main", base.metadata->current_snapshot_id}},
                          iceberg::SampleAppend(*base.metadata, number), before_swap);
  }
  static std::string NameOf(const CommitOutcome& outcome) {
    struct Namer {
      std::string operator()(const Committed&) const { return "committed"; }
      std::string operator()(const Conflict&) const { return "conflict"; }
      std::string operator()(const Unknown&) const { return "unknown"; }
      std::string operator()(const Rejected& rejected) const {
        return "rejected " + std::string(ToString(rejected.error.kind));
      }
      std::string operator()(const NotSent&) const { return "not sent"; }
    };
    return std::visit(Namer{}, outcome);
  }
  static bool IsCommit(const net::SeenRequest& request) {
    return request.method == "POST" && request.target.ends_with("/tables/trades");
  }
  static bool IsLoad(const net::SeenRequest& request) {
    return request.method == "GET" && request.target.ends_with("/tables/trades");
  }

  RestServerForTests server_;
};

}  // namespace k2::catalog
