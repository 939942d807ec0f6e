#include "base/similar.h"

#include <gtest/gtest.h>

#include <vector>

namespace k2 {
namespace {

TEST(Similar, CountsEdits) {
  EXPECT_EQ(EditDistance("", ""), 0u);
  EXPECT_EQ(EditDistance("query", "query"), 0u);
  EXPECT_EQ(EditDistance("quer", "query"), 1u);
  EXPECT_EQ(EditDistance("qurey", "query"), 1u) << "neighbours swapped are one edit";
  EXPECT_EQ(EditDistance("", "abc"), 3u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
  EXPECT_EQ(EditDistance("sitting", "kitten"), 3u);
}

TEST(Similar, NearestIsNearAndTheFirstOfEqual) {
  const std::vector<std::string> known = {"query", "rebuild", "run", "tables", "table"};
  EXPECT_EQ(Nearest("qurey", known), "query");
  EXPECT_EQ(Nearest("reb", known), "rebuild") << "a beginning";
  EXPECT_EQ(Nearest("reb", known, false), "");
  EXPECT_EQ(Nearest("tabel", known), "table");
  EXPECT_EQ(Nearest("frobnicate", known), "");
  EXPECT_EQ(Nearest("", known), "");
  EXPECT_EQ(Nearest("xy", known), "") << "as many edits as letters: another word";
  EXPECT_EQ(Nearest(std::string(1'000'000, 'q'), known), "") << "costs nothing";
  EXPECT_EQ(DidYouMean("rn", known, "other"), "did you mean 'run'?");
  EXPECT_EQ(DidYouMean("zzzz", known, "other"), "other");
}

}  // namespace
}  // namespace k2
