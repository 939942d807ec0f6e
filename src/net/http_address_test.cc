#include "net/http_address.h"

#include <gtest/gtest.h>

namespace k2::net {
namespace {

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

}  // namespace
}  // namespace k2::net
