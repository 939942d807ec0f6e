#include "storage/aws_credentials.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "base/time.h"
#include "base/uuid.h"
#include "storage/file_io.h"
#include "storage/storage_credentials.h"

namespace k2::storage {
namespace {

// Answers by "METHOD address"; what has no answer is not reached.
class KeyServicesForTests : public net::HttpClient {
 public:
  Result<net::HttpResponse> Send(const net::HttpRequest& request) override {
    asked.push_back(request);
    const auto found = answers.find(request.method + " " + request.url);
    if (found == answers.end()) return Fail(ErrorKind::kUnavailable, "{}: nobody there", request.url);
    return found->second;
  }
  void Answer(const std::string& what, int status, std::string body) {
    answers[what] = net::HttpResponse{.status = status, .headers = {}, .body = std::move(body)};
  }
  std::map<std::string, net::HttpResponse> answers;
  std::vector<net::HttpRequest> asked;
};

class AwsCredentialsTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(home_ / ".aws"); }
  void TearDown() override {
    std::filesystem::remove_all(home_);
    ShiftClocksForTests({});
  }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(home_ / name, std::ios::trunc) << text;
    return (home_ / name).string();
  }
  AwsCredentials Make(AwsOptions options = {}) {
    environment_["HOME"] = home_.string();
    return AwsCredentials(std::move(options), http_, [this](const char* name) {
      const auto found = environment_.find(name);
      return found == environment_.end() ? std::string() : found->second;
    });
  }
  static std::string In(int64_t seconds) { return FormatTimestamp(NowMicros() + seconds * kMicrosPerSecond); }
  static std::string Json(const std::string& key, int64_t seconds) {
    return fmt::format(
        R"({{"Code":"Success","AccessKeyId":"{}","SecretAccessKey":"s/+=","Token":"t","Expiration":"{}"}})", key,
        In(seconds));
  }
  static std::string Xml(const std::string& key, int64_t seconds) {
    return fmt::format(
        "<R><Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</"
        "SessionToken><Expiration>{}</Expiration></Credentials></R>",
        key, In(seconds));
  }

  std::filesystem::path home_ = std::filesystem::temp_directory_path() / ("k2-aws-" + RandomHex64());
  std::map<std::string, std::string> environment_;
  std::shared_ptr<KeyServicesForTests> http_ = std::make_shared<KeyServicesForTests>();
};

