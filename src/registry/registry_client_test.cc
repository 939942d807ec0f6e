#include "registry/registry_client.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <deque>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "trade/trade_schema.h"

namespace k2::registry {
namespace {

// Answers as it was told, and keeps what it was asked.
class ScriptedHttp final : public net::HttpClient {
 public:
  Result<net::HttpResponse> Send(const net::HttpRequest& request) override {
    asked.push_back(request);
    if (answers.empty()) return Fail(ErrorKind::kUnavailable, "connection refused");
    Result<net::HttpResponse> answer = answers.front();
    answers.pop_front();
    return answer;
  }
  void Answer(int status, const std::string& body) {
    net::HttpResponse response;
    response.status = status;
    response.body = body;
    answers.emplace_back(response);
  }
  std::deque<Result<net::HttpResponse>> answers;
  std::vector<net::HttpRequest> asked;
};

std::string Header(const net::HttpRequest& request, std::string_view name) {
  for (const auto& [key, value] : request.headers) {
    if (key == name) return value;
  }
  return "";
}

class Registry : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() /
              fmt::format("k2_registry_{}_{}", testing::UnitTest::GetInstance()->current_test_info()->name(), getpid());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::shared_ptr<RegistryClient> Open(RegistryOptions options = {}) {
    if (options.url.empty()) options.url = "http://registry:8081/";
    options.unavailable_us = 0;
    auto client = RegistryClient::Create(options, http_);
    EXPECT_TRUE(client);
    return *client;
  }
  RegistryOptions Cached() const { return {.url = "http://registry:8081", .cache_folder = folder_}; }

  std::filesystem::path folder_;
  std::shared_ptr<ScriptedHttp> http_ = std::make_shared<ScriptedHttp>();
};

TEST_F(Registry, AsksOnceForASchema) {
  const auto client = Open();
  http_->Answer(200, R"({"schema":"{\"type\":\"string\"}"})");
  EXPECT_EQ(client->SchemaJson(7).value(), R"({"type":"string"})");
  EXPECT_EQ(client->SchemaJson(7).value(), R"({"type":"string"})");
  ASSERT_EQ(http_->asked.size(), 1U);
  EXPECT_EQ(http_->asked[0].url, "http://registry:8081/schemas/ids/7");
  EXPECT_EQ(Header(http_->asked[0], "Authorization"), "");
}

TEST_F(Registry, AnIdThatIsNotThereIsNotAskedForAgainAtOnce) {
  RegistryOptions options;
  options.missing_us = 50'000;
  const auto client = Open(options);
  http_->Answer(404, R"({"error_code":40403,"message":"Schema 9 not found"})");
  EXPECT_EQ(client->SchemaJson(9).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(client->SchemaJson(9).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(http_->asked.size(), 1U);
  ::usleep(60'000);
  http_->Answer(200, R"({"schema":"\"long\""})");
  EXPECT_EQ(client->SchemaJson(9).value(), "\"long\"");
}

// Messages may carry any id: what is remembered of those that are not there is limited.
TEST_F(Registry, RemembersALimitedNumberOfMissingIds) {
  RegistryOptions options;
  options.missing_max = 3;
  const auto client = Open(options);
  const auto ask = [&](int32_t id) {
    http_->Answer(404, R"({"error_code":40403,"message":"not found"})");
    EXPECT_EQ(client->SchemaJson(id).error().kind, ErrorKind::kNotFound);
  };
  for (int32_t id = 100; id < 103; ++id) ask(id);
  EXPECT_EQ(client->SchemaJson(100).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(http_->asked.size(), 3U) << "remembered";
  ask(103);  // one too many
  ask(100);
  EXPECT_EQ(http_->asked.size(), 5U) << "forgotten";
}

TEST_F(Registry, WhatIsNoAnswerOfARegistryRejectsNothing) {
  const auto client = Open();
  const std::vector<std::pair<int, std::string>> answers = {{500, "{}"},
                                                            {503, "later"},
                                                            {429, ""},
                                                            {404, "<html>"},
                                                            {404, R"({"error_code":404,"message":"HTTP 404"})"},
                                                            {200, "<html>"},
                                                            {200, R"({"schema":7})"},
                                                            {302, ""}};
  for (const auto& [status, body] : answers) {
    http_->Answer(status, body);
    const auto answer = client->SchemaJson(1);
    ASSERT_FALSE(answer) << status;
    EXPECT_EQ(answer.error().kind, ErrorKind::kUnavailable) << status << body;
  }
  EXPECT_EQ(client->SchemaJson(1).error().kind, ErrorKind::kUnavailable);  // refused
  http_->answers.emplace_back(Fail(ErrorKind::kIo, "timed out"));
  EXPECT_EQ(client->SchemaJson(1).error().kind, ErrorKind::kUnavailable);
  http_->Answer(401, R"({"error_code":401,"message":"who?"})");
  EXPECT_EQ(client->SchemaJson(1).error().kind, ErrorKind::kPermission);
  http_->Answer(200, R"({"schema":"\"int\""})");
  EXPECT_EQ(client->SchemaJson(1).value(), "\"int\"");
}

TEST_F(Registry, IsLeftAloneForAWhileWhenItIsDown) {
  RegistryOptions options{.url = "http://registry"};
  options.unavailable_us = 10'000'000;
  const auto client = *RegistryClient::Create(options, http_);
  EXPECT_FALSE(client->SchemaJson(1));
  EXPECT_EQ(client->SchemaJson(2).error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(http_->asked.size(), 1U);
}

TEST_F(Registry, KeepsSchemasOnDisk) {
  http_->Answer(200, R"({"schema":"\"int\""})");
  EXPECT_TRUE(Open(Cached())->SchemaJson(3));
  EXPECT_EQ(Open(Cached())->SchemaJson(3).value(), "\"int\"");
  EXPECT_EQ(http_->asked.size(), 1U);
  // Another registry has other schemas under the same ids.
  RegistryOptions other = Cached();
  other.url = "http://other";
  EXPECT_FALSE(Open(other)->SchemaJson(3));
  // A file that was cut or changed is none, and is mended.
  for (const auto& file : std::filesystem::recursive_directory_iterator(folder_)) {
    if (file.is_regular_file()) std::filesystem::resize_file(file.path(), file.file_size() - 1);
  }
  http_->Answer(200, R"({"schema":"\"int\""})");
  EXPECT_EQ(Open(Cached())->SchemaJson(3).value(), "\"int\"");
  EXPECT_EQ(http_->asked.size(), 3U);
  EXPECT_EQ(Open(Cached())->SchemaJson(3).value(), "\"int\"");
  EXPECT_EQ(http_->asked.size(), 3U);
}

TEST_F(Registry, ACacheThatCannotBeWrittenDoesNoHarm) {
  std::ofstream(folder_.string()) << "a file where the folder should be";
  http_->Answer(200, R"({"schema":"\"int\""})");
  EXPECT_TRUE(Open(Cached())->SchemaJson(3));
}

TEST_F(Registry, SaysWhatItDoesNotRead) {
  const auto client = Open();
  http_->Answer(200, R"({"schema":"syntax = \"proto3\";","schemaType":"PROTOBUF"})");
  EXPECT_EQ(client->SchemaJson(1).error().kind, ErrorKind::kUnsupported);
  EXPECT_EQ(client->SchemaJson(1).error().kind, ErrorKind::kUnsupported);
  EXPECT_EQ(http_->asked.size(), 1U);
  http_->Answer(200, R"({"schema":"\"int\"","schemaType":"AVRO","references":[]})");
  EXPECT_TRUE(client->SchemaJson(4));
  EXPECT_EQ(client->SchemaJson(-1).error().kind, ErrorKind::kNotFound);
}

