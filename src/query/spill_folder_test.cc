#include "query/spill_folder.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "query/fake_table.h"

namespace k2::query {
namespace {

namespace fs = std::filesystem;

size_t EntriesOf(const std::string& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

TEST(SpillFolder, IsGoneWithItsProcessAndNotWithAnother) {
  const ScratchFolder scratch;
  const std::string parent = scratch.File("below/spill");
  {
    const auto first = SpillFolder::Open(parent);
    ASSERT_TRUE(first) << first.error().message;
    std::ofstream((*first)->path() + "/rows") << "spilled";
    const auto second = SpillFolder::Open(parent);
    ASSERT_TRUE(second) << second.error().message;
    EXPECT_NE((*first)->path(), (*second)->path());
    EXPECT_TRUE(fs::exists((*first)->path() + "/rows")) << "somebody else's, who still runs";
    EXPECT_EQ(fs::status((*first)->path()).permissions() & fs::perms::others_all, fs::perms::none);
  }
  EXPECT_EQ(EntriesOf(parent), 0U);
}

TEST(SpillFolder, OfAKilledProcessIsRemovedByTheNextOne) {
  const ScratchFolder scratch;
  const std::string parent = scratch.File("spill");
  const pid_t child = ::fork();
  if (child == 0) {
    const auto folder = SpillFolder::Open(parent);
    if (folder) std::ofstream((*folder)->path() + "/rows") << "spilled";
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(EntriesOf(parent), 1U);
  fs::create_directory(parent + "/of-somebody");
  const auto next = SpillFolder::Open(parent);
  ASSERT_TRUE(next) << next.error().message;
  EXPECT_EQ(EntriesOf(parent), 2U) << "its own, and what is not of a query";
  EXPECT_FALSE(fs::exists((*next)->path() + "/rows"));
}

TEST(SpillFolder, NamesThePlaceThatCannotBeMade) {
  const ScratchFolder scratch;
  std::ofstream(scratch.File("file")) << "x";
  const auto folder = SpillFolder::Open(scratch.File("file") + "/spill");
  ASSERT_FALSE(folder);
  EXPECT_NE(folder.error().message.find(scratch.File("file")), std::string::npos) << folder.error().message;
}

}  // namespace
}  // namespace k2::query
