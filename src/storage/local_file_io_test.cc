#include "storage/local_file_io.h"

#include <arrow/io/interfaces.h>
#include <arrow/result.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/uuid.h"
#include "storage/location.h"
#include "storage/testing/faulty_file_io.h"

namespace k2::storage {
namespace {

namespace fs = std::filesystem;

class FileIoTest : public ::testing::Test {
 protected:
  void SetUp() override { fs::create_directories(root_); }
  void TearDown() override { fs::remove_all(root_); }
  [[nodiscard]] std::string At(const std::string& name) const { return "file://" + root_ + "/" + name; }
  [[nodiscard]] bool Exists(const std::string& name) const { return fs::exists(root_ + "/" + name); }

  std::string root_ = (fs::temp_directory_path() / ("k2-io-" + RandomHex64())).string();
};

TEST(LocationTest, OneFileHasThreeSpellings) {
  for (const char* text : {"/a/b c%20", "file:///a/b c%20", "file:/a/b c%20"}) {
    EXPECT_EQ(LocalPath(text).value(), "/a/b c%20") << text;
    EXPECT_EQ(LocationScheme(text).value(), "file");
  }
  EXPECT_EQ(LocalPath("file:///a/b/").value(), "/a/b");
  EXPECT_EQ(LocationOfPath("/a/b/").value(), "file:///a/b");
  EXPECT_EQ(LocationScheme("s3://bucket/a").value(), "s3");
}

TEST(LocationTest, OddNamesAreRefused) {
  for (const char* text : {"", "a/b", "file://host/a", "/a/../b", "/a//b", "/a/./b", "/a?b", "file:///a#b", "/a\nb"}) {
    EXPECT_EQ(LocalPath(text).error().kind, ErrorKind::kInvalidArgument) << text;
  }
  EXPECT_EQ(LocationScheme("relative/a").error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(MakeFileIo()->Read("gs://bucket/a").error().kind, ErrorKind::kUnsupported);
}

TEST_F(FileIoTest, WritesReadsListsDeletes) {
  const auto io = MakeFileIo();
  ASSERT_TRUE(io->WriteNew(At("a/b/one"), "hello"));
  EXPECT_EQ(io->WriteNew(At("a/b/one"), "again").error().kind, ErrorKind::kAlreadyExists);
  EXPECT_EQ(io->Read(root_ + "/a/b/one").value(), "hello");
  EXPECT_EQ(io->Size(At("a/b/one")).value(), 5);
  EXPECT_EQ(io->Read(At("a/b/one"), 4).error().kind, ErrorKind::kInvalidData);
  EXPECT_EQ(io->Read(At("a/none")).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(io->Open(At("a/none")).error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(io->Size(At("a")).error().kind, ErrorKind::kNotFound);

  auto stream = io->Create(At("a/c/two")).value();
  ASSERT_TRUE(stream->Write("0123456789", 10).ok());
  EXPECT_EQ(stream->Tell().ValueOrDie(), 10);
  ASSERT_TRUE(stream->Close().ok());
  ASSERT_TRUE(io->Sync(At("a/c/two")));
  auto file = io->Open(At("a/c/two")).value();
  EXPECT_EQ(file->GetSize().ValueOrDie(), 10);
  EXPECT_EQ(io->Create(At("a/c/two")).error().kind, ErrorKind::kAlreadyExists);

  const auto files = io->List(At("a")).value();
  EXPECT_EQ(files.size(), 2U);
  EXPECT_TRUE(io->List(At("missing")).value().empty());
  EXPECT_TRUE(io->Delete(At("a/c/two")));
  EXPECT_TRUE(io->Delete(At("a/c/two")));
  EXPECT_FALSE(Exists("a/c/two"));
}

TEST_F(FileIoTest, OneOfManyWritersWins) {
  const auto io = MakeFileIo();
  std::atomic<int> won{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      if (io->WriteNew(At("x/y/z/one"), "mine")) ++won;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(won, 1);
}

TEST_F(FileIoTest, ErrorsOfTheSystemKeepTheirKindAndLeaveNothing) {
  const auto io = FaultyFileIo::OverLocalDisk();
  const struct {
    const char* operation;
    int errno_value;
    ErrorKind kind;
  } cases[] = {{"disk.write", ENOSPC, ErrorKind::kNoSpace},         {"disk.open-new", EACCES, ErrorKind::kPermission},
               {"disk.make-folder", EROFS, ErrorKind::kPermission}, {"disk.sync-file", EIO, ErrorKind::kIo},
               {"disk.sync-folder", ENOSPC, ErrorKind::kNoSpace},   {"write-new", EDQUOT, ErrorKind::kNoSpace}};
  for (const auto& wrong : cases) {
    io->Inject({.operation = wrong.operation, .errno_value = wrong.errno_value});
    const std::string folder = "f/" + std::string(wrong.operation);
    const Status status = io->WriteNew(At(folder + "/file"), "bytes");
    ASSERT_FALSE(status) << wrong.operation;
    EXPECT_EQ(status.error().kind, wrong.kind) << status.error().message;
    EXPECT_NE(status.error().message.find("f/"), std::string::npos) << status.error().message;
    EXPECT_TRUE(io->List(At("f")).value().empty()) << wrong.operation;
    io->ClearFaults();
  }
}

TEST_F(FileIoTest, FaultsHitTheChosenOnes) {
  const auto io = FaultyFileIo::Over(MakeFileIo());
  io->Inject({.operation = "size", .location_contains = "two", .first = 2, .times = 2, .errno_value = EIO});
  ASSERT_TRUE(io->WriteNew(At("two"), "x"));
  ASSERT_TRUE(io->WriteNew(At("one"), "x"));
  std::string seen;
  for (int i = 0; i < 4; ++i) seen += io->Size(At("two")) ? 'y' : 'n';
  EXPECT_EQ(seen, "ynny");
  EXPECT_TRUE(io->Size(At("one")));
  EXPECT_EQ(io->PowerLoss().error().kind, ErrorKind::kUnsupported);
}

TEST_F(FileIoTest, PowerLossKeepsWhatWasSynced) {
  const auto io = FaultyFileIo::OverLocalDisk();
  ASSERT_TRUE(io->WriteNew(At("a/b/durable"), "all of it"));
  auto stream = io->Create(At("a/b/unsynced")).value();
  ASSERT_TRUE(stream->Write("lost", 4).ok() && stream->Close().ok());
  auto other = io->Create(At("c/unsynced")).value();
  ASSERT_TRUE(other->Close().ok());
  ASSERT_TRUE(io->PowerLoss());
  EXPECT_FALSE(io->Read(At("a/b/durable")));  // the power is off
  EXPECT_EQ(MakeFileIo()->Read(At("a/b/durable")).value(), "all of it");
  EXPECT_FALSE(Exists("a/b/unsynced"));
  EXPECT_FALSE(Exists("c"));
}

TEST_F(FileIoTest, PowerLossCutsAndBringsBack) {
  const auto io = FaultyFileIo::OverLocalDisk();
  auto stream = io->Create(At("grown")).value();
  ASSERT_TRUE(stream->Write("synced", 6).ok());
  ASSERT_TRUE(io->Sync(At("grown")));
  ASSERT_TRUE(stream->Write(" not", 4).ok() && stream->Close().ok());
  ASSERT_TRUE(io->WriteNew(At("deleted"), "still here"));
  ASSERT_TRUE(io->Delete(At("deleted")));
  ASSERT_TRUE(io->PowerLoss());
  EXPECT_EQ(MakeFileIo()->Read(At("grown")).value(), "synced");
  EXPECT_EQ(MakeFileIo()->Read(At("deleted")).value(), "still here");
}

// Whatever the operation at which the power goes: what WriteNew reported as written is there, whole.
TEST_F(FileIoTest, PowerLossAtEachStepOfWriteNew) {
  for (int64_t step = 1; step < 20; ++step) {
    for (const uint64_t seed : {0U, 1U, 2U, 3U}) {
      const std::string folder = "s" + std::to_string(step) + "-" + std::to_string(seed);
      const auto io = FaultyFileIo::OverLocalDisk();
      io->Inject({.operation = "disk.", .first = step, .times = -1, .errno_value = EIO});
      const bool done = io->WriteNew(At(folder + "/x/file"), "content").has_value();
      ASSERT_TRUE(io->PowerLoss(seed));
      if (!done) continue;
      EXPECT_EQ(MakeFileIo()->Read(At(folder + "/x/file")).value_or("gone"), "content") << folder;
    }
  }
}

TEST_F(FileIoTest, ReadOnlyFolder) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
  fs::permissions(root_, fs::perms::owner_read | fs::perms::owner_exec);
  EXPECT_EQ(MakeFileIo()->WriteNew(At("x"), "y").error().kind, ErrorKind::kPermission);
  fs::permissions(root_, fs::perms::owner_all);
}

}  // namespace
}  // namespace k2::storage
