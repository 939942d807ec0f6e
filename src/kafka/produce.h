// Recordings, or a simulated session, into Kafka.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "exchange/exchange.h"
#include "kafka/kafka_client.h"
#include "recording/simulator.h"
#include "trade/trade_schema.h"

namespace k2::kafka {

struct ProduceInput {
  const exchange::Exchange* exchange = nullptr;
  std::string recording;                  // empty: simulated
  recording::SimulatorOptions simulator;  // its exchange is the one above
};

struct ProduceOptions {
  KafkaOptions kafka;
  std::vector<ProduceInput> inputs;
  std::string topic_prefix = "market.crypto.trades.";  // the exchange's name follows
  int32_t create_partitions = 0;                       // above 0: topics that are missing are made
  int32_t replication = 0;                             // of those; 0: the brokers' default
  int64_t messages_per_second = 0;                     // 0: unlimited
  double speed = 0;                                    // above 0: as received, this many times as fast
  bool live = false;                                   // a simulated session happens now
  int32_t trade_schema_id = trade::kTradeV3SchemaId;
  int32_t rejected_schema_id = trade::kRejectedFrameSchemaId;
};

struct ProduceProgress {
  std::atomic<int64_t> sent{0};
  std::atomic<int64_t> done{0};   // of `total`, in whatever unit
  std::atomic<int64_t> total{0};  // 0: unknown
};

struct ProduceReport {
  int64_t sent = 0;
  int64_t bytes = 0;  // keys and values
  int64_t delivered = 0;
  int64_t failed = 0;  // deliveries given up, those that a stop cut short included
  std::string first_failure;
  int64_t elapsed_us = 0;
};

// Sends everything, or what there was until `stop`, and waits for its delivery. Errors: kNotFound: a topic or recording
// is missing; kInvalidData: a recording is broken; kUnavailable, kPermission. Failed deliveries are in the report.
Result<ProduceReport> Produce(const ProduceOptions& options, const std::atomic<bool>& stop, ProduceProgress& progress);

}  // namespace k2::kafka