TEST_F(AwsCredentialsTest, TakesTheFirstThatThereIs) {
  const std::string imds = "http://169.254.169.254/latest/";
  EXPECT_EQ(Make().Keys().value(), AwsKeys{});  // nothing anywhere
  http_->Answer("PUT " + imds + "api/token", 200, "imds-token");
  http_->Answer("GET " + imds + "meta-data/iam/security-credentials/", 200, "role");
  http_->Answer("GET " + imds + "meta-data/iam/security-credentials/role", 200, Json("INSTANCE", 3600));
  EXPECT_EQ(Make().Keys().value().access_key, "INSTANCE");
  EXPECT_EQ(http_->asked.back().headers.front().second, "imds-token");
  EXPECT_TRUE(http_->asked.back().direct);
  environment_["AWS_EC2_METADATA_DISABLED"] = "TRUE";
  EXPECT_EQ(Make().Keys().value(), AwsKeys{});

  environment_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://169.254.170.23/v1/credentials";
  environment_["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = Write("pod-token", "of the pod\n");
  http_->Answer("GET http://169.254.170.23/v1/credentials", 200, Json("CONTAINER", 3600));
  EXPECT_EQ(Make().Keys().value().access_key, "CONTAINER");
  EXPECT_EQ(http_->asked.back().headers.front().second, "of the pod");

  Write(".aws/credentials", "[default]\naws_access_key_id = FILE\naws_secret_access_key=s\n");
  EXPECT_EQ(Make().Keys().value().access_key, "FILE");

  environment_["AWS_ROLE_ARN"] = "arn:aws:iam::1:role/k2";
  environment_["AWS_WEB_IDENTITY_TOKEN_FILE"] = Write("web-token", "of+the+account");
  environment_["AWS_REGION"] = "eu-west-1";
  http_->Answer("POST https://sts.eu-west-1.amazonaws.com/", 200, Xml("WEB", 3600));
  EXPECT_EQ(Make().Keys().value().access_key, "WEB");
  EXPECT_NE(http_->asked.back().body.find("&WebIdentityToken=of%2Bthe%2Baccount"), std::string::npos);

  environment_["AWS_ACCESS_KEY_ID"] = "ENVIRONMENT";
  environment_["AWS_SECRET_ACCESS_KEY"] = "s";
  EXPECT_EQ(Make().Keys().value().access_key, "ENVIRONMENT");
  EXPECT_EQ(Make({.profile = "default"}).Keys().value().access_key, "FILE");
  AwsCredentials assumed = Make({.role = {.arn = "arn:role", .session_name = "x", .external_id = "e&"}});
  EXPECT_EQ(assumed.Keys().value().access_key, "WEB");
  EXPECT_EQ(assumed.Origin(), "role arn:role by environment");
  EXPECT_EQ(http_->asked.back().body,
            "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Arole&RoleSessionName=x&ExternalId=e%26");
  EXPECT_NE(http_->asked.back().headers.back().second.find("Credential=ENVIRONMENT/"), std::string::npos);
}

TEST_F(AwsCredentialsTest, AProfileMayTakeItsKeysFromAnother) {
  Write(".aws/config",
        "# comment\n[default]\nregion = eu-north-1\n[profile dev]\nrole_arn=arn:dev\nsource_profile = base\n"
        "s3 =\n  addressing_style = path\n[profile loop]\nrole_arn = a\nsource_profile = empty\n"
        "[profile empty]\nregion=x\n[profile sso]\nsso_session = corp\n[sso-session base]\naws_access_key_id = NO\n");
  Write(".aws/credentials", "[base]\naws_access_key_id=BASE\naws_secret_access_key = s # of base\n");
  http_->Answer("POST https://sts.eu-north-1.amazonaws.com/", 200, Xml("DEV", 3600));
  http_->Answer("POST https://sts.amazonaws.com/", 200, Xml("DEV", 3600));
  AwsCredentials dev = Make({.profile = "dev"});
  EXPECT_EQ(dev.Keys().value().access_key, "DEV");
  EXPECT_NE(http_->asked.back().headers.back().second.find("Credential=BASE/"), std::string::npos);
  EXPECT_EQ(Make().Region(), "eu-north-1");
  for (const char* wrong : {"loop", "empty", "missing"}) {
    EXPECT_EQ(Make({.profile = wrong}).Keys().error().kind, ErrorKind::kInvalidArgument) << wrong;
  }
  EXPECT_EQ(Make({.profile = "sso"}).Keys().error().kind, ErrorKind::kUnsupported);
}

TEST_F(AwsCredentialsTest, ErrorsSayWhoRefuses) {
  environment_["AWS_ROLE_ARN"] = "arn:k2";
  environment_["AWS_WEB_IDENTITY_TOKEN_FILE"] = home_ / "gone";
  EXPECT_EQ(Make().Keys().error().kind, ErrorKind::kNotFound);
  environment_["AWS_WEB_IDENTITY_TOKEN_FILE"] = Write("token", "x");
  EXPECT_EQ(Make().Keys().error().kind, ErrorKind::kUnavailable);
  http_->Answer("POST https://sts.amazonaws.com/", 403, "<E><Code>AccessDenied</Code><Message>no trust</Message></E>");
  const Error refused = Make().Keys().error();
  EXPECT_EQ(refused.kind, ErrorKind::kPermission);
  EXPECT_NE(refused.message.find("arn:k2"), std::string::npos);
  EXPECT_NE(refused.message.find("no trust"), std::string::npos);
  environment_.clear();
  environment_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://example.org/keys";
  EXPECT_EQ(Make().Keys().error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(AwsCredentialsTest, KeysThatEndAreRenewedBeforeAndServeMeanwhile) {
  environment_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = "http://127.0.0.1/keys";
  http_->Answer("GET http://127.0.0.1/keys", 200, Json("OLD", 2));
  AwsCredentials credentials = Make();
  EXPECT_EQ(credentials.Keys().value().access_key, "OLD");
  EXPECT_EQ(credentials.Keys().value().access_key, "OLD");
  EXPECT_EQ(http_->asked.size(), 1U);
  ShiftClocksForTests({.wall_us = 3 * kMicrosPerSecond});  // a machine that slept
  http_->answers.clear();
  EXPECT_EQ(credentials.Keys().error().kind, ErrorKind::kUnavailable);
  http_->Answer("GET http://127.0.0.1/keys", 200, Json("NEW", 3600));
  EXPECT_EQ(credentials.Keys().value().access_key, "NEW");
  // Refused by a service: asked again, and the same ones are no news.
  const AwsKeys refused = credentials.Keys().value();
  EXPECT_FALSE(credentials.Reject(refused));
  EXPECT_TRUE(credentials.Reject(AwsKeys{"OLD", "s", "t"}));
}

TEST_F(AwsCredentialsTest, ACatalogThatOnlySignsItselfIsRefused) {
  environment_["HOME"] = home_.string();
  const auto chain = std::make_shared<AwsCredentials>(AwsOptions{}, http_, [this](const char* name) {
    const auto found = environment_.find(name);
    return found == environment_.end() ? std::string() : found->second;
  });
  const auto lent = std::make_shared<StorageCredentials>();
  lent->Put("s3://lake", {{"s3.remote-signing-enabled", "true"}});
  StorageOptions options{.s3 = {.endpoint = "http://127.0.0.1:1", .region = "x", .chain = chain, .tries = 1}};
  const auto io = MakeFileIo(options, lent);
  const Error refused = io->Read("s3://lake/x").error();
  EXPECT_EQ(refused.kind, ErrorKind::kUnsupported) << refused.message;
  lent->Put("s3://lake", {{"s3.remote-signing-enabled", "true"}, {"s3.access-key-id", "k"}});
  EXPECT_EQ(io->Read("s3://lake/x").error().kind, ErrorKind::kUnavailable);
}

TEST_F(AwsCredentialsTest, KeysOfAFileAreReadAgainWhenItChanges) {
  Write(".aws/credentials", "[default]\naws_access_key_id=ONE\naws_secret_access_key=s\n");
  AwsCredentials credentials = Make();
  const AwsKeys one = credentials.Keys().value();
  EXPECT_EQ(one.access_key, "ONE");
  Write(".aws/credentials", "[default]\naws_access_key_id=SECOND\naws_secret_access_key=s\n");
  EXPECT_TRUE(credentials.Reject(one));
  EXPECT_EQ(credentials.Keys().value().access_key, "SECOND");
}

}  // namespace
}  // namespace k2::storage
