// For tests: librdkafka's own cluster within the process, and a producer that writes to it.
#pragma once

#include <gtest/gtest.h>
#include <rdkafka.h>
#include <rdkafka_mock.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kafka/kafka_client.h"

namespace k2::kafka {

class KafkaMock {
 public:
  explicit KafkaMock(int brokers = 1) {
    char text[256];
    rd_kafka_conf_t* quiet = rd_kafka_conf_new();
    rd_kafka_conf_set(quiet, "log_level", "0", text, sizeof(text));
    owner_ = rd_kafka_new(RD_KAFKA_PRODUCER, quiet, text, sizeof(text));
    cluster_ = rd_kafka_mock_cluster_new(owner_, brokers);
    rd_kafka_mock_set_controller_id(cluster_, 1);
    rd_kafka_conf_t* conf = rd_kafka_conf_new();
    rd_kafka_conf_set(conf, "bootstrap.servers", bootstraps().c_str(), text, sizeof(text));
    rd_kafka_conf_set(conf, "log_level", "0", text, sizeof(text));
    rd_kafka_conf_set(conf, "linger.ms", "0", text, sizeof(text));
    producer_ = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
  }
  ~KafkaMock() {
    rd_kafka_purge(producer_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_destroy(producer_);
    rd_kafka_mock_cluster_destroy(cluster_);
    rd_kafka_destroy(owner_);
  }
  KafkaMock(const KafkaMock&) = delete;
  KafkaMock& operator=(const KafkaMock&) = delete;

  [[nodiscard]] std::string bootstraps() const { return rd_kafka_mock_cluster_bootstraps(cluster_); }
  [[nodiscard]] rd_kafka_mock_cluster_t* cluster() { return cluster_; }
  [[nodiscard]] KafkaOptions options() const {
    KafkaOptions options;
    options.brokers = bootstraps();
    options.settings = {{"fetch.wait.max.ms", "20"}};
    options.check_interval_us = 100'000;
    options.request_timeout_us = 3'000'000;
    return options;
  }

  void CreateTopic(const std::string& name, int partitions, int replication = 1) {
    ASSERT_EQ(rd_kafka_mock_topic_create(cluster_, name.c_str(), partitions, replication), RD_KAFKA_RESP_ERR_NO_ERROR);
  }

  void Produce(const std::string& topic, int32_t partition, const std::optional<std::string>& key,
               const std::optional<std::string>& value, int64_t time_ms = 1'700'000'000'000,
               const std::vector<std::pair<std::string, std::optional<std::string>>>& headers = {}) {
    const void* const key_bytes = key ? key->data() : nullptr;
    const size_t key_size = key ? key->size() : 0;
    void* const value_bytes = value ? const_cast<char*>(value->data()) : nullptr;
    const size_t value_size = value ? value->size() : 0;
    rd_kafka_headers_t* const list = rd_kafka_headers_new(headers.size());  // the message's own from here on
    for (const auto& [name, content] : headers) {
      rd_kafka_header_add(list, name.data(), static_cast<ssize_t>(name.size()), content ? content->data() : nullptr,
                          content ? static_cast<ssize_t>(content->size()) : 0);
    }
    const auto error = rd_kafka_producev(producer_, RD_KAFKA_V_TOPIC(topic.c_str()), RD_KAFKA_V_PARTITION(partition),
                                         RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_TIMESTAMP(time_ms),
                                         RD_KAFKA_V_KEY(key_bytes, key_size), RD_KAFKA_V_VALUE(value_bytes, value_size),
                                         RD_KAFKA_V_HEADERS(list), RD_KAFKA_V_END);
    ASSERT_EQ(error, RD_KAFKA_RESP_ERR_NO_ERROR);
  }
  void Flush() { ASSERT_EQ(rd_kafka_flush(producer_, 10'000), RD_KAFKA_RESP_ERR_NO_ERROR); }

 private:
  rd_kafka_t* owner_ = nullptr;
  rd_kafka_mock_cluster_t* cluster_ = nullptr;
  rd_kafka_t* producer_ = nullptr;
};

}  // namespace k2::kafka