TEST_F(Registry, Registers) {
  const auto client = Open({.url = "http://registry", .user_info = "user:pass word"});
  http_->Answer(200, R"({"id":42})");
  EXPECT_EQ(client->Register("a/b-value", trade::kTradeV2SchemaJson).value(), 42);
  EXPECT_EQ(http_->asked[0].url, "http://registry/subjects/a%2Fb-value/versions");
  EXPECT_EQ(http_->asked[0].method, "POST");
  EXPECT_EQ(Header(http_->asked[0], "Authorization"), "Basic dXNlcjpwYXNzIHdvcmQ=");
  EXPECT_EQ(nlohmann::json::parse(http_->asked[0].body)["schema"], trade::kTradeV2SchemaJson);
  http_->Answer(409, R"({"error_code":409,"message":"incompatible"})");
  EXPECT_EQ(client->Register("s", "\"int\"").error().kind, ErrorKind::kInvalidData);
  http_->Answer(422, R"({"error_code":42201,"message":"invalid"})");
  EXPECT_EQ(client->Register("s", "nonsense").error().kind, ErrorKind::kInvalidArgument);
  http_->Answer(200, R"({"id":"x"})");
  EXPECT_EQ(client->Register("s", "\"int\"").error().kind, ErrorKind::kUnavailable);
}

TEST_F(Registry, TellsWhatIsCompatible) {
  const auto client = Open({.url = "http://registry", .token = "abc"});
  http_->Answer(200, R"({"is_compatible":false})");
  EXPECT_FALSE(client->Compatible("s", "\"int\"").value());
  EXPECT_EQ(Header(http_->asked[0], "Authorization"), "Bearer abc");
  http_->Answer(200, R"({"is_compatible":true})");
  EXPECT_TRUE(client->Compatible("s", "\"int\"").value());
  http_->Answer(404, R"({"error_code":40401,"message":"Subject not found"})");
  EXPECT_TRUE(client->Compatible("s", "\"int\"").value());
  http_->Answer(404, "nothing here");
  EXPECT_FALSE(client->Compatible("s", "\"int\""));
}

TEST_F(Registry, NeedsAnUrl) {
  EXPECT_EQ(RegistryClient::Create({.url = "registry:8081"}, http_).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_FALSE(RegistryClient::Create({.url = "http://x", .user_info = "a:b", .token = "c"}, http_));
}

TEST_F(Registry, KeepsSecretsOutOfMessages) {
  const auto registry = Open({.url = "http://user:secret@registry:8081"});
  const Error refused = registry->SchemaJson(7).error();
  EXPECT_NE(refused.message.find("http://registry:8081"), std::string::npos) << refused.message;
  for (const int status : {401, 404, 409, 422, 500}) {
    http_->Answer(status, "{}");
    const auto answer = registry->Register("subject", "{}");
    ASSERT_FALSE(answer) << status;
    EXPECT_EQ(answer.error().message.find("secret"), std::string::npos) << answer.error().message;
  }
  EXPECT_EQ(refused.message.find("secret"), std::string::npos) << refused.message;
  EXPECT_EQ(RegistryClient::Create({.url = "ftp://user:secret@host"}, http_).error().message.find("secret"),
            std::string::npos);
}

}  // namespace
}  // namespace k2::registry
