#include "storage/storage_credentials.h"

#include <gtest/gtest.h>

#include "base/time.h"

namespace k2::storage {
namespace {

StorageProperties Keys(const std::string& id, int64_t left_ms) {
  return {{"s3.access-key-id", id}, {"s3.session-token-expires-at-ms", std::to_string(NowMicros() / 1000 + left_ms)}};
}

std::string IdOf(StorageCredentials& credentials, std::string_view location) {
  const auto found = credentials.Find(location);
  if (!found) return "error: " + std::string(ToString(found.error().kind));
  const auto id = (*found)->find("s3.access-key-id");
  return id == (*found)->end() ? "none" : id->second;
}

TEST(StorageCredentials, TheLongestPrefixWins) {
  StorageCredentials credentials;
  EXPECT_EQ(IdOf(credentials, "s3://a/b"), "none");
  credentials.Put("s3://a", {{"s3.access-key-id", "a"}});
  credentials.Put("s3://a/b/c", {{"s3.access-key-id", "c"}});
  credentials.Put("s3://a/b/d/", {{"s3.access-key-id", "d"}});
  EXPECT_EQ(IdOf(credentials, "s3://a/x"), "a");
  EXPECT_EQ(IdOf(credentials, "s3://a/b/c"), "c");
  EXPECT_EQ(IdOf(credentials, "s3://a/b/c/data/f.parquet"), "c");
  EXPECT_EQ(IdOf(credentials, "s3://a/b/cc"), "a");
  EXPECT_EQ(IdOf(credentials, "s3://a/b/d/f"), "d");
  EXPECT_EQ(IdOf(credentials, "s3://ab/f"), "none");
  credentials.Put("s3", {{"s3.access-key-id", "all"}});
  EXPECT_EQ(IdOf(credentials, "s3://ab/f"), "all");
}

TEST(StorageCredentials, RenewsBeforeTheEnd) {
  StorageCredentials credentials;
  int asked = 0;
  credentials.SetRefresher([&](const std::string& prefix) -> Status {
    EXPECT_EQ(prefix, "s3://a");
    ++asked;
    credentials.Put(prefix, Keys("new", 3'600'000));
    return {};
  });
  credentials.Put("s3://a", Keys("old", 120'000));
  EXPECT_EQ(IdOf(credentials, "s3://a/f"), "old");
  EXPECT_EQ(asked, 0);
  credentials.Put("s3://a", Keys("old", 30'000));
  EXPECT_EQ(IdOf(credentials, "s3://a/f"), "new");
  EXPECT_EQ(IdOf(credentials, "s3://a/f"), "new");
  EXPECT_EQ(asked, 1);
}

TEST(StorageCredentials, OldKeysWhileTheyLast) {
  StorageCredentials credentials;
  int asked = 0;
  credentials.SetRefresher([&](const std::string&) -> Status {
    ++asked;
    return Fail(ErrorKind::kIo, "no answer");
  });
  credentials.Put("s3://a", Keys("old", 30'000));
  EXPECT_EQ(IdOf(credentials, "s3://a/f"), "old");
  EXPECT_EQ(IdOf(credentials, "s3://a/f"), "old");
  EXPECT_EQ(asked, 1) << "not on every look-up";
  credentials.Put("s3://a", Keys("old", -1));
  const auto ended = credentials.Find("s3://a/f");
  ASSERT_FALSE(ended.has_value());
  EXPECT_EQ(ended.error().kind, ErrorKind::kUnavailable);
  EXPECT_NE(ended.error().message.find("no answer"), std::string::npos) << ended.error().message;
}

}  // namespace
}  // namespace k2::storage
