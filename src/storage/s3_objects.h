// Whole objects of an S3 store, one request each: what Arrow's S3 file system takes two or three for, or does not do
// (conditional writes, deletes that leave no folder marker, the end of a file without asking its size first).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/http.h"
#include "storage/aws_signature.h"
#include "storage/s3_request.h"

namespace k2::storage {

struct S3Client {
  std::string endpoint;  // empty: AWS
  std::string region;
  bool path_style = false;
  std::function<AwsKeys()> keys;  // asked for each try: they may be renewed
  // May be empty. The store has refused these keys; true: there are others now.
  std::function<bool(const AwsKeys&)> reject;
  int64_t connect_timeout_ms = 3'000;
  int64_t request_timeout_ms = 15'000;  // and a second more for each megabyte; longer with each try
  int64_t tries = 10;
};

struct S3Tail {
  std::string bytes;  // the last ones, or all
  int64_t size_bytes = 0;
};

// All calls try again, with growing pauses, after time-outs, lost connections, throttling and the server's own errors;
// then they are kUnavailable. Where this machine's clock is wrong, the store's is taken. Other errors: kNotFound
// (object or bucket), kPermission, kInvalidArgument (wrong region), kIo. Safe to share between threads.
class S3Objects {
 public:
  S3Objects(S3Client client, std::shared_ptr<net::HttpClient> http)
      : client_(std::move(client)), http_(std::move(http)) {}

  // kInvalidData when the object is larger than max_bytes.
  Result<std::string> Get(const std::string& location, int64_t max_bytes);
  // The last `bytes` of the object, and its size.
  Result<S3Tail> GetTail(const std::string& location, int64_t bytes);
  // Puts an object that must not exist yet (If-None-Match: *; kAlreadyExists). A put whose reply was lost finds itself
  // by a mark in the object's metadata. Stores that don't know conditional writes get a plain put.
  Status PutNew(const std::string& location, std::string bytes);
  Result<int64_t> Size(const std::string& location);
  Status Delete(const std::string& location);  // a missing object is no error

 private:
  struct Request {
    std::string method;
    std::string action;  // for people
    std::vector<std::pair<std::string, std::string>> headers;
    std::string body;
    AwsKeys signed_with;
  };
  Result<net::HttpResponse> Send(const std::string& location, Request& request);
  Result<net::HttpResponse> SendOnce(const S3Location& parsed, Request& request, int64_t tries);

  const S3Client client_;
  const std::shared_ptr<net::HttpClient> http_;
  ServiceClock clock_{"the S3 store"};
};

}  // namespace k2::storage
