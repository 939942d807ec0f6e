#include "base/process_figures.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace k2 {
namespace {

class ControlGroups : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(root_); }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& file, const std::string& text) const {
    const std::filesystem::path path = root_ + file;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << '\n';
  }
  const std::string root_ = ::testing::TempDir() + "k2-control-groups";
};

TEST_F(ControlGroups, TheLeastLimitOnTheWayUpCounts) {
  EXPECT_EQ(ControlGroupMemoryBytes(root_, "/"), -1);
  Write("/a/memory.max", "max");
  EXPECT_EQ(ControlGroupMemoryBytes(root_, "/a"), -1);
  Write("/a/b/memory.max", "2000");
  Write("/memory.max", "3000");
  EXPECT_EQ(ControlGroupMemoryBytes(root_, "/a/b"), 2000);
  EXPECT_EQ(ControlGroupMemoryBytes(root_, "/a"), 3000);
  EXPECT_EQ(ControlGroupMemoryBytes(root_, "/elsewhere/on/the/host"), 3000) << "what a container sees";
  Write("/memory/a/memory.limit_in_bytes", "1000");
  EXPECT_EQ(ControlGroupMemoryBytes(root_, "/a/b"), 1000) << "version 1";
}

TEST(ProcessFigures, HaveALimitOfMemory) {
  EXPECT_GT(ReadProcessFigures().memory_limit_bytes, ReadProcessFigures().resident_bytes);
}

}  // namespace
}  // namespace k2
