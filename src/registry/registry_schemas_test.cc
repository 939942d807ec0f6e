// What is asked of a registry for schemas: references, and many ids at a time.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "avro/schema.h"
#include "base/time.h"
#include "registry/registry_client.h"

namespace k2::registry {
namespace {

using AskedJson = nlohmann::json;

// A registry of schemas by path; what it does not have it says it does not have.
class KnowingHttp final : public net::HttpClient {
 public:
  Result<net::HttpResponse> Send(const net::HttpRequest& request) override {
    const int now = ++at_once_;
    int most = most_at_once.load();
    while (most < now && !most_at_once.compare_exchange_weak(most, now)) continue;
    if (delay_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    --at_once_;
    ++asked;
    if (away) return Fail(ErrorKind::kUnavailable, "connection refused");
    net::HttpResponse response{
        .status = 404, .headers = {}, .body = R"({"error_code":40403,"message":"Schema not found"})"};
    const std::string path = request.url.substr(std::string("http://registry").size());
    if (path.starts_with("/subjects")) response.body = R"({"error_code":40401,"message":"Subject not found"})";
    if (path.starts_with("/apis/")) response.body = ApicurioAbsence(path);
    if (path.starts_with("/schemas/guids/") && !guids) response.body = R"({"error_code":404,"message":"HTTP 404"})";
    if (const auto found = answers.find(path); found != answers.end()) {
      response.status = 200;
      response.body = found->second;
    }
    return response;
  }

  // Apicurio names the exception; of a path that it does not know JAX-RS's.
  [[nodiscard]] std::string ApicurioAbsence(const std::string& path) const {
    const bool known = path.starts_with(fmt::format("/apis/registry/{}/", apicurio));
    return fmt::format(R"({{"name":"{}","error_code":404,"message":"none"}})",
                       known ? "ContentNotFoundException" : "NotFoundException");
  }
  // A schema of Apicurio's own API: its text and its references, each of a group and artifact.
  void Artifact(const std::string& path, const std::string& schema,
                const std::vector<std::pair<std::string, std::string>>& references = {}) {
    AskedJson listed = AskedJson::array();
    for (const auto& [group, artifact] : references) {
      listed.push_back({{"name", "x"}, {"artifactId", artifact}, {"version", "1"}});
      if (!group.empty()) listed.back()["groupId"] = group;
    }
    const std::string base = fmt::format("/apis/registry/{}{}", apicurio, path);
    const bool content = apicurio == "v3" && path.starts_with("/groups/");
    answers[base + (content ? "/content" : "")] = schema;
    answers[base + "/references"] = listed.dump();
  }

  static std::string AnswerOf(const std::string& schema, const std::vector<std::pair<std::string, int>>& references) {
    AskedJson answer = {{"schema", schema}};
    for (const auto& [subject, version] : references) {
      answer["references"].push_back({{"name", "x." + subject}, {"subject", subject}, {"version", version}});
    }
    return answer.dump();
  }
  void Id(int id, const std::string& schema, const std::vector<std::pair<std::string, int>>& references = {}) {
    answers[fmt::format("/schemas/ids/{}", id)] = AnswerOf(schema, references);
  }
  void Version(const std::string& subject, int version, const std::string& schema,
               const std::vector<std::pair<std::string, int>>& references = {}) {
    answers[fmt::format("/subjects/{}/versions/{}?deleted=true", net::UrlEncode(subject), version)] =
        AnswerOf(schema, references);
  }

  std::map<std::string, std::string> answers{{"/schemas/types", "[\"AVRO\"]"},
                                             {"/apis/ccompat/v7/schemas/types", "[\"AVRO\"]"}};
  bool guids = true;
  std::string apicurio = "v2";
  int64_t delay_us = 0;
  std::atomic<int> asked{0};
  std::atomic<int> most_at_once{0};
  std::atomic<bool> away{false};

 private:
  std::atomic<int> at_once_{0};
};

class RegistrySchemas : public testing::Test {
 protected:
  std::shared_ptr<RegistryClient> Open(const std::string& url = "http://registry") {
    RegistryOptions options{.url = url};
    options.unavailable_us = 0;
    return *RegistryClient::Create(options, http_);
  }
  std::string RefusalOf(int32_t id) {
    const auto schema = Open()->SchemaJson(id);
    if (schema) return "it was read";
    EXPECT_EQ(schema.error().kind, ErrorKind::kUnsupported) << schema.error().message;
    return schema.error().message;
  }
  std::shared_ptr<KnowingHttp> http_ = std::make_shared<KnowingHttp>();
};

const std::string kTrade =
    R"({"type":"record","name":"x.T","fields":[{"name":"s","type":"x.Side"},{"name":"m","type":"x.Money"}]})";
const std::string kSide = R"({"type":"enum","name":"x.Side","symbols":["BUY","SELL"]})";
const std::string kMoney = R"({"type":"record","name":"x.Money","fields":[{"name":"of","type":"x.Side"}]})";

TEST_F(RegistrySchemas, ReferencesAreResolved) {
  http_->Id(7, kTrade, {{"side/a", 3}, {"money", 1}});
  http_->Version("side/a", 3, kSide);
  http_->Version("money", 1, kMoney, {{"side/a", 3}});
  const auto client = Open();
  const auto text = client->SchemaJson(7);
  ASSERT_TRUE(text) << text.error().message;
  const auto schema = avro::Schema::Parse(*text);
  ASSERT_TRUE(schema) << schema.error().message;
  EXPECT_EQ(schema->CanonicalForm(),
            R"({"name":"x.T","type":"record","fields":[{"name":"s","type":{"name":"x.Side","type":"enum",)"
            R"("symbols":["BUY","SELL"]}},{"name":"m","type":{"name":"x.Money","type":"record","fields":)"
            R"([{"name":"of","type":"x.Side"}]}}]})");
  EXPECT_EQ(http_->asked, 3) << "each once";
  EXPECT_EQ(client->SchemaJson(7).value(), *text);
  http_->Id(8, R"("x.Money")", {{"money", 1}});
  EXPECT_TRUE(client->SchemaJson(8));
  EXPECT_EQ(http_->asked, 4) << "versions never change";
}

TEST_F(RegistrySchemas, ReferencesThatCannotBeResolved) {
  http_->Id(1, kTrade, {{"gone", 1}});
  EXPECT_NE(RefusalOf(1).find("version 1 of subject gone"), std::string::npos) << RefusalOf(1);
  http_->Id(2, kTrade, {{"a", 1}});
  http_->Version("a", 1, kSide, {{"b", 2}});
  http_->Version("b", 2, kMoney, {{"a", 1}});
  EXPECT_NE(RefusalOf(2).find("refers to itself"), std::string::npos) << RefusalOf(2);
  http_->Id(3, kTrade, {{"d0", 1}});
  for (int i = 0; i < 40; ++i) http_->Version(fmt::format("d{}", i), 1, kSide, {{fmt::format("d{}", i + 1), 1}});
  EXPECT_NE(RefusalOf(3).find("more than 32 levels"), std::string::npos) << RefusalOf(3);
  std::vector<std::pair<std::string, int>> many;
  for (int i = 1; i <= 300; ++i) {
    many.emplace_back("many", i);
    http_->Version("many", i, kSide);
  }
  http_->Id(4, kTrade, many);
  EXPECT_NE(RefusalOf(4).find("more than 256"), std::string::npos) << RefusalOf(4);
  http_->Id(5, kTrade, {{"large", 1}});
  http_->Version("large", 1, std::string(5 << 20, ' '));
  EXPECT_NE(RefusalOf(5).find("bytes"), std::string::npos) << RefusalOf(5);
  http_->Id(6, kTrade, {{"broken", 1}});
  http_->Version("broken", 1, "not JSON");
  EXPECT_NE(RefusalOf(6).find("not JSON"), std::string::npos) << RefusalOf(6);
  // Whether it has one that is missing is not known while it is away.
  const auto client = Open();
  http_->away = true;
  EXPECT_EQ(client->SchemaJson(1).error().kind, ErrorKind::kUnavailable);
}

TEST_F(RegistrySchemas, OddAnswersAreNone) {
  for (const char* references : {"7", R"([7])", R"([{"name":"x"}])", R"([{"subject":"","version":1}])",
                                 R"([{"subject":"a","version":0}])", R"([{"subject":"a","version":"1"}])",
                                 R"([{"subject":"a","version":99999999999}])", R"([{"subject":"a","version":1.5}])"}) {
    http_->answers["/schemas/ids/1"] = fmt::format(R"({{"schema":"\"int\"","references":{}}})", references);
    EXPECT_EQ(Open()->SchemaJson(1).error().kind, ErrorKind::kUnavailable) << references;
  }
  http_->answers["/schemas/ids/1"] = R"({"schema":"\"int\"","references":null})";
  EXPECT_EQ(Open()->SchemaJson(1).value(), "\"int\"");
}

