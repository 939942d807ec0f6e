#include "cli/secrets.h"

#include <gtest/gtest.h>

#include <array>

namespace k2::cli {
namespace {

using NameValues = std::vector<std::pair<std::string, std::string>>;

TEST(Secrets, ValuesWithCommasAndQuotes) {
  const auto parsed = [](std::string_view text) { return ParseNameValues("kafka-set", text).value(); };
  EXPECT_EQ(parsed("a.b=1,c=2"), (NameValues{{"a.b", "1"}, {"c", "2"}}));
  EXPECT_EQ(parsed(R"(sasl.password="a,b=""c""",client.rack=r)"),
            (NameValues{{"sasl.password", R"(a,b="c")"}, {"client.rack", "r"}}));
  EXPECT_EQ(parsed(R"(a="",b=x"y,,c=)"), (NameValues{{"a", ""}, {"b", "x\"y"}, {"c", ""}}));
  EXPECT_EQ(parsed(""), NameValues{});
  for (const char* wrong : {"hidden", "a=1,hidden", "=hidden", "a=\"hidden", "a=\"x\"hidden", "hidden word=1"}) {
    const auto refused = ParseNameValues("kafka-set", wrong);
    ASSERT_FALSE(refused) << wrong;
    EXPECT_EQ(refused.error().message.find("hidden"), std::string::npos) << refused.error().message;
  }
}

TEST(Secrets, ShowsNothingOfASecret) {
  const struct {
    const char *name, *value, *shown;
  } cases[] = {
      {"catalog-token", "abc:def", "***"},
      {"registry-token", "abc", "***"},
      {"catalog-credential", "id:abc:def", "id:***"},
      {"catalog-credential", "abc", "***"},
      {"catalog", "https://abc@host:1/path", "https://***@host:1/path"},
      {"catalog", "https://me:a@b@host/path", "https://***@host/path"},
      {"catalog", "https://host/path?sig=abc", "https://host/path?***"},
      {"catalog", "https://host/a@b", "https://host/a@b"},
      {"kafka", "a:1,b:2", "a:1,b:2"},
      {"kafka", "me:abc@a:1", "***@a:1"},
      {"kafka-set", "sasl.username=me,sasl.password=abc", "sasl.username=me,sasl.password=***"},
      {"kafka-set", "sasl.password=abc,def", "***"},
      {"kafka-set", "sasl.password=abc,d=ef,x=y", "sasl.password=***,***"},
      {"kafka-set", R"(sasl.password="a,b",client.rack=r)", "sasl.password=***,client.rack=r"},
      {"kafka-set", "sasl.oauthbearer.config=principal=x", "sasl.oauthbearer.config=***"},
      {"kafka-set", "sasl.oauthbearer.client.secret=x,sasl.oauthbearer.client.id=y",
       "sasl.oauthbearer.client.secret=***,sasl.oauthbearer.client.id=y"},
      {"kafka-set", "ssl.key.pem=x,ssl.key.location=key.pem", "ssl.key.pem=***,ssl.key.location=key.pem"},
      {"kafka-set", "ssl.key.password=x,ssl.keystore.password=y", "ssl.key.password=***,ssl.keystore.password=***"},
  };
  for (const auto& c : cases) EXPECT_EQ(Shown(c.name, c.value), c.shown) << c.name << " = " << c.value;
}

TEST(Secrets, StarsOverArguments) {
  std::array<std::string, 7> texts = {"k2",           "--catalog-token", "abc", "--kafka-set=sasl.password=abc",
                                      "--warehouse=", "--threads",       "2"};
  std::array<char*, 7> arguments{};
  for (size_t i = 0; i < texts.size(); ++i) arguments[i] = texts[i].data();
  HideArguments(arguments, {"catalog-token", "kafka-set", "warehouse", "threads"});
  EXPECT_EQ(texts[2], "***");
  EXPECT_EQ(texts[3], "--kafka-set=*****************");
  EXPECT_EQ(texts[6], "2");
}

}  // namespace
}  // namespace k2::cli
