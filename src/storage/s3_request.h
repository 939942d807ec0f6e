// Requests to an S3 store: addresses, errors and when to try again.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "net/http.h"

namespace k2::storage {

struct S3Location {
  std::string scheme;  // s3, s3a, s3n
  std::string bucket;
  std::string key;  // without a leading slash; empty: the bucket itself
};

// Takes s3://bucket/key apart. Percent signs stand for themselves, as in LocalPath. kInvalidArgument: no bucket, `?`,
// `#`, control characters, empty or dot segments.
Result<S3Location> ParseS3Location(std::string_view location);
bool IsS3Scheme(std::string_view scheme);

// Where the objects of a bucket are asked for.
struct S3Address {
  std::string base_url;     // http(s)://host[:port], the bucket in it for virtual addressing
  std::string host;         // as the Host header has it
  std::string path_prefix;  // "/bucket" for path-style, else empty
};

// `endpoint`: http(s)://host[:port], or host[:port] for https; empty: AWS, in `region`. kInvalidArgument.
Result<S3Address> AddressOf(const std::string& endpoint, const std::string& region, const std::string& bucket,
                            bool path_style);

// The path of a key under an address, percent-encoded.
std::string EncodedPath(const S3Address& address, const std::string& key);

// Whether a reply of this status, or an error of this kind, may be tried again.
bool MayRetry(int http_status, std::string_view s3_code);

// What a reply that is no success means. `code` and `text` are of the XML body where there is one.
Error S3Failure(int http_status, std::string_view code, std::string_view text, std::string_view action,
                std::string_view location, bool signed_request);
// What stands between <name> and </name>, the first time; empty where there is none.
std::string XmlText(std::string_view xml, std::string_view name);
// The text of <Code> and of <Message> in an error's XML; empty where there is none.
std::pair<std::string, std::string> S3ErrorText(std::string_view xml);

// How long to wait before try number `tries` + 1: 50 ms doubled up to 5 s, half of it by chance, so that many clients
// don't come back at once.
std::chrono::milliseconds S3RetryDelay(int64_t tries);

}  // namespace k2::storage
