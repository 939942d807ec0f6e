// Counts and measures of this process, for Prometheus. Any module may count; server/ shows them at /metrics.
// docs/metrics.md lists every name. Names: base units, `_total` for counters, `_seconds`, `_bytes`.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace k2 {

using MetricLabels = std::map<std::string, std::string>;

// Only grows. Thread-safe: one atomic addition.
class Counter {
 public:
  explicit Counter(prometheus::Counter* target) : target_(target) {}
  void Add(int64_t count = 1);

 private:
  prometheus::Counter* target_;  // null: a name that was refused; counts nothing
};

// Goes up and down. Thread-safe.
class Gauge {
 public:
  explicit Gauge(prometheus::Gauge* target) : target_(target) {}
  void Set(double value);
  void Add(int64_t change);
  // Not shown until it is set again: what it measured is no longer this process's work.
  void Hide();

 private:
  prometheus::Gauge* target_;
};

// How values are spread over buckets. Thread-safe; a lock that is hardly ever contended.
class Histogram {
 public:
  explicit Histogram(prometheus::Histogram* target) : target_(target) {}
  void Observe(double value);
  void ObserveMicros(int64_t micros) { Observe(static_cast<double>(micros) / 1e6); }

 private:
  prometheus::Histogram* target_;
};

// Upper bounds in seconds: of work inside the process (1 ms to 1 min), and of latencies from end to end (50 ms to 1 h).
const std::vector<double>& DurationBuckets();
const std::vector<double>& LatencyBuckets();

// The series of that name and these labels, made and shown (as 0) at the first call. It lives as long as the process:
// look it up once and keep the reference. The help of the first call counts. A name that Prometheus refuses, or that is
// already of another kind, is logged and gives a series that is not shown: counting never stops a run.
Counter& CounterOf(const std::string& name, const std::string& help, const MetricLabels& labels = {});
Gauge& GaugeOf(const std::string& name, const std::string& help, const MetricLabels& labels = {});
Histogram& HistogramOf(const std::string& name, const std::string& help, const MetricLabels& labels = {},
                       const std::vector<double>& buckets = DurationBuckets());

// Called before each exposition, for gauges that follow the clock. Lives as long as the process.
void AtScrape(std::function<void()> update);

// All series in Prometheus' text format 0.0.4, and the process' own (process_resident_memory_bytes and its kin), sorted
// by name.
std::string ExposeMetrics();

}  // namespace k2
