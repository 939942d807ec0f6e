// What a layer tells Prometheus about itself (docs/metrics.md).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/metrics.h"
#include "table/source_offsets.h"
#include "table/table.h"
#include "task/task.h"

namespace k2::pipeline {

// When the messages of some rows came to Kafka (a recording: were received), in microseconds since 1970.
struct MessageTimes {
  int64_t oldest_us = 0;
  int64_t newest_us = 0;
};
// Of both.
std::optional<MessageTimes> Join(std::optional<MessageTimes> a, std::optional<MessageTimes> b);
// By the bounds of a file's kafka_timestamp; nothing where it has none.
std::optional<MessageTimes> TimesOf(const iceberg::DataFile& file, const iceberg::Schema& schema);

// A snapshot's summary carries the times of its rows' messages, so that the layer below knows them without reading.
inline constexpr char kOldestMessageKey[] = "k2.message-time.min-us";
inline constexpr char kNewestMessageKey[] = "k2.message-time.max-us";
void WriteTimes(const MessageTimes& times, std::map<std::string, std::string>& summary);
std::optional<MessageTimes> ReadTimes(const std::map<std::string, std::string>& summary);

// The series of one layer. All of them are there from the first look on, so that a rate over them starts at 0.
struct LayerMetrics {
  explicit LayerMetrics(const std::string& layer);

  Counter& rows_in;
  Counter& rows_out;
  Counter& data_files;
  Counter& data_file_bytes;
  Counter& commit_attempts;
  Histogram& commit_duration;
  Histogram& step_duration;
  Histogram& task_duration;
  Histogram& latency;
};
LayerMetrics& MetricsOf(std::string_view layer);  // "bronze", "silver", "gold"

// Of Silver's and Gold's verdicts.
void CountVerdicts(const task::TaskResult& result);

// One commit: its outcome, how long it took; of one that was applied also the latency of its oldest message, and how
// far the layer has come for k2_lag_seconds.
void CountCommit(std::string_view layer, const std::string& table, const table::LayerCommitOutcome& outcome,
                 int64_t duration_us, const std::optional<MessageTimes>& times);

// What a table's metadata has come to, after a commit: its snapshots, and about once a minute its size as JSON.
void ReportTable(const std::string& table, const iceberg::TableMetadata& metadata);

struct PartitionLag {
  table::SourceKey key;
  int64_t messages = 0;  // above `layer`, and not in it yet
};
// How far `layer` stands behind what is above it: Bronze behind Kafka, Silver behind Bronze, Gold behind Silver. Sets
// k2_lag_messages of all its partitions (those of an earlier call that are not named any more are no longer shown) and
// lets k2_lag_seconds follow the clock until the layer is level again. Cheap: once a step.
void ReportLag(std::string_view layer, const std::vector<PartitionLag>& lags);
// Messages of all of them.
int64_t Total(const std::vector<PartitionLag>& lags);

}  // namespace k2::pipeline
