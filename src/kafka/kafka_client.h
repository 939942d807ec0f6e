// What K2 has to know to speak with Kafka, and the administration of a cluster: topics, offsets, groups.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "table/source_offsets.h"

struct rd_kafka_s;

namespace k2::kafka {

// For SASL/OAUTHBEARER, where another service than librdkafka's own makes the tokens.
struct KafkaToken {
  std::string text;
  int64_t ends_at_us = 0;  // wall clock
};

struct KafkaOptions {
  std::string brokers;  // host:port, several with commas
  // Settings of librdkafka by their own names: security.protocol, sasl.mechanism, sasl.username, ssl.ca.location, …
  std::map<std::string, std::string> settings;
  // Where set: asked for a token at first and before each one ends, by any thread. `settings` must say OAUTHBEARER.
  std::function<Result<KafkaToken>()> token;
  // Where set: `settings` as they are now. Asked when the brokers refuse the password, by any thread.
  std::function<Result<std::map<std::string, std::string>>()> newest_settings;
  std::string client_id = "k2";
  // Group under which committed offsets are shown to lag tools; never read. Empty: none.
  std::string group;
  int64_t queued_bytes = int64_t{128} << 20;  // fetched and not yet read, over all partitions
  int64_t check_interval_us = 10'000'000;     // of topics, partitions, topic ids
  int64_t request_timeout_us = 15'000'000;    // of one request of administration
  std::string compression = "lz4";            // of what is produced
  bool topics_may_be_missing = false;         // of those that are named: read once they are there, while another is
};

// Error kInvalidArgument: a setting that librdkafka does not know, or that K2 itself sets.
Status CheckKafkaOptions(const KafkaOptions& options);

// Whether librdkafka has a setting of this name.
bool IsKafkaSetting(const std::string& name);

// How a handle gets on with the brokers.
struct KafkaHealth {
  bool ok = true;          // no error since the last good answer of a broker
  int64_t since_us = 0;    // wall clock, of the first error since then
  std::string last_error;  // the newest one
};

inline constexpr char kNoTopicId[] = "none";  // of brokers that give none

struct KafkaTopic {
  std::string name;
  std::string id;  // as librdkafka writes it: base64; or kNoTopicId
  int32_t partitions = 0;
};

struct KafkaTopics {
  std::vector<KafkaTopic> topics;    // by name
  std::vector<std::string> missing;  // names asked for that are not there
};

// Where to begin in a topic that no table has read yet.
struct KafkaStart {
  enum class From : uint8_t { kEarliest, kLatest, kTime };
  From from = From::kEarliest;
  int64_t time_us = 0;  // kTime: the first message of this time or later
};
// earliest, latest, or a time as RFC 3339. Error kInvalidArgument.
Result<KafkaStart> ParseKafkaStart(std::string_view text);

using KafkaPartition = std::pair<std::string, int32_t>;  // topic, partition

struct KafkaWatermarks {
  int64_t low = 0;   // first offset there is
  int64_t high = 0;  // after the last one
};

class KafkaEvents;

// Safe to call from several threads. Each call waits for its answer. Errors of all: kUnavailable: no broker answers in
// time; kPermission: credentials or rights are missing.
class KafkaAdmin {
 public:
  static Result<std::unique_ptr<KafkaAdmin>> Create(const KafkaOptions& options);
  ~KafkaAdmin();

  Result<std::string> ClusterId();
  // Names, or patterns that begin with ^ (POSIX extended). Internal topics are left out.
  Result<KafkaTopics> Describe(const std::vector<std::string>& patterns);
  // Of topics without replication asked for (0) the brokers' default is taken. Error kAlreadyExists.
  Status CreateTopic(const std::string& name, int32_t partitions, int32_t replication);
  Result<std::map<KafkaPartition, int64_t>> Offsets(const KafkaStart& start, std::span<const KafkaPartition> of);
  Result<KafkaWatermarks> Watermarks(const KafkaPartition& of);
  Status CommitGroup(const std::string& group, const table::SourcePositions& positions);

  // Ends calls that wait, and all later ones, with kCancelled.
  void Cancel() { cancelled_ = true; }
  [[nodiscard]] KafkaHealth health() const;
  [[nodiscard]] KafkaEvents& events() { return *events_; }

 private:
  KafkaAdmin(const KafkaOptions& options, std::unique_ptr<KafkaEvents> events);
  Result<std::vector<std::string>> Metadata(bool all_topics);
  Status Probe();
  Result<std::vector<std::string>> Matching(const std::vector<std::string>& patterns);

  const KafkaOptions options_;
  std::unique_ptr<KafkaEvents> events_;
  rd_kafka_s* handle_ = nullptr;
  std::atomic<bool> cancelled_{false};
};

}  // namespace k2::kafka
