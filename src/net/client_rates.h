// How many requests a client may send: a token bucket a client, in bounded memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <unordered_map>

namespace k2::net {

class ClientRates {
 public:
  // `burst` requests at once, `per_second` in the long run. Of more than `clients_max` clients, the one that was silent
  // for longest is forgotten.
  ClientRates(double per_second, double burst, size_t clients_max = 1024)
      : per_second_(per_second), burst_(burst), clients_max_(clients_max) {}

  // Counts a request of `client`; false: it is one too many. `now_us` is monotonic.
  bool Take(const std::string& client, int64_t now_us);

  [[nodiscard]] size_t clients() const { return buckets_.size(); }

 private:
  struct Bucket {
    double tokens = 0;
    int64_t at_us = 0;
  };
  void MakePlace();

  double per_second_;
  double burst_;
  size_t clients_max_;
  std::unordered_map<std::string, Bucket> buckets_;
};

}  // namespace k2::net
