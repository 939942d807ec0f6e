#include "storage/s3_request.h"

#include <arrow/status.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>

#include "base/time.h"
#include "storage/arrow_error.h"
#include "storage/s3_file_io.h"
#include "storage/s3_objects.h"

namespace k2::storage {
namespace {

TEST(S3Location, TakesNamesApart) {
  const auto parsed = ParseS3Location("s3a://lake/a/b%20c/d=1/x.parquet").value();
  EXPECT_EQ(parsed.scheme, "s3a");
  EXPECT_EQ(parsed.bucket, "lake");
  EXPECT_EQ(parsed.key, "a/b%20c/d=1/x.parquet");
  EXPECT_EQ(ParseS3Location("s3://lake/a/").value().key, "a");
  EXPECT_EQ(ParseS3Location("s3://lake").value().key, "");
  for (const char* wrong : {"s3://", "s3://l/x", "s3:/lake/x", "file:///x", "s3://lake//x", "s3://lake/a/../x",
                            "s3://lake/./x", "s3://lake/a?x", "s3://lake/a#x", "s3://la ke/x", "s3://lake/a\nb"}) {
    EXPECT_EQ(ParseS3Location(wrong).error().kind, ErrorKind::kInvalidArgument) << wrong;
  }
}

TEST(S3Address, PathStyleAndVirtual) {
  const auto local = AddressOf("http://127.0.0.1:9000", "us-east-1", "lake", true).value();
  EXPECT_EQ(local.base_url + EncodedPath(local, "a b/c=1"), "http://127.0.0.1:9000/lake/a%20b/c%3D1");
  EXPECT_EQ(local.host, "127.0.0.1:9000");
  const auto aws = AddressOf("", "eu-west-1", "lake", false).value();
  EXPECT_EQ(aws.base_url + EncodedPath(aws, "k"), "https://lake.s3.eu-west-1.amazonaws.com/k");
  EXPECT_EQ(AddressOf("", "cn-north-1", "lake", false).value().host, "lake.s3.cn-north-1.amazonaws.com.cn");
  EXPECT_EQ(AddressOf("https://s3.example.org:443/", "x", "lake", true).value().host, "s3.example.org");
  EXPECT_FALSE(AddressOf("ftp://x", "x", "lake", true));
  EXPECT_FALSE(AddressOf("http://host/path", "x", "lake", true));
}

// The example "GET Object" of Amazon's "Signature Calculations for the Authorization Header".
TEST(S3Signature, IsThatOfAmazonsExample) {
  const AwsKeys keys{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
  net::HttpRequest request{
      .method = "GET", .url = "https://examplebucket.s3.amazonaws.com/test.txt", .headers = {{"Range", "bytes=0-9"}}};
  SignAwsRequest(keys, {"us-east-1", "s3"}, ParseTimestamp("2013-05-24T00:00:00Z").value(), request);
  EXPECT_EQ(request.headers.back().second,
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(S3Errors, SayWhatToDo) {
  const auto kind = [](int status, std::string_view code) {
    return S3Failure(status, code, "", "read", "s3://lake/x", true).kind;
  };
  EXPECT_EQ(kind(404, "NoSuchKey"), ErrorKind::kNotFound);
  EXPECT_EQ(kind(404, ""), ErrorKind::kNotFound);
  EXPECT_EQ(kind(403, "AccessDenied"), ErrorKind::kPermission);
  EXPECT_EQ(kind(400, "ExpiredToken"), ErrorKind::kPermission);
  EXPECT_EQ(kind(301, "PermanentRedirect"), ErrorKind::kInvalidArgument);
  EXPECT_EQ(kind(503, "SlowDown"), ErrorKind::kUnavailable);
  EXPECT_EQ(kind(500, ""), ErrorKind::kUnavailable);
  EXPECT_EQ(kind(507, ""), ErrorKind::kNoSpace);
  EXPECT_EQ(kind(400, "InvalidArgument"), ErrorKind::kIo);
  EXPECT_NE(S3Failure(404, "NoSuchBucket", "", "read", "s3://lake/x", true).message.find("create the bucket"),
            std::string::npos);
  EXPECT_NE(S3Failure(403, "AccessDenied", "", "read", "s3://lake/x", false).message.find("there are no keys"),
            std::string::npos);
  const auto arrow_kind = [](const std::string& text) {
    return S3ArrowError(arrow::Status::IOError(text), "read", "s3://lake/x").kind;
  };
  EXPECT_EQ(arrow_kind("When reading: AWS Error NO_SUCH_BUCKET during PutObject operation"), ErrorKind::kNotFound);
  EXPECT_EQ(arrow_kind("AWS Error NETWORK_CONNECTION during GetObject operation: curlCode: 7"),
            ErrorKind::kUnavailable);
  EXPECT_EQ(arrow_kind("AWS Error UNKNOWN (HTTP status 503) during GetObject operation"), ErrorKind::kUnavailable);
  EXPECT_EQ(arrow_kind("AWS Error ACCESS_DENIED during GetObject operation"), ErrorKind::kPermission);
  EXPECT_EQ(ArrowError(ToArrow({ErrorKind::kUnavailable, "gone"}), "read").kind, ErrorKind::kUnavailable);
}

// Answers from a list, and remembers what was asked.
class ScriptedHttp : public net::HttpClient {
 public:
  Result<net::HttpResponse> Send(const net::HttpRequest& request) override {
    asked.push_back(request);
    if (answers.empty()) return Fail(ErrorKind::kUnavailable, "nobody there");
    auto answer = std::move(answers.front());
    answers.pop_front();
    if (answer && mark_of_first) {
      for (const auto& [name, value] : asked.front().headers) {
        if (name == "x-amz-meta-k2-write") answer->headers[name] = value;
      }
    }
    return answer;
  }
  std::deque<Result<net::HttpResponse>> answers;
  std::vector<net::HttpRequest> asked;
  bool mark_of_first = false;
};

class S3ObjectsTest : public testing::Test {
 protected:
  std::shared_ptr<ScriptedHttp> http_ = std::make_shared<ScriptedHttp>();
  S3Objects objects_{S3Client{.endpoint = "http://127.0.0.1:1",
                              .region = "us-east-1",
                              .path_style = true,
                              .keys = [] { return AwsKeys{"key", "secret", ""}; },
                              .tries = 3},
                     http_};
};

const Result<net::HttpResponse> kLost = Fail(ErrorKind::kIo, "reset by peer");
Result<net::HttpResponse> Reply(int status, std::string body = {}) {
  return net::HttpResponse{.status = status, .headers = {}, .body = std::move(body)};
}

TEST_F(S3ObjectsTest, TriesAgainThenSaysThatTheStoreIsAway) {
  http_->answers = {kLost, Reply(503, "<Error><Code>SlowDown</Code></Error>"), Reply(200, "bytes")};
  EXPECT_EQ(objects_.Get("s3://lake/x", 100).value(), "bytes");
  EXPECT_EQ(http_->asked.size(), 3U);
  EXPECT_EQ(objects_.Get("s3://lake/x", 100).error().kind, ErrorKind::kUnavailable);
  EXPECT_EQ(http_->asked.size(), 6U);
}

TEST_F(S3ObjectsTest, DoesNotRepeatWhatNoTryBetters) {
  http_->answers = {Reply(403, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")};
  EXPECT_EQ(objects_.Get("s3://lake/x", 100).error().kind, ErrorKind::kPermission);
  http_->answers = {Reply(404)};
  EXPECT_EQ(objects_.Size("s3://lake/x").error().kind, ErrorKind::kNotFound);
  http_->answers = {Reply(404)};
  EXPECT_TRUE(objects_.Delete("s3://lake/x"));
  EXPECT_EQ(http_->asked.size(), 3U);
}

TEST_F(S3ObjectsTest, SignsWithTheStoresTimeWhereTheClocksDiffer) {
  const auto signed_at = [&](size_t request) {
    for (const auto& [name, value] : http_->asked[request].headers) {
      if (name == "x-amz-date" || name == "X-Amz-Date") return value.substr(0, 8);
    }
    return std::string();
  };
  Result<net::HttpResponse> skewed = Reply(403, "<Error><Code>RequestTimeTooSkewed</Code></Error>");
  skewed->headers["date"] = "Sun, 06 Nov 1994 08:49:37 GMT";
  http_->answers = {skewed, Reply(200, "bytes"), Reply(200, "more")};
  EXPECT_EQ(objects_.Get("s3://lake/x", 100).value(), "bytes");
  EXPECT_EQ(objects_.Get("s3://lake/y", 100).value(), "more");
  ASSERT_EQ(http_->asked.size(), 3U);
  EXPECT_NE(signed_at(0), "19941106");
  EXPECT_EQ(signed_at(1), "19941106");
  EXPECT_EQ(signed_at(2), "19941106");
  http_->answers = {skewed};  // told again, it is no news
  EXPECT_EQ(objects_.Get("s3://lake/x", 100).error().kind, ErrorKind::kPermission);
}

TEST_F(S3ObjectsTest, SignsAgainWithOtherKeysWhereTheStoreRefusesOnes) {
  AwsKeys keys{"old", "secret", "token"};
  int rejected = 0;
  S3Objects objects(S3Client{.endpoint = "http://127.0.0.1:1",
                             .region = "us-east-1",
                             .path_style = true,
                             .keys = [&] { return keys; },
                             .reject =
                                 [&](const AwsKeys& refused) {
                                   EXPECT_EQ(refused.access_key, keys.access_key);
                                   keys.access_key = "new";
                                   return ++rejected == 1;
                                 },
                             .tries = 3},
                    http_);
  const auto refused = Reply(400, "<Error><Code>ExpiredToken</Code></Error>");
  http_->answers = {refused, Reply(200, "bytes")};
  EXPECT_EQ(objects.Get("s3://lake/x", 100).value(), "bytes");
  EXPECT_TRUE(std::ranges::any_of(http_->asked.at(1).headers, [](const auto& header) {
    return header.second.find("Credential=new/") != std::string::npos;
  }));
  http_->answers = {refused};
  EXPECT_EQ(objects.Get("s3://lake/x", 100).error().kind, ErrorKind::kPermission);
  // What these keys may not do, others may not either.
  http_->answers = {Reply(403, "<Error><Code>AccessDenied</Code></Error>")};
  EXPECT_EQ(objects.Get("s3://lake/x", 100).error().kind, ErrorKind::kPermission);
  EXPECT_EQ(rejected, 2);
}

TEST_F(S3ObjectsTest, ALostReplyOfAPutIsFoundByItsMark) {
  http_->answers = {kLost, Reply(412), Reply(200)};
  http_->mark_of_first = true;
  EXPECT_TRUE(objects_.PutNew("s3://lake/x", "bytes"));
  EXPECT_EQ(http_->asked.at(1).body, "bytes");
  http_->answers = {Reply(412), Reply(200)};
  http_->mark_of_first = false;
  EXPECT_EQ(objects_.PutNew("s3://lake/x", "bytes").error().kind, ErrorKind::kAlreadyExists);
}

TEST_F(S3ObjectsTest, AStoreWithoutConditionalPutsGetsPlainOnes) {
  http_->answers = {Reply(501, "<Error><Code>NotImplemented</Code></Error>"), Reply(200)};
  EXPECT_TRUE(objects_.PutNew("s3://lake/x", "bytes"));
  const auto conditional = [&](size_t i) {
    return std::ranges::any_of(http_->asked.at(i).headers, [](const auto& h) { return h.first == "If-None-Match"; });
  };
  EXPECT_TRUE(conditional(0));
  EXPECT_FALSE(conditional(1));
}

TEST(S3Retry, GrowsAndStaysBounded) {
  for (int64_t tries = 1; tries < 100; ++tries) {
    EXPECT_GE(S3RetryDelay(tries).count(), 25);
    EXPECT_LE(S3RetryDelay(tries).count(), 5'000);
  }
}

}  // namespace
}  // namespace k2::storage
