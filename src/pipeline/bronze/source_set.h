// The source partitions that a Bronze layer reads: some recordings, or the partitions of Kafka topics.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "kafka/kafka_client.h"
#include "source/source.h"
#include "table/table.h"

namespace k2::pipeline {

struct RecordingSpec {
  std::string exchange;  // topic name: binance
  std::string path;
};

// Used by one thread. A second one may call Confirm and Committed, one after the other, while the first one's tasks
// read the readers and it calls Available: these four bear each other, and nothing else may run beside them.
class SourceSet {
 public:
  struct Source {
    source::SourceReader* reader = nullptr;  // lives as long as the set
    std::string name;                        // for messages: a path, a topic and partition
    std::string exchange;                    // of a recording
    std::string recording;                   // its path
  };

  virtual ~SourceSet() = default;

  // The sources there are. A later call may give more (a new partition, the first line of a followed recording); those
  // given before stay, in their order. `progress` is what Bronze has committed; what it speaks of may be Stopped.
  virtual Result<std::vector<Source>> Sources(const table::LayerProgress& progress) = 0;
  // Sources that are not what they were any more, such as the partitions of a recreated topic. The others go on without
  // them.
  [[nodiscard]] virtual std::map<table::SourceKey, Error> Stopped() const { return {}; }
  // More sources may come.
  [[nodiscard]] virtual bool MayGrow() const = 0;

  // Where to begin sources that Bronze does not know. What is given is committed before the first read, so that a later
  // start finds the same place; the others begin at their beginning.
  virtual Result<table::SourcePositions> Starts(const std::vector<table::SourceKey>& unknown,
                                                const table::LayerProgress& progress) = 0;

  // Sources of which one that cannot be read on must not hold up the others: each is a task of its own.
  [[nodiscard]] virtual bool FailIndependently() const = 0;

  // Returns when a source has messages to read at once, after `wait_us` at the latest.
  virtual void Wait(int64_t wait_us) = 0;
  // Messages that can be read at once; -1 where that is not known.
  [[nodiscard]] virtual int64_t Available() const = 0;
  // A buffer is full: its source sends no more until some is read.
  [[nodiscard]] virtual bool BufferFull() const { return false; }

  // The offset after the last message that a source is known to hold; nothing where that is not known.
  [[nodiscard]] virtual std::optional<int64_t> EndOf(const table::SourceKey& key) const = 0;

  // Called between reading and committing: what was read is of the sources that it was asked of. kOffsetMismatch: one
  // of them is Stopped.
  virtual Status Confirm(const table::SourcePositions& read) = 0;
  // Bronze has committed these: a courtesy to tools that show lag.
  virtual void Committed(const table::SourcePositions& positions) = 0;
};

// `follow`: at the end wait for more. A recording given twice (by content) is read once. Errors: as
// RecordingReader::Open, and kInvalidArgument for an exchange K2 does not know.
Result<std::unique_ptr<SourceSet>> OpenRecordings(const std::vector<RecordingSpec>& recordings, bool follow);

// What a Bronze layer reads of a Kafka cluster.
struct KafkaFeed {
  kafka::KafkaOptions options;
  std::vector<std::string> topics;  // names, or patterns that begin with ^
  // Of each topic only these partitions, both ends included: the others are another process's work.
  int32_t first_partition = 0;
  int32_t last_partition = INT32_MAX;
  // In topics of which Bronze knows no partition of this range; one that appears later begins at its beginning.
  kafka::KafkaStart start;
};
Result<std::unique_ptr<SourceSet>> OpenKafka(const KafkaFeed& feed);

}  // namespace k2::pipeline
