#include "catalog/rest_signer.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace k2::catalog {
namespace {

// "eu-west-1", "us-gov-east-1", "ap-southeast-3"
bool IsRegion(std::string_view label) {
  return std::ranges::count(label, '-') >= 2 && label.back() >= '0' && label.back() <= '9' &&
         label.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string_view::npos;
}

}  // namespace

storage::AwsScope AwsScopeOfHost(const std::string& url) {
  storage::AwsScope scope;
  const size_t begin = url.find("://");
  if (begin == std::string::npos) return scope;
  const std::string host = url.substr(begin + 3, url.find_first_of("/:?", begin + 3) - begin - 3);
  const size_t domain = std::min(host.find(".amazonaws.com"), host.find(".api.aws"));
  if (domain == std::string::npos) return scope;
  std::vector<std::string> labels;
  for (size_t at = 0; at < domain;) {
    const size_t end = std::min(host.find('.', at), domain);
    if (end > at) labels.push_back(host.substr(at, end - at));
    at = end + 1;
  }
  for (const std::string& label : labels) {
    if (IsRegion(label)) scope.region = label;
    for (const char* service : {"glue", "s3tables", "execute-api"}) {
      // glue-fips is signed for as glue.
      if (label == service || label == std::string(service) + "-fips") scope.service = service;
    }
  }
  return scope;
}

Result<storage::AwsKeys> RestSigner::Sign(net::HttpRequest& request) {
  auto keys = signing_.credentials->Keys();
  if (!keys) {
    Error error = keys.error().With("sign the request to the catalog");
    // None of the other kinds says that the request may have been sent.
    if (error.kind != ErrorKind::kUnavailable && error.kind != ErrorKind::kInvalidArgument) {
      error.kind = ErrorKind::kPermission;
    }
    return std::unexpected(std::move(error));
  }
  if (keys->access_key.empty()) {
    return Fail(ErrorKind::kPermission,
                "there are no AWS keys to sign requests to the catalog: looked for AWS_ACCESS_KEY_ID, web identity, "
                "the profile, the container's agent and the instance's metadata (docs/storage.md)");
  }
  storage::SignAwsRequest(*keys, signing_.scope, clock_.NowUs(), request);
  return keys;
}

bool RestSigner::IsRefusal(const net::HttpResponse& reply) {
  return reply.status == 401 || reply.status == 403 ||
         (reply.status == 400 && reply.body.find("ExpiredToken") != std::string::npos);
}

bool RestSigner::Reject(const storage::AwsKeys& signed_with, const net::HttpResponse& reply) {
  return clock_.Learn(reply) || signing_.credentials->Reject(signed_with);
}

}  // namespace k2::catalog
