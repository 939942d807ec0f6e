#include "catalog/rest_session.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <random>
#include <thread>

#include "base/log.h"
#include "base/time.h"
#include "catalog/rest_errors.h"
#include "storage/request_counts.h"

namespace k2::catalog {
namespace {

constexpr int64_t kPauseMsMin = 50;
constexpr int64_t kPauseMsMax = 2'000;
constexpr int64_t kStoppingMsMax = 5'000;

int64_t RandomPauseMs(int attempt) {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  const int64_t ceiling = std::min(kPauseMsMax, kPauseMsMin << std::min(attempt, 10));
  return ceiling / 2 + static_cast<int64_t>(random() % static_cast<uint64_t>(ceiling / 2 + 1));
}

// RFC 9110 10.2.3, in seconds; its form with a date is not looked at.
int64_t RetryAfterMs(const net::HttpResponse& reply) {
  const auto found = reply.headers.find("retry-after");
  if (found == reply.headers.end()) return 0;
  int64_t seconds = 0;
  const char* end = found->second.data() + found->second.size();
  const auto [stop, error] = std::from_chars(found->second.data(), end, seconds);
  return error == std::errc() && stop == end && seconds > 0 && seconds < 3600 ? seconds * 1000 : 0;
}

bool IsJsonObject(std::string_view body) {
  const size_t first = body.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && body[first] == '{';
}

}  // namespace

RestSession::RestSession(std::string base_uri, std::vector<std::pair<std::string, std::string>> headers,
                         std::shared_ptr<net::HttpClient> http, std::shared_ptr<RestAuth> auth, int64_t retry_budget_ms,
                         std::function<bool()> stopping, std::shared_ptr<RestSigner> signer, Secret header_lines)
    : base_uri_(std::move(base_uri)),
      headers_(std::move(headers)),
      http_(std::move(http)),
      auth_(std::move(auth)),
      retry_budget_ms_(retry_budget_ms),
      stopping_(std::move(stopping)),
      header_lines_(std::move(header_lines)),
      signer_(std::move(signer)) {}

Result<net::HttpResponse> RestSession::Once(const RestCall& call) {
  net::HttpRequest request{.method = call.method,
                           .url = base_uri_ + call.path,
                           .body = call.body,
                           .timeout_ms = call.timeout_ms,
                           .connect_timeout_ms = std::min<int64_t>(5'000, call.timeout_ms),
                           .fresh_connection = call.fresh_connection,
                           .before_send = call.before_send};
  bool may_do_better = true;
  K2_ASSIGN(net::HttpResponse reply, Send(call, request, may_do_better));
  if (!may_do_better) return reply;
  return Send(call, request, may_do_better);
}

// `may_do_better`: the reply refuses what we say we are, and there is something else to say now.
Result<net::HttpResponse> RestSession::Send(const RestCall& call, net::HttpRequest& request, bool& may_do_better) {
  request.headers.clear();
  K2_ASSIGN(const std::string lines, header_lines_.Read());
  K2_ASSIGN(const auto more_headers, net::ParseHeaderLines(lines));
  if (!call.body.empty()) request.headers.emplace_back("Content-Type", "application/json");
  std::string token;
  storage::AwsKeys signed_with;
  if (signer_ != nullptr) {
    K2_ASSIGN(signed_with, signer_->Sign(request));
  } else {
    K2_ASSIGN(token, auth_->Header());
    if (!token.empty()) request.headers.emplace_back("Authorization", token);
  }
  // Not signed: gateways before the catalog may take these out, or change them.
  request.headers.insert(request.headers.end(), headers_.begin(), headers_.end());
  request.headers.insert(request.headers.end(), more_headers.begin(), more_headers.end());
  request.headers.emplace_back("Accept", "application/json");
  request.headers.insert(request.headers.end(), call.headers.begin(), call.headers.end());
  Result<net::HttpResponse> sent = http_->Send(request);
  storage::CountRequest(storage::Service::kCatalog, sent);
  may_do_better = sent && (signer_ != nullptr ? RestSigner::IsRefusal(*sent) && signer_->Reject(signed_with, *sent)
                                              : (sent->status == 401 || sent->status == 419) && auth_->Reject(token));
  return sent;
}

Result<net::HttpResponse> RestSession::Repeating(const RestCall& call) {
  const int64_t deadline_us = MonotonicMicros() + retry_budget_ms_ * 1000;
  RestCall bounded = call;
  for (int attempt = 1;; ++attempt) {
    const int64_t left_ms = std::min((deadline_us - MonotonicMicros()) / 1000, stopping() ? kStoppingMsMax : INT64_MAX);
    bounded.timeout_ms = std::clamp<int64_t>(left_ms, 1'000, std::max<int64_t>(1'000, call.timeout_ms));
    Result<net::HttpResponse> reply = Once(bounded);
    int64_t pause_ms = RandomPauseMs(attempt);
    std::string trouble;
    if (reply) {
      const bool garbled = reply->status == 200 && call.method != "HEAD" && !IsJsonObject(reply->body);
      if (!garbled && !IsPassing(reply->status)) return reply;
      trouble = fmt::format("answer {}{}", reply->status, garbled ? " without a JSON object" : "");
      pause_ms = std::max(pause_ms, RetryAfterMs(*reply));
      if (garbled) {
        reply = Fail(ErrorKind::kIo, "{} {}{}: {}", call.method, net::WithoutSecrets(base_uri_), call.path, trouble);
      }
    } else {
      if (reply.error().kind != ErrorKind::kUnavailable && reply.error().kind != ErrorKind::kIo) return reply;
      trouble = reply.error().message;
    }
    if (stopping() || MonotonicMicros() + pause_ms * 1000 >= deadline_us) {
      if (!reply) return std::unexpected(Error{ErrorKind::kUnavailable, reply.error().message});
      return reply;
    }
    log::Info("retrying a request to the catalog", {{"path", call.path}, {"attempt", attempt}, {"reason", trouble}});
    Pause(pause_ms);
  }
}

void RestSession::Pause(int64_t pause_ms) const {
  constexpr int64_t kSliceMs = 50;
  for (int64_t left = pause_ms; left > 0 && !stopping(); left -= kSliceMs) {
    std::this_thread::sleep_for(std::chrono::milliseconds(std::min(left, kSliceMs)));
  }
}

}  // namespace k2::catalog
