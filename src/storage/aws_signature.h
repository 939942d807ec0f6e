// AWS Signature Version 4: of requests, and of addresses that are valid for a while.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "net/http.h"

namespace k2::storage {

struct AwsKeys {
  std::string access_key;  // empty: there are none, and requests are not signed
  std::string secret_key;
  std::string session_token;
  int64_t ends_at_us = INT64_MAX;  // wall clock

  bool operator==(const AwsKeys&) const = default;
};

struct AwsScope {
  std::string region;
  std::string service;  // the signing name: s3, sts, glue, s3tables, …
};

// Adds date, content hash, session token and signature to the headers. Signed are these, and all that the request has
// by then: what somebody on the way may change or take out is added afterwards. The address must be as it is sent.
void SignAwsRequest(const AwsKeys& keys, const AwsScope& scope, int64_t now_us, net::HttpRequest& request);

// The address with a signature in its query: whoever has it may GET it for so long.
std::string PresignAwsUrl(const AwsKeys& keys, const AwsScope& scope, int64_t now_us, int64_t valid_seconds,
                          const std::string& url);

// The time of an HTTP date (RFC 9110, "Sun, 06 Nov 1994 08:49:37 GMT"), in microseconds; nullopt where it is none.
std::optional<int64_t> ParseHttpDate(const std::string& text);

// A signature bears the time, and a service refuses one that is minutes off its own. Safe to share between threads.
class ServiceClock {
 public:
  explicit ServiceClock(std::string whose) : whose_(std::move(whose)) {}
  // This machine's time, or the service's where it is known to be another.
  [[nodiscard]] int64_t NowUs() const;
  // Of a refusal. True when its date tells another time than the one signed with: NowUs gives that from here on.
  bool Learn(const net::HttpResponse& refused);

 private:
  const std::string whose_;  // in the log: "the S3 store"
  std::atomic<int64_t> ahead_us_{0};
};

}  // namespace k2::storage
