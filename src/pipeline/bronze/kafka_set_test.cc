#include "kafka/kafka_mock_for_tests.h"
#include "pipeline/bronze/source_set.h"

namespace k2::pipeline {
namespace {

const std::string kMockTopic = "market.crypto.trades.binance";

class KafkaSetTest : public testing::Test {
 protected:
  void SetUp() override {
    mock_.CreateTopic(kMockTopic, 12);
    for (int32_t partition = 0; partition < 12; ++partition) {
      for (int i = 0; i <= partition; ++i) mock_.Produce(kMockTopic, partition, "key", "value");
    }
    mock_.Flush();
  }
  // What a process commits as its starts that begins with these partitions, and Bronze holds `progress`.
  Result<table::SourcePositions> Starts(int32_t first, int32_t last, const table::LayerProgress& progress) {
    KafkaFeed feed{
        .options = mock_.options(), .topics = {kMockTopic}, .first_partition = first, .last_partition = last};
    feed.start.from = kafka::KafkaStart::From::kLatest;
    K2_ASSIGN(const auto set, OpenKafka(feed));
    K2_ASSIGN(const auto sources, set->Sources(progress));
    std::vector<table::SourceKey> unknown;
    for (const auto& source : sources) {
      if (!progress.positions.contains(source.reader->key())) unknown.push_back(source.reader->key());
    }
    return set->Starts(unknown, progress);
  }
  kafka::KafkaMock mock_;
};

// Processes that divide a topic begin one after the other: what the first one has committed does not make the other
// partitions ones that have appeared later.
TEST_F(KafkaSetTest, EachPartOfATopicBeginsAsItIsTold) {
  table::LayerProgress progress;
  const auto first = Starts(0, 5, progress);
  ASSERT_TRUE(first) << first.error().message;
  ASSERT_EQ(first->size(), 6U);
  progress.positions = *first;
  const auto second = Starts(6, 11, progress);
  ASSERT_TRUE(second) << second.error().message;
  ASSERT_EQ(second->size(), 6U);
  for (const auto& [key, position] : *second) {
    EXPECT_EQ(position.next_offset, key.partition + 1) << key.ToString();
    EXPECT_EQ(position.messages, 0);
  }
}

TEST_F(KafkaSetTest, APartitionThatAppearsLaterBeginsAtItsBeginning) {
  table::LayerProgress progress;
  const auto first = Starts(0, 5, progress);
  ASSERT_TRUE(first) << first.error().message;
  progress.positions = *first;
  const auto later = Starts(0, 7, progress);  // as if there had been six when the process began
  ASSERT_TRUE(later) << later.error().message;
  ASSERT_EQ(later->size(), 2U);
  for (const auto& [key, position] : *later) EXPECT_EQ(position.next_offset, 0) << key.ToString();
}

}  // namespace
}  // namespace k2::pipeline