std::vector<trade::SchemaRef> Ids(int32_t count) {
  std::vector<trade::SchemaRef> ids;
  for (int32_t id = 1; id <= count; ++id) ids.emplace_back(id);
  return ids;
}

// 600 unknown ids at 20 ms each are 12 s one after another.
TEST_F(RegistrySchemas, ManyIdsAreAskedForSideBySide) {
  http_->delay_us = 20'000;
  const auto client = Open();
  std::vector<trade::SchemaRef> ids = Ids(600);
  const int64_t begin_us = MonotonicMicros();
  EXPECT_EQ(client->AskFor(ids, 60'000'000), ids.size());
  EXPECT_LT(MonotonicMicros() - begin_us, 6'000'000);
  EXPECT_EQ(http_->asked, 600);
  EXPECT_LE(http_->most_at_once, 16);
  for (const trade::SchemaRef& id : ids) EXPECT_EQ(client->SchemaJson(id).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(http_->asked, 600) << "remembered";
}

TEST_F(RegistrySchemas, AskingEndsWithItsTime) {
  http_->delay_us = 20'000;
  const auto client = Open();
  std::vector<trade::SchemaRef> ids = Ids(5'000);
  const size_t asked = client->AskFor(ids, 200'000);
  EXPECT_GT(asked, 0U);
  EXPECT_LT(asked, ids.size());
  EXPECT_EQ(static_cast<size_t>(http_->asked), asked);
  for (size_t i = 0; i < asked; ++i) EXPECT_EQ(client->SchemaJson(ids[i]).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(static_cast<size_t>(http_->asked), asked) << "they are the first ones";
}

TEST_F(RegistrySchemas, ARegistryThatIsAwayIsAskedNoFurther) {
  http_->away = true;
  std::vector<trade::SchemaRef> ids = Ids(1'000);
  (void)Open()->AskFor(ids, 60'000'000);
  EXPECT_LE(http_->asked, 32);
}

const trade::SchemaRef kGuid =
    trade::SchemaRef::OfGuid({"\x89\x79\x1e\x5c\x4b\x6a\x4d\x21\x9f\x60\x00\xab\xcd\xef\xff\x02", 16});
constexpr std::string_view kGuidPath = "/schemas/guids/89791e5c-4b6a-4d21-9f60-00abcdefff02";
constexpr char kApicurio[] = "http://registry/apis/ccompat/v7";

TEST_F(RegistrySchemas, AGuidIsAskedForByItsOwnPath) {
  http_->answers[std::string(kGuidPath)] = KnowingHttp::AnswerOf(kTrade, {{"side/a", 3}, {"money", 1}});
  http_->Version("side/a", 3, kSide);
  http_->Version("money", 1, kMoney, {{"side/a", 3}});
  const auto client = Open();
  const auto text = client->SchemaJson(kGuid);
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_TRUE(avro::Schema::Parse(*text));
  EXPECT_EQ(client->SchemaJson(kGuid).value(), *text);
  EXPECT_EQ(http_->asked, 3);
  http_->answers.erase(std::string(kGuidPath));
  EXPECT_EQ(Open()->SchemaJson(kGuid).error().kind, ErrorKind::kNotFound);
}

// A registry without GUIDs is asked whether it is one, once for all of them.
TEST_F(RegistrySchemas, ARegistryWithoutGuidsHasNone) {
  http_->guids = false;
  const auto client = Open();
  for (int i = 0; i < 50; ++i) {
    const trade::SchemaRef ref = trade::SchemaRef::OfGuid(fmt::format("{:016}", i));
    EXPECT_EQ(client->SchemaJson(ref).error().kind, ErrorKind::kNotFound);
  }
  EXPECT_EQ(http_->asked, 2);
  // What does not answer the other question may be a proxy's.
  http_->answers.erase("/schemas/types");
  EXPECT_EQ(Open()->SchemaJson(kGuid).error().kind, ErrorKind::kUnavailable);
  http_->away = true;
  EXPECT_EQ(Open()->SchemaJson(kGuid).error().kind, ErrorKind::kUnavailable);
}

TEST_F(RegistrySchemas, ApicurioIsAskedByItsOwnApi) {
  for (const char* version : {"v2", "v3"}) {
    http_->apicurio = version;
    http_->Artifact("/ids/globalIds/4294967303", kTrade, {{"", "side"}, {"a/b", "money"}});
    http_->Artifact("/ids/contentIds/8", "\"int\"");
    http_->Artifact("/groups/default/artifacts/side/versions/1", kSide);
    http_->Artifact("/groups/a%2Fb/artifacts/money/versions/1", kMoney, {{"default", "side"}});
    const auto client = Open(kApicurio);
    const auto text = client->SchemaJson(trade::SchemaRef(trade::SchemaRef::Kind::kGlobalId, 4294967303));
    ASSERT_TRUE(text) << version << ": " << text.error().message;
    EXPECT_TRUE(avro::Schema::Parse(*text)) << *text;
    EXPECT_EQ(client->SchemaJson(trade::SchemaRef(trade::SchemaRef::Kind::kContentId, 8)).value(), "\"int\"");
    EXPECT_EQ(client->SchemaJson(trade::SchemaRef(trade::SchemaRef::Kind::kGlobalId, 8)).error().kind,
              ErrorKind::kNotFound);
    EXPECT_EQ(client->SchemaJson(trade::SchemaRef(trade::SchemaRef::Kind::kContentId, -1)).error().kind,
              ErrorKind::kNotFound);
    http_->Artifact("/ids/globalIds/9", kTrade, {{"", "gone"}});
    EXPECT_EQ(client->SchemaJson(trade::SchemaRef(trade::SchemaRef::Kind::kGlobalId, 9)).error().kind,
              ErrorKind::kUnsupported);
    http_->answers[fmt::format("/apis/registry/{}/ids/contentIds/8/references", version)] = "7";
    EXPECT_EQ(Open(kApicurio)->SchemaJson(trade::SchemaRef(trade::SchemaRef::Kind::kContentId, 8)).error().kind,
              ErrorKind::kUnavailable);
  }
}

TEST_F(RegistrySchemas, OtherRegistriesHaveNoneOfApicuriosIds) {
  const auto client = Open();
  for (int i = 1; i < 50; ++i) {
    EXPECT_EQ(client->SchemaJson(trade::SchemaRef(trade::SchemaRef::Kind::kGlobalId, i)).error().kind,
              ErrorKind::kNotFound);
  }
  EXPECT_EQ(http_->asked, 1);
  http_->apicurio = "v4";
  EXPECT_EQ(Open(kApicurio)->SchemaJson(trade::SchemaRef(trade::SchemaRef::Kind::kContentId, 1)).error().kind,
            ErrorKind::kNotFound);
  http_->away = true;
  EXPECT_EQ(Open()->SchemaJson(trade::SchemaRef(trade::SchemaRef::Kind::kContentId, 1)).error().kind,
            ErrorKind::kUnavailable);
  EXPECT_EQ(Open(kApicurio)->SchemaJson(trade::SchemaRef(trade::SchemaRef::Kind::kContentId, 1)).error().kind,
            ErrorKind::kUnavailable);
}

// Kept on disk, each kind under names of its own.
TEST_F(RegistrySchemas, KindsDoNotMeetOnDisk) {
  const std::string folder = testing::TempDir() + "/k2-schema-kinds";
  std::filesystem::remove_all(folder);
  http_->answers["/apis/ccompat/v7/schemas/ids/7"] = KnowingHttp::AnswerOf("\"int\"", {});
  http_->answers["/apis/ccompat/v7" + std::string(kGuidPath)] = KnowingHttp::AnswerOf("\"long\"", {});
  http_->Artifact("/ids/globalIds/7", "\"string\"");
  http_->Artifact("/ids/contentIds/7", "\"bytes\"");
  for (const bool away : {false, true}) {
    http_->away = away;
    const auto client = *RegistryClient::Create({.url = kApicurio, .cache_folder = folder}, http_);
    EXPECT_EQ(client->SchemaJson(7).value(), "\"int\"");
    EXPECT_EQ(client->SchemaJson(kGuid).value(), "\"long\"");
    EXPECT_EQ(client->SchemaJson(trade::SchemaRef(trade::SchemaRef::Kind::kGlobalId, 7)).value(), "\"string\"");
    EXPECT_EQ(client->SchemaJson(trade::SchemaRef(trade::SchemaRef::Kind::kContentId, 7)).value(), "\"bytes\"");
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace k2::registry
