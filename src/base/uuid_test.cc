#include "base/uuid.h"

#include <gtest/gtest.h>

#include <set>

namespace k2 {
namespace {

TEST(Uuid, NameBasedMatchesRfc9562AppendixA4) {
  Uuid dns;
  ASSERT_TRUE(Uuid::Parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8", dns));
  EXPECT_EQ(NameUuid(dns, "www.example.com").ToString(), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
}

TEST(Uuid, ParsesBothCasesAndRefusesTheRest) {
  Uuid uuid;
  EXPECT_TRUE(Uuid::Parse("2ED6657D-E927-568B-95E1-2665A8AEA6A2", uuid));
  EXPECT_EQ(uuid.ToString(), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
  EXPECT_FALSE(Uuid::Parse("2ed6657de927-568b-95e1-2665a8aea6a2-", uuid));
  EXPECT_FALSE(Uuid::Parse("2ed6657d-e927-568b-95e1-2665a8aea6ag", uuid));
  EXPECT_FALSE(Uuid::Parse("2ed6657d-e927-568b-95e1-2665a8aea6a", uuid));
}

TEST(Uuid, RandomOnesDiffer) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(RandomUuid().ToString());
  EXPECT_EQ(seen.size(), 1000U);
  EXPECT_EQ(RandomUuid().ToString()[14], '4');
}

}  // namespace
}  // namespace k2
