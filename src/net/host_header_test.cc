#include "net/host_header.h"

#include <gtest/gtest.h>

namespace k2::net {
namespace {

TEST(HostHeader, IsReadAsAHost) {
  EXPECT_EQ(CanonicalHost("LocalHost:9464"), "localhost");
  EXPECT_EQ(CanonicalHost("k2.example."), "k2.example");
  EXPECT_EQ(CanonicalHost("10.0.0.1:80"), "10.0.0.1");
  EXPECT_EQ(CanonicalHost("[0:0:0:0:0:0:0:1]:80"), "::1");
  EXPECT_EQ(CanonicalHost("::1"), "::1");
  EXPECT_EQ(CanonicalHost("[::ffff:127.0.0.1]"), "127.0.0.1");
  EXPECT_EQ(CanonicalHost("a:"), "a");
  for (const std::string& bad :
       {std::string(""), std::string("a b"), std::string("a:b"), std::string("a:123456"), std::string("[::1"),
        std::string("[::1]x"), std::string("[localhost]"), std::string(":80"), std::string("a/b"), std::string("u@a"),
        std::string("a.."), std::string("."), std::string("a..b"), std::string("a\0b", 3), std::string(300, 'a')}) {
    EXPECT_EQ(CanonicalHost(bad), "") << bad;
  }
}

TEST(HostHeader, OursAreLoopbackTheAddressAndNames) {
  const auto own = OwnHosts::Create("10.1.2.3", {"k2.example", "[fd00::7]"});
  ASSERT_TRUE(own);
  for (const char* host : {"localhost", "LOCALHOST:1", "localhost.", "127.0.0.1:9464", "127.9.9.9", "[::1]:9464",
                           "10.1.2.3", "10.1.2.3:80", "K2.Example:80", "[FD00:0::7]:9464", "10.7.7.7:9464"}) {
    EXPECT_TRUE(own->Contains(host, "10.7.7.7")) << host;
  }
  // Names that begin or end like ours, other ways to write 127.0.0.1 (no browser sends them), what is no host.
  for (const char* host : {"127.0.0.1.evil.example", "localhost.evil.example", "evil.example", "k2.example.evil",
                           "xk2.example", "127.1", "2130706433", "0x7f.0.0.1", "10.1.2.4", "[::2]", "", ":80",
                           "localhost:x", "localhost,evil.example", "localhost evil.example", "user@localhost"}) {
    EXPECT_FALSE(own->Contains(host, "10.7.7.7")) << host;
  }
}

TEST(HostHeader, NamesHaveNoPort) {
  for (const char* bad : {"a:80", "http://a", "a/b", "[::1]:80", "*"}) {
    const auto own = OwnHosts::Create("127.0.0.1", {bad});
    ASSERT_FALSE(own) << bad;
    EXPECT_EQ(own.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_NE(own.error().message.find(bad), std::string::npos);
  }
}

}  // namespace
}  // namespace k2::net
