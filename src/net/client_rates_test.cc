#include "net/client_rates.h"

#include <gtest/gtest.h>

#include "base/time.h"

namespace k2::net {
namespace {

int Taken(ClientRates& rates, const std::string& client, int tries, int64_t now_us) {
  int taken = 0;
  for (int i = 0; i < tries; ++i) taken += rates.Take(client, now_us) ? 1 : 0;
  return taken;
}

TEST(ClientRates, AllowsABurstThenTheRate) {
  ClientRates rates(2, 5);
  EXPECT_EQ(Taken(rates, "a", 100, 0), 5);
  EXPECT_EQ(Taken(rates, "b", 100, 0), 5) << "each client has its own";
  EXPECT_EQ(Taken(rates, "a", 100, kMicrosPerSecond), 2);
  EXPECT_EQ(Taken(rates, "a", 100, kMicrosPerSecond + kMicrosPerSecond / 2), 1);
  EXPECT_EQ(Taken(rates, "a", 100, 1000 * kMicrosPerSecond), 5);
}

TEST(ClientRates, HoldsSoManyClientsAndForgetsTheOldest) {
  ClientRates rates(1, 1, 10);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(rates.Take(std::to_string(i), i));
  EXPECT_TRUE(rates.Take("new", 100));
  EXPECT_EQ(rates.clients(), 10U);
  EXPECT_FALSE(rates.Take("9", 101));
  EXPECT_TRUE(rates.Take("0", 102)) << "was forgotten";
  EXPECT_EQ(rates.clients(), 10U);
}

}  // namespace
}  // namespace k2::net
