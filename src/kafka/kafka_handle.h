// Handles of librdkafka that free themselves, their configuration, and what they tell of the brokers. Only for the
// Kafka files of this module.
#pragma once

#include <rdkafka.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "kafka/kafka_client.h"

namespace k2::kafka {

template <auto kFree>
struct RdFree {
  template <typename T>
  void operator()(T* handle) const {
    kFree(handle);
  }
};
using RdQueue = std::unique_ptr<rd_kafka_queue_t, RdFree<rd_kafka_queue_destroy>>;
using RdPartitions = std::unique_ptr<rd_kafka_topic_partition_list_t, RdFree<rd_kafka_topic_partition_list_destroy>>;
using RdEvent = std::unique_ptr<rd_kafka_event_t, RdFree<rd_kafka_event_destroy>>;
using RdError = std::unique_ptr<rd_kafka_error_t, RdFree<rd_kafka_error_destroy>>;

inline constexpr size_t kErrorTextSize = 512;

inline int KafkaMillis(int64_t micros) { return static_cast<int>(std::min<int64_t>(micros / 1000, INT32_MAX)); }

using KafkaSettings = std::map<std::string, std::string>;

// The kind of an error that librdkafka gives.
ErrorKind KafkaErrorKind(rd_kafka_resp_err_t code);
bool IsKafkaAuthError(rd_kafka_resp_err_t code);

// The errors that a handle has told of its brokers: the opaque pointer of its configuration.
class KafkaEvents {
 public:
  // Whom errors name. To be set before there is a handle.
  void SetOptions(const KafkaOptions& options);
  // Gives the handle a token, or says why there is none.
  void GiveToken(rd_kafka_t* handle) const;
  // After a refusal: gives the handle the password that is in the settings now, where it is another one.
  void GiveNewPassword(rd_kafka_t* handle);
  void Failed(rd_kafka_resp_err_t code, const char* reason);
  void Answered();  // a broker did what was asked
  [[nodiscard]] KafkaHealth health() const;
  // An error that does not pass by waiting: of credentials, with no answer since for that long; or a fatal one.
  [[nodiscard]] std::optional<Error> Lasting(int64_t after_us) const;

 private:
  std::string brokers_;
  std::function<Result<KafkaToken>()> token_;
  std::function<Result<KafkaSettings>()> newest_settings_;
  std::pair<std::string, std::string> login_;  // name and password; of threads that hold mutex_
  mutable std::mutex mutex_;
  KafkaHealth health_;
  bool fatal_ = false;
  std::string auth_error_;
  int64_t auth_since_us_ = 0;  // monotonic
};

// A handle whose logs go to the program's log and whose errors go to `events`, which outlives it. `own` wins over the
// options' settings. Error kInvalidArgument.
Result<rd_kafka_t*> MakeKafkaHandle(rd_kafka_type_t type, const KafkaOptions& options, const KafkaSettings& own,
                                    KafkaEvents* events,
                                    void (*on_delivery)(rd_kafka_t*, const rd_kafka_message_t*, void*) = nullptr);

}  // namespace k2::kafka
