#include "iceberg/own_files.h"

#include <gtest/gtest.h>

#include "iceberg/metadata_folder.h"

namespace k2::iceberg {
namespace {

TEST(OwnFiles, HoldWhatLiesBelowTheLocationHoweverItIsSpelt) {
  TableMetadata metadata;
  metadata.location = "file:///lake/market_data/gold/";
  const OwnFiles files(metadata);
  EXPECT_TRUE(files.Hold("/lake/market_data/gold/data/a.parquet"));
  EXPECT_TRUE(files.Hold("file:/lake/market_data/gold/metadata/a.avro"));
  EXPECT_TRUE(files.Hold("file:///lake//market_data/gold/a") == false) << "another path, whatever a disk makes of it";
  EXPECT_FALSE(files.Hold("/lake/market_data/gold")) << "the folder itself";
  EXPECT_FALSE(files.Hold("/lake/market_data/gold2/data/a.parquet"));
  EXPECT_FALSE(files.Hold("/lake/market_data/silver/data/a.parquet"));
  EXPECT_FALSE(files.Hold("/lake/market_data/gold/../silver/a.parquet"));
  EXPECT_FALSE(files.Hold("/lake/market_data/gold/data/.."));
  EXPECT_FALSE(files.Hold("s3://lake/market_data/gold/data/a.parquet")) << "a bucket is no folder";
  EXPECT_FALSE(files.Hold(""));
}

TEST(OwnFiles, HoldTheConfiguredWritePaths) {
  TableMetadata metadata;
  metadata.location = "s3://lake/gold";
  metadata.properties = {{"write.data.path", "s3a://bulk/gold-data"}, {"write.metadata.path", "s3://lake/meta/gold/"}};
  const OwnFiles files(metadata);
  EXPECT_TRUE(files.Hold("s3a://lake/gold/data/a.parquet"));
  EXPECT_TRUE(files.Hold("s3://bulk/gold-data/0110/a.parquet"));
  EXPECT_TRUE(files.Hold("s3://lake/meta/gold/00001-a.metadata.json"));
  EXPECT_FALSE(files.Hold("s3://lake/meta/silver/00001-a.metadata.json"));
  EXPECT_FALSE(files.Hold("s3://other/gold/data/a.parquet"));
}

TEST(MetadataFolder, IsTheConfiguredOne) {
  TableMetadata metadata;
  metadata.location = "s3://lake/gold";
  EXPECT_EQ(MetadataFolder(metadata), "s3://lake/gold/metadata");
  metadata.properties = {{"write.metadata.path", "s3://lake/meta/gold/"}};
  EXPECT_EQ(MetadataFolder(metadata), "s3://lake/meta/gold");
}

TEST(OwnFiles, OfATableAtTheRootOfADiskAreNone) {
  TableMetadata metadata;
  metadata.location = "file:///";
  EXPECT_FALSE(OwnFiles(metadata).Hold("/etc/passwd"));
}

TEST(GarbageCollected, AsJavaReadsTheProperty) {
  TableMetadata metadata;
  EXPECT_TRUE(GarbageCollected(metadata));
  for (const char* no : {"false", "FALSE", "no", ""}) {
    metadata.properties[kGcEnabled] = no;
    EXPECT_FALSE(GarbageCollected(metadata)) << no;
  }
  metadata.properties[kGcEnabled] = "True";
  EXPECT_TRUE(GarbageCollected(metadata));
  metadata.properties[kGcEnabled] = "false";
  const Status refused = CheckGarbageCollected(metadata, "market_data.gold", "no snapshot was expired");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
  EXPECT_NE(refused.error().message.find("market_data.gold: no snapshot was expired: the table's property gc.enabled"),
            std::string::npos);
}

}  // namespace
}  // namespace k2::iceberg
