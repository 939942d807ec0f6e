#include "base/health.h"

#include <fmt/format.h>

#include <utility>

#include "base/time.h"

namespace k2 {
namespace {

constexpr int64_t kBeatAgeMaxUs = 60 * kMicrosPerSecond;

std::string Seconds(int64_t micros) {
  return fmt::format("{:.1f} s", static_cast<double>(micros) / static_cast<double>(kMicrosPerSecond));
}

}  // namespace

Health::Health() : Health(MonotonicMicros) {}
Health::Health(Clock clock) : clock_(std::move(clock)), beat_age_max_us_(kBeatAgeMaxUs) {}

void Health::SetBeatAgeMax(int64_t age_max_us) {
  const std::lock_guard lock(mutex_);
  beat_age_max_us_ = age_max_us;
}

void Health::Expect(std::string_view layer) {
  const std::lock_guard lock(mutex_);
  layers_.insert_or_assign(std::string(layer), Layer{.beat_us = clock_(), .stands = {}});
}

void Health::Beat(std::string_view layer) {
  const std::lock_guard lock(mutex_);
  auto found = layers_.find(layer);
  if (found == layers_.end()) found = layers_.emplace(std::string(layer), Layer{}).first;
  found->second.beat_us = clock_();
  found->second.open = true;
  found->second.finished = false;
}

void Health::Stands(std::string_view layer, std::string_view why) {
  const std::lock_guard lock(mutex_);
  const auto found = layers_.find(layer);
  if (found != layers_.end()) found->second.stands = why;
}

void Health::Finished(std::string_view layer) {
  const std::lock_guard lock(mutex_);
  const auto found = layers_.find(layer);
  if (found != layers_.end()) found->second.finished = true;
}

void Health::SetDependency(std::string_view name, bool ok, std::string_view detail, int64_t age_max_us) {
  const std::lock_guard lock(mutex_);
  auto found = dependencies_.find(name);
  if (found == dependencies_.end()) found = dependencies_.emplace(std::string(name), Dependency{}).first;
  found->second.ok = ok;
  found->second.detail = detail;
  found->second.answered_us = clock_();
  found->second.age_max_us = age_max_us;
}

HealthReport Health::Layers(bool must_work) const {
  HealthReport report{.ok = true, .checks = {}};
  for (const auto& [name, layer] : layers_) {
    HealthCheck check{.name = "layer " + name, .ok = true, .detail = "runs", .age_us = clock_() - layer.beat_us};
    if (layer.finished) {
      check.detail = "has ended";
    } else if (check.age_us > beat_age_max_us_) {
      check.ok = false;
      check.detail = fmt::format("has made no progress for {}; at most {} are allowed", Seconds(check.age_us),
                                 Seconds(beat_age_max_us_));
    } else if (!layer.open) {
      check.ok = !must_work;
      check.detail = "is being opened";
    } else if (!layer.stands.empty()) {
      check.ok = !must_work;
      check.detail = "blocked: " + layer.stands;
    }
    report.ok &= check.ok;
    report.checks.push_back(std::move(check));
  }
  return report;
}

HealthReport Health::Live() const {
  const std::lock_guard lock(mutex_);
  return Layers(false);
}

HealthReport Health::Ready() const {
  const std::lock_guard lock(mutex_);
  HealthReport report = Layers(true);
  if (layers_.empty()) {
    report.ok = false;
    report.checks.push_back({.name = "layers", .ok = false, .detail = "no layer has started yet"});
  }
  for (const auto& [name, dependency] : dependencies_) {
    HealthCheck check{
        .name = name, .ok = dependency.ok, .detail = dependency.detail, .age_us = clock_() - dependency.answered_us};
    if (check.ok && check.age_us > dependency.age_max_us) {
      check.ok = false;
      check.detail = fmt::format("has not responded for {}", Seconds(check.age_us));
    }
    if (check.detail.empty()) check.detail = check.ok ? "answers" : "does not respond";
    report.ok &= check.ok;
    report.checks.push_back(std::move(check));
  }
  return report;
}

Health& ProcessHealth() {
  static auto* const health = new Health;  // never destroyed: threads may beat until the process is gone
  return *health;
}

}  // namespace k2
