#include "storage/s3_objects.h"

#include <algorithm>
#include <charconv>
#include <thread>

#include "base/log.h"
#include "base/time.h"
#include "base/uuid.h"
#include "storage/request_counts.h"

namespace k2::storage {
namespace {

constexpr const char* kMark = "x-amz-meta-k2-write";

std::string Header(const net::HttpResponse& response, const std::string& name) {
  const auto found = response.headers.find(name);
  return found == response.headers.end() ? std::string() : found->second;
}

Result<int64_t> NumberOf(std::string_view text, std::string_view location) {
  int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    return Fail(ErrorKind::kIo, "the reply for {} does not contain the size of the object ('{}')", location, text);
  }
  return value;
}

// They have ended, or are known no more: others may be there by now.
bool KeysWereRefused(int http_status, std::string_view code) {
  return code == "ExpiredToken" || code == "TokenRefreshRequired" || code == "InvalidAccessKeyId" ||
         code == "InvalidToken" || code == "SignatureDoesNotMatch" || (http_status == 403 && code.empty());
}

}  // namespace

Result<net::HttpResponse> S3Objects::SendOnce(const S3Location& parsed, Request& request, int64_t tries) {
  K2_ASSIGN(const S3Address address, AddressOf(client_.endpoint, client_.region, parsed.bucket, client_.path_style));
  net::HttpRequest http{.method = request.method,
                        .url = address.base_url + EncodedPath(address, parsed.key),
                        .headers = request.headers,
                        .body = std::move(request.body),
                        .timeout_ms = client_.request_timeout_ms,
                        .connect_timeout_ms = client_.connect_timeout_ms};
  http.timeout_ms += static_cast<int64_t>(http.body.size()) / 1'000;
  if (request.method == "GET") http.timeout_ms *= 2;
  http.timeout_ms *= std::min<int64_t>(tries, 4);  // what is slow rather than stuck must come through at last
  request.signed_with = client_.keys();
  SignAwsRequest(request.signed_with, {client_.region, "s3"}, clock_.NowUs(), http);
  // Not signed: what is stored is what is wanted, not a compressed form of it.
  http.headers.emplace_back("Accept-Encoding", "identity");
  // Amazon's SDK sends its uploads as "aws-chunked", and there are stores that say so of the object ever after.
  http.body_as_sent = true;
  auto response = http_->Send(http);
  CountRequest(Service::kStorage, response);
  request.body = std::move(http.body);
  return response;
}

// The reply of the last try: a success, or one that no other try would better.
Result<net::HttpResponse> S3Objects::Send(const std::string& location, Request& request) {
  K2_ASSIGN(const S3Location parsed, ParseS3Location(location));
  if (parsed.key.empty()) return Fail(ErrorKind::kInvalidArgument, "{} is a bucket, not a file in it", location);
  for (int64_t tries = 1;; ++tries) {
    auto response = SendOnce(parsed, request, tries);
    std::string why;
    if (response) {
      if (response->status / 100 == 2 || response->status == 412 || response->status == 416) return response;
      const bool is_signed = !request.signed_with.access_key.empty();
      const auto [code, text] = S3ErrorText(response->body);
      if (is_signed && tries < client_.tries) {
        if (response->status == 403 && clock_.Learn(*response)) continue;
        if (KeysWereRefused(response->status, code) && client_.reject && client_.reject(request.signed_with)) continue;
      }
      Error failure = S3Failure(response->status, code, text, request.action, location, is_signed);
      if (!MayRetry(response->status, code)) return std::unexpected(std::move(failure));
      if (tries >= client_.tries) {
        failure.kind = ErrorKind::kUnavailable;
        return std::unexpected(failure.With(fmt::format("after {} attempts", tries)));
      }
      why = std::move(failure.message);
    } else {
      const bool lost = response.error().kind == ErrorKind::kIo || response.error().kind == ErrorKind::kUnavailable;
      if (!lost) return response;
      if (tries >= client_.tries) {
        return Fail(ErrorKind::kUnavailable,
                    "cannot {} {} after {} attempts: {}. Is the S3 store up, and --s3-endpoint right?", request.action,
                    location, tries, response.error().message);
      }
      why = response.error().message;
    }
    const auto delay = S3RetryDelay(tries);
    log::Info("retrying an S3 request",
              {{"location", location}, {"tries", tries}, {"after_ms", delay.count()}, {"why", why}});
    std::this_thread::sleep_for(delay);
  }
}

Result<std::string> S3Objects::Get(const std::string& location, int64_t max_bytes) {
  Request request{.method = "GET", .action = "read"};
  K2_ASSIGN(net::HttpResponse response, Send(location, request));
  if (static_cast<int64_t>(response.body.size()) > max_bytes) {
    return Fail(ErrorKind::kInvalidData, "{} has {} bytes, more than the limit of {}", location, response.body.size(),
                max_bytes);
  }
  return std::move(response.body);
}

Result<S3Tail> S3Objects::GetTail(const std::string& location, int64_t bytes) {
  Request request{.method = "GET", .action = "open", .headers = {{"Range", fmt::format("bytes=-{}", bytes)}}};
  K2_ASSIGN(net::HttpResponse response, Send(location, request));
  if (response.status == 416) return S3Tail{};  // an empty object has no last bytes
  S3Tail tail{.bytes = std::move(response.body)};
  tail.size_bytes = static_cast<int64_t>(tail.bytes.size());
  if (response.status == 206) {
    const std::string range = Header(response, "content-range");  // bytes 100-199/200
    K2_ASSIGN(tail.size_bytes, NumberOf(std::string_view(range).substr(range.find('/') + 1), location));
  }
  return tail;
}

Status S3Objects::PutNew(const std::string& location, std::string bytes) {
  const std::string mark = RandomHex64();
  Request request{.method = "PUT",
                  .action = "write",
                  .headers = {{"Content-Type", "application/octet-stream"}, {"If-None-Match", "*"}, {kMark, mark}},
                  .body = std::move(bytes)};
  auto response = Send(location, request);
  if (!response && response.error().kind == ErrorKind::kUnsupported) {
    request.headers.erase(request.headers.begin() + 1);
    response = Send(location, request);
  }
  if (!response) return std::unexpected(response.error());
  if (response->status != 412) return {};
  // Something is there. An earlier try of this very put, whose reply was lost?
  Request head{.method = "HEAD", .action = "look at"};
  K2_ASSIGN(const net::HttpResponse found, Send(location, head));
  if (Header(found, kMark) == mark) return {};
  return Fail(ErrorKind::kAlreadyExists, "cannot write {}: it already exists", location);
}

Result<int64_t> S3Objects::Size(const std::string& location) {
  Request request{.method = "HEAD", .action = "ask the size of"};
  K2_ASSIGN(const net::HttpResponse response, Send(location, request));
  return NumberOf(Header(response, "content-length"), location);
}

Status S3Objects::Delete(const std::string& location) {
  Request request{.method = "DELETE", .action = "delete"};
  const auto response = Send(location, request);
  if (response || (response.error().kind == ErrorKind::kNotFound)) return {};
  return std::unexpected(response.error());
}

}  // namespace k2::storage
