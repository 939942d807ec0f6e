#include "base/health.h"

#include <gtest/gtest.h>

#include "base/time.h"

namespace k2 {
namespace {

class HealthTest : public ::testing::Test {
 protected:
  void Pass(int64_t seconds) { now_us_ += seconds * kMicrosPerSecond; }

  int64_t now_us_ = 1'000'000'000;
  Health health_{[this] { return now_us_; }};
};

const HealthCheck* Find(const HealthReport& report, std::string_view name) {
  for (const HealthCheck& check : report.checks) {
    if (check.name == name) return &check;
  }
  return nullptr;
}

TEST_F(HealthTest, WithoutLayersItLivesAndIsNotReady) {
  EXPECT_TRUE(health_.Live().ok);
  EXPECT_FALSE(health_.Ready().ok);
}

TEST_F(HealthTest, IsReadyWhenEveryLayerIsOpen) {
  health_.Expect("bronze");
  health_.Expect("silver");
  health_.Beat("bronze");
  EXPECT_TRUE(health_.Live().ok);
  EXPECT_FALSE(health_.Ready().ok);
  EXPECT_EQ(Find(health_.Ready(), "layer silver")->detail, "is being opened");
  health_.Beat("silver");
  EXPECT_TRUE(health_.Ready().ok);
}

TEST_F(HealthTest, NamesTheLayerThatStandsStill) {
  health_.Beat("bronze");
  health_.Beat("gold");
  Pass(60);
  EXPECT_TRUE(health_.Live().ok);
  health_.Beat("gold");
  Pass(1);
  const HealthReport live = health_.Live();
  EXPECT_FALSE(live.ok);
  EXPECT_FALSE(Find(live, "layer bronze")->ok);
  EXPECT_EQ(Find(live, "layer bronze")->age_us, 61 * kMicrosPerSecond);
  EXPECT_TRUE(Find(live, "layer gold")->ok);
  EXPECT_FALSE(health_.Ready().ok);
  health_.Beat("bronze");
  EXPECT_TRUE(health_.Live().ok) << "it goes on";
}

TEST_F(HealthTest, ALayerThatStandsLivesAndIsNotReady) {
  health_.Beat("bronze");
  health_.Beat("gold");
  health_.Stands("gold", "rows are gone");
  health_.Beat("gold");
  EXPECT_TRUE(health_.Live().ok);
  const HealthReport ready = health_.Ready();
  EXPECT_FALSE(ready.ok);
  EXPECT_EQ(Find(ready, "layer gold")->detail, "blocked: rows are gone");
  EXPECT_TRUE(Find(ready, "layer bronze")->ok);
  health_.Stands("gold", "");
  EXPECT_TRUE(health_.Ready().ok);
}

TEST_F(HealthTest, ALayerThatNeverOpensIsFound) {
  health_.SetBeatAgeMax(5 * kMicrosPerSecond);
  health_.Expect("bronze");
  Pass(6);
  EXPECT_FALSE(health_.Live().ok);
}

TEST_F(HealthTest, ALayerThatHasEndedIsNotWatched) {
  health_.Beat("bronze");
  health_.Finished("bronze");
  Pass(1000);
  EXPECT_TRUE(health_.Live().ok);
  EXPECT_TRUE(health_.Ready().ok);
}

TEST_F(HealthTest, DependenciesDecideAboutReadinessAlone) {
  health_.Beat("bronze");
  health_.SetDependency("catalog", false, "503 of the catalog");
  EXPECT_TRUE(health_.Live().ok) << "to be started again would not help";
  EXPECT_FALSE(health_.Ready().ok);
  EXPECT_EQ(Find(health_.Ready(), "catalog")->detail, "503 of the catalog");
  health_.SetDependency("catalog", true);
  EXPECT_TRUE(health_.Ready().ok);
}

TEST_F(HealthTest, SilenceCountsOnlyWhereAnAgeIsGiven) {
  health_.SetDependency("kafka", true, "3 brokers", 30 * kMicrosPerSecond);
  health_.SetDependency("registry", true);
  Pass(31);
  health_.Beat("bronze");
  const HealthReport ready = health_.Ready();
  EXPECT_FALSE(ready.ok);
  EXPECT_FALSE(Find(ready, "kafka")->ok);
  EXPECT_TRUE(Find(ready, "registry")->ok);
}

}  // namespace
}  // namespace k2
