#include "storage/location_map.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/uuid.h"
#include "storage/moved_file_io.h"

namespace k2::storage {
namespace {

LocationMap Map(const std::string& from, const std::string& to) { return LocationMap::Create(from, to).value(); }

TEST(LocationMap, NamesUnderTheOldFolderAndNoOthers) {
  const LocationMap map = Map("file:///old/lake/", "/new/lake");
  EXPECT_EQ(map.Apply("file:///old/lake/ns/t"), "file:///new/lake/ns/t");
  EXPECT_EQ(map.Apply("file:/old/lake/ns/t"), "file:/new/lake/ns/t");
  EXPECT_EQ(map.Apply("/old/lake/ns/t"), "/new/lake/ns/t");
  EXPECT_EQ(map.Apply("file:///old/lake"), "file:///new/lake");
  for (const char* other : {"file:///old/lake2/t", "/old", "s3://old/lake/t", "/new/lake/t", "", "old/lake/t"}) {
    EXPECT_EQ(map.Apply(other), std::nullopt) << other;
  }
  EXPECT_EQ(map.ApplyOrKeep("file:///elsewhere/t"), "file:///elsewhere/t");
}

TEST(LocationMap, OfStores) {
  const LocationMap map = Map("s3://a/lake", "s3://b/copy/lake");
  EXPECT_EQ(map.Apply("s3a://a/lake/t/x.parquet"), "s3a://b/copy/lake/t/x.parquet");
  EXPECT_EQ(map.Apply("s3://a/lakes/t"), std::nullopt);
  EXPECT_EQ(Map("file:///lake", "s3://b/lake").Apply("/lake/t"), "s3://b/lake/t");
  EXPECT_EQ(Map("s3://b/lake", "/lake").Apply("s3n://b/lake/t"), "/lake/t");
}

// What was mapped is not mapped again, however the two folders lie to each other.
TEST(LocationMap, OneFolderWithinTheOther) {
  const LocationMap down = Map("/lake", "/lake/copy");
  EXPECT_EQ(down.Apply("/lake/ns/t"), "/lake/copy/ns/t");
  EXPECT_EQ(down.Apply("/lake/copy/ns/t"), std::nullopt);
  const LocationMap up = Map("/lake/copy", "/lake");
  EXPECT_EQ(up.Apply("/lake/copy/ns/t"), "/lake/ns/t");
  EXPECT_EQ(up.Apply("/lake/ns/t"), std::nullopt);
}

TEST(LocationMap, WhatIsNone) {
  for (const auto& [from, to] :
       {std::pair{"/lake", "file:///lake/"}, {"lake", "/x"}, {"/x", "/"}, {"s3://a", "s3a://a"}}) {
    EXPECT_EQ(LocationMap::Create(from, to).error().kind, ErrorKind::kInvalidArgument) << from;
  }
}

TEST(MovedFileIo, ReadsAtTheNewPlaceAloneAndWritesNothing) {
  namespace fs = std::filesystem;
  const std::string root = (fs::temp_directory_path() / ("k2-moved-" + RandomHex64())).string();
  const auto disk = MakeFileIo();
  ASSERT_TRUE(disk->WriteNew(root + "/old/both", "original"));
  ASSERT_TRUE(disk->WriteNew(root + "/old/original-only", "original"));
  ASSERT_TRUE(disk->WriteNew(root + "/new/both", "copied"));
  ASSERT_TRUE(disk->WriteNew(root + "/else", "outside"));
  const auto io = MakeMovedFileIo(disk, Map(root + "/old", root + "/new"), "it is a copy");
  EXPECT_EQ(io->Read(root + "/old/both").value(), "copied");
  EXPECT_EQ(io->Read("file://" + root + "/new/both").value(), "copied");
  EXPECT_EQ(io->Read(root + "/else").value(), "outside");
  EXPECT_EQ(io->Read(root + "/old/original-only").error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(io->Size(root + "/old/original-only").error().kind, ErrorKind::kNotFound);
  EXPECT_EQ(io->List(root + "/old")->size(), 1U);
  for (const std::string& place : {root + "/old/x", root + "/new/x", root + "/x"}) {
    EXPECT_NE(io->WriteNew(place, "").error().message.find("it is a copy"), std::string::npos);
    EXPECT_FALSE(io->Create(place));
    EXPECT_FALSE(io->Delete(place));
  }
  EXPECT_FALSE(io->Delete(root + "/new/both"));
  EXPECT_TRUE(fs::exists(root + "/new/both"));
  fs::remove_all(root);
}

}  // namespace
}  // namespace k2::storage
