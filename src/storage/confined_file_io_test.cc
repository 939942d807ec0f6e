#include "storage/confined_file_io.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace k2::storage {
namespace {

TEST(ConfinedTo, ARemoteTableLocalFilesAreRefused) {
  const std::string path = std::filesystem::temp_directory_path() / ("k2-confined-" + std::to_string(getpid()));
  std::ofstream(path) << "secret";
  const auto io = ConfinedTo(MakeFileIo(), "s3://lake/market_data/gold");
  for (const std::string& location : {path, "file://" + path, "file:" + path}) {
    const auto read = io->Read(location, 100);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind, ErrorKind::kPermission);
    EXPECT_NE(read.error().message.find("a table at s3://lake/market_data/gold. Find out"), std::string::npos);
    EXPECT_EQ(io->Open(location).error().kind, ErrorKind::kPermission);
    EXPECT_EQ(io->Size(location).error().kind, ErrorKind::kPermission);
    EXPECT_EQ(io->List(location).error().kind, ErrorKind::kPermission);
    EXPECT_EQ(io->Create(location + "-new").error().kind, ErrorKind::kPermission);
    EXPECT_EQ(io->WriteNew(location + "-new", "x").error().kind, ErrorKind::kPermission);
    EXPECT_EQ(io->Sync(location).error().kind, ErrorKind::kPermission);
    EXPECT_EQ(io->Delete(location).error().kind, ErrorKind::kPermission);
  }
  EXPECT_TRUE(std::filesystem::exists(path));
  EXPECT_FALSE(std::filesystem::exists(path + "-new"));
  const auto local = ConfinedTo(MakeFileIo(), "file:///lake/market_data/gold");
  EXPECT_EQ(local->Read(path, 100).value(), "secret");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace k2::storage
