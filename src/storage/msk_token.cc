#include "storage/msk_token.h"

#include <openssl/evp.h>

#include <algorithm>

#include "base/time.h"
#include "base/version.h"

namespace k2::storage {

MskToken MakeMskToken(const AwsKeys& keys, const std::string& region, int64_t now_us) {
  constexpr int64_t kValidSeconds = 900;
  std::string url =
      PresignAwsUrl(keys, {region, "kafka-cluster"}, now_us, kValidSeconds,
                    fmt::format("https://kafka.{}.amazonaws.com/?Action=kafka-cluster%3AConnect", region));
  url += fmt::format("&User-Agent=k2%2F{}", kVersion);
  std::string encoded(4 * ((url.size() + 2) / 3) + 1, '\0');
  const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                                   reinterpret_cast<const unsigned char*>(url.data()), static_cast<int>(url.size()));
  encoded.resize(static_cast<size_t>(size));
  while (encoded.ends_with('=')) encoded.pop_back();
  std::ranges::replace(encoded, '+', '-');
  std::ranges::replace(encoded, '/', '_');
  return {.text = std::move(encoded),
          .ends_at_us = std::min(keys.ends_at_us, now_us + kValidSeconds * kMicrosPerSecond)};
}

}  // namespace k2::storage
