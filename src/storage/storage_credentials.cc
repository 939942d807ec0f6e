#include "storage/storage_credentials.h"

#include <charconv>
#include <optional>

#include "base/time.h"

namespace k2::storage {
namespace {

constexpr int64_t kRenewBeforeMs = 60'000;
constexpr int64_t kRenewPauseUs = 1'000'000;

// When the keys end, in ms since 1970; nullopt: never, or it is not said.
std::optional<int64_t> EndOf(const StorageProperties& properties) {
  const auto found = properties.find("s3.session-token-expires-at-ms");
  if (found == properties.end()) return std::nullopt;
  const std::string& text = found->second;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool EndsWithin(const StorageProperties& properties, int64_t span_ms) {
  const auto end = EndOf(properties);
  return end && NowMicros() / 1'000 + span_ms >= *end;
}

// Whether `location` is the prefix itself or lies under it: s3://a/b holds s3://a/b/c, not s3://a/bc.
bool IsUnder(std::string_view location, std::string_view prefix) {
  if (!location.starts_with(prefix)) return false;
  return prefix.empty() || location.size() == prefix.size() || prefix.ends_with('/') || prefix.ends_with(':') ||
         location[prefix.size()] == '/';
}

// A prefix that is only a scheme ("s3", "s3:", "s3://"): catalogs give it for keys that open everything.
std::string Normal(std::string prefix) {
  if (prefix.find(':') == std::string::npos && !prefix.empty() && prefix.find('/') == std::string::npos)
    prefix += "://";
  return prefix;
}

}  // namespace

void StorageCredentials::Put(const std::string& prefix, StorageProperties properties) {
  auto kept = std::make_shared<const StorageProperties>(std::move(properties));
  const std::lock_guard lock(mutex_);
  by_prefix_[Normal(prefix)] = std::move(kept);
}

void StorageCredentials::SetRefresher(Refresher refresher) {
  const std::lock_guard lock(mutex_);
  refresher_ = std::move(refresher);
}

Result<std::shared_ptr<const StorageProperties>> StorageCredentials::Find(std::string_view location) {
  std::string prefix;
  Refresher refresher;
  const auto find = [&]() -> std::shared_ptr<const StorageProperties> {
    const std::lock_guard lock(mutex_);
    refresher = refresher_;
    // Prefixes of `location` sort at or before it; the longest is the last of them.
    for (auto entry = by_prefix_.upper_bound(location); entry != by_prefix_.begin();) {
      --entry;
      if (!IsUnder(location, entry->first)) continue;
      prefix = entry->first;
      return entry->second;
    }
    return std::make_shared<const StorageProperties>();
  };
  std::shared_ptr<const StorageProperties> found = find();
  if (!EndsWithin(*found, kRenewBeforeMs)) return found;
  const std::lock_guard one(renewing_);
  found = find();
  if (!EndsWithin(*found, kRenewBeforeMs)) return found;
  Status renewed = Fail(ErrorKind::kUnavailable, "no catalog can renew them");
  if (refresher && (MonotonicMicros() >= renew_again_at_us_ || EndsWithin(*found, 0))) {
    renewed = refresher(prefix);  // calls Put
    found = find();
    if (EndsWithin(*found, kRenewBeforeMs)) renew_again_at_us_ = MonotonicMicros() + kRenewPauseUs;
  }
  if (!EndsWithin(*found, 0)) return found;
  return Fail(ErrorKind::kUnavailable, "the storage keys for {} have expired and could not be renewed: {}", prefix,
              renewed ? "the catalog returned expired keys" : renewed.error().message);
}

}  // namespace k2::storage
