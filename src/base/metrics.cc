#include "base/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <mutex>
#include <sstream>
#include <utility>

#include "base/log.h"
#include "base/process_figures.h"

namespace k2 {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Series of one kind by name and labels; nodes of a map stay where they are.
template <typename Metric>
using SeriesMap = std::map<std::pair<std::string, MetricLabels>, Metric>;

struct Metrics {
  prometheus::Registry registry;
  std::mutex mutex;
  SeriesMap<Counter> counters;
  SeriesMap<Gauge> gauges;
  SeriesMap<Histogram> histograms;
  std::mutex scrape_mutex;
  std::vector<std::function<void()>> at_scrape;
};

// Never destroyed: threads may count until the process is gone.
Metrics& All() {
  static auto* const metrics = new Metrics;
  return *metrics;
}

// `make` gives the library's object; it throws on a name it refuses.
template <typename Metric, typename Make>
Metric& Series(SeriesMap<Metric>& series, const std::string& name, const MetricLabels& labels, const Make& make) {
  const std::lock_guard lock(All().mutex);
  auto found = series.find({name, labels});
  if (found != series.end()) return found->second;
  decltype(make()) target = nullptr;
  try {
    target = make();
  } catch (const std::exception& error) {
    log::Error("a metric cannot be shown", {{"name", name}, {"error", error.what()}});
  }
  return series.emplace(std::pair{name, labels}, Metric(target)).first->second;
}

MetricFamily OneValue(std::string name, std::string help, MetricType type, double value) {
  MetricFamily family{.name = std::move(name), .help = std::move(help), .type = type, .metric = {ClientMetric{}}};
  if (type == MetricType::Counter) {
    family.metric[0].counter.value = value;
  } else {
    family.metric[0].gauge.value = value;
  }
  return family;
}

// The names that all Prometheus clients give them.
void AddProcess(std::vector<MetricFamily>& families) {
  const ProcessFigures process = ReadProcessFigures();
  const auto add = [&](const char* name, const char* help, MetricType type, double value) {
    if (value >= 0) families.push_back(OneValue(name, help, type, value));
  };
  add("process_resident_memory_bytes", "Resident memory size in bytes.", MetricType::Gauge,
      static_cast<double>(process.resident_bytes));
  add("process_virtual_memory_bytes", "Virtual memory size in bytes.", MetricType::Gauge,
      static_cast<double>(process.virtual_bytes));
  add("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", MetricType::Counter,
      process.cpu_seconds);
  add("process_start_time_seconds", "Start time of the process since unix epoch in seconds.", MetricType::Gauge,
      process.start_time_seconds);
  add("process_open_fds", "Number of open file descriptors.", MetricType::Gauge, static_cast<double>(process.open_fds));
  add("k2_memory_limit_bytes", "Memory limit of this process: that of its control group, else the machine's.",
      MetricType::Gauge, static_cast<double>(process.memory_limit_bytes));
  add("process_max_fds", "Maximum number of open file descriptors.", MetricType::Gauge,
      static_cast<double>(process.max_fds));
}

}  // namespace

void Counter::Add(int64_t count) {
  if (target_ != nullptr && count > 0) target_->Increment(static_cast<double>(count));
}

void Gauge::Set(double value) {
  if (target_ != nullptr) target_->Set(value);
}
void Gauge::Add(int64_t change) {
  if (target_ != nullptr) target_->Increment(static_cast<double>(change));
}
void Gauge::Hide() { Set(std::numeric_limits<double>::quiet_NaN()); }

void Histogram::Observe(double value) {
  if (target_ != nullptr) target_->Observe(value);
}

const std::vector<double>& DurationBuckets() {
  static const auto* const buckets =
      new std::vector<double>{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
  return *buckets;
}

const std::vector<double>& LatencyBuckets() {
  static const auto* const buckets =
      new std::vector<double>{0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2, 3, 5, 10, 30, 60, 300, 3600};
  return *buckets;
}

Counter& CounterOf(const std::string& name, const std::string& help, const MetricLabels& labels) {
  return Series(All().counters, name, labels,
                [&] { return &prometheus::BuildCounter().Name(name).Help(help).Register(All().registry).Add(labels); });
}

Gauge& GaugeOf(const std::string& name, const std::string& help, const MetricLabels& labels) {
  return Series(All().gauges, name, labels,
                [&] { return &prometheus::BuildGauge().Name(name).Help(help).Register(All().registry).Add(labels); });
}

Histogram& HistogramOf(const std::string& name, const std::string& help, const MetricLabels& labels,
                       const std::vector<double>& buckets) {
  return Series(All().histograms, name, labels, [&] {
    return &prometheus::BuildHistogram().Name(name).Help(help).Register(All().registry).Add(labels, buckets);
  });
}

void AtScrape(std::function<void()> update) {
  const std::lock_guard lock(All().scrape_mutex);
  All().at_scrape.push_back(std::move(update));
}

std::string ExposeMetrics() {
  {
    const std::lock_guard lock(All().scrape_mutex);
    for (const auto& update : All().at_scrape) update();
  }
  std::vector<MetricFamily> families = All().registry.Collect();
  AddProcess(families);
  for (MetricFamily& family : families) {
    if (family.type == MetricType::Gauge) {
      std::erase_if(family.metric, [](const ClientMetric& metric) { return std::isnan(metric.gauge.value); });
    }
    std::ranges::sort(family.metric, {}, &ClientMetric::label);
  }
  std::erase_if(families, [](const MetricFamily& family) { return family.metric.empty(); });
  std::ranges::sort(families, {}, &MetricFamily::name);
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, families);
  return std::move(text).str();
}

}  // namespace k2
