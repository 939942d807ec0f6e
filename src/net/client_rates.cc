#include "net/client_rates.h"

#include <algorithm>

#include "base/time.h"

namespace k2::net {

bool ClientRates::Take(const std::string& client, int64_t now_us) {
  auto found = buckets_.find(client);
  if (found == buckets_.end()) {
    if (buckets_.size() >= clients_max_) MakePlace();
    found = buckets_.emplace(client, Bucket{.tokens = burst_, .at_us = now_us}).first;
  }
  Bucket& bucket = found->second;
  const double seconds = static_cast<double>(now_us - bucket.at_us) / static_cast<double>(kMicrosPerSecond);
  bucket.tokens = std::min(burst_, bucket.tokens + seconds * per_second_);
  bucket.at_us = now_us;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}

void ClientRates::MakePlace() {
  const auto oldest = std::ranges::min_element(buckets_, {}, [](const auto& entry) { return entry.second.at_us; });
  if (oldest != buckets_.end()) buckets_.erase(oldest);
}

}  // namespace k2::net
