#include "storage/s3_request.h"

#include <algorithm>
#include <random>

namespace k2::storage {
namespace {

std::string EncodePath(std::string_view path) {
  std::string encoded;
  size_t begin = 0;
  while (true) {
    const size_t end = std::min(path.find('/', begin), path.size());
    encoded += net::UrlEncode(path.substr(begin, end - begin));
    if (end == path.size()) return encoded;
    encoded += '/';
    begin = end + 1;
  }
}

}  // namespace

bool IsS3Scheme(std::string_view scheme) { return scheme == "s3" || scheme == "s3a" || scheme == "s3n"; }

Result<S3Location> ParseS3Location(std::string_view location) {
  const auto fail = [&](std::string_view why) {
    return Fail(ErrorKind::kInvalidArgument, "S3 location '{}' {}; name it as s3://bucket/key", location, why);
  };
  S3Location parsed;
  const size_t colon = location.find("://");
  if (colon == std::string_view::npos || !IsS3Scheme(location.substr(0, colon))) return fail("has no scheme s3://");
  parsed.scheme = location.substr(0, colon);
  std::string_view rest = location.substr(colon + 3);
  while (rest.ends_with('/')) rest.remove_suffix(1);
  for (const char c : rest) {
    if (c == '?' || c == '#') return fail("holds '?' or '#', which readers of URIs cut off");
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return fail("holds a control character");
  }
  const size_t slash = std::min(rest.find('/'), rest.size());
  parsed.bucket = rest.substr(0, slash);
  const bool bucket_ok =
      parsed.bucket.size() >= 3 && parsed.bucket.size() <= 63 && std::ranges::all_of(parsed.bucket, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
               c == '_';
      });
  if (!bucket_ok) return fail("has no bucket name of 3 to 63 letters, digits, '-', '.' and '_'");
  if (slash == rest.size()) return parsed;
  parsed.key = rest.substr(slash + 1);
  if (parsed.key.size() > 1024) return fail("has a key longer than 1024 bytes");
  size_t begin = 0;
  while (begin <= parsed.key.size()) {
    const size_t end = std::min(parsed.key.find('/', begin), parsed.key.size());
    const std::string_view segment = std::string_view(parsed.key).substr(begin, end - begin);
    if (segment.empty()) return fail("holds an empty segment ('//')");
    if (segment == "." || segment == "..") return fail("holds a '.' or '..' segment");
    begin = end + 1;
  }
  return parsed;
}

Result<S3Address> AddressOf(const std::string& endpoint, const std::string& region, const std::string& bucket,
                            bool path_style) {
  std::string scheme = "https";
  std::string host = endpoint;
  if (const size_t colon = endpoint.find("://"); colon != std::string::npos) {
    scheme = endpoint.substr(0, colon);
    host = endpoint.substr(colon + 3);
  }
  while (host.ends_with('/')) host.pop_back();
  if (endpoint.empty()) host = fmt::format("s3.{}.amazonaws.com{}", region, region.starts_with("cn-") ? ".cn" : "");
  if ((scheme != "http" && scheme != "https") || host.empty() || host.find_first_of("/?#@ ") != std::string::npos) {
    // A user before the host is or has a secret.
    return Fail(ErrorKind::kInvalidArgument, "S3 endpoint '{}': expected http(s)://host[:port], without user and path",
                endpoint.find('@') == std::string::npos ? endpoint : "***");
  }
  if (scheme == "http" && host.ends_with(":80")) host.resize(host.size() - 3);
  if (scheme == "https" && host.ends_with(":443")) host.resize(host.size() - 4);
  S3Address address;
  if (path_style) {
    address.path_prefix = "/" + bucket;
  } else {
    host = bucket + "." + host;
  }
  address.base_url = scheme + "://" + host;
  address.host = host;
  return address;
}

std::string EncodedPath(const S3Address& address, const std::string& key) {
  return EncodePath(address.path_prefix + "/" + key);
}

bool MayRetry(int http_status, std::string_view s3_code) {
  if (s3_code == "SlowDown" || s3_code == "RequestTimeout" || s3_code == "Throttling" || s3_code == "InternalError" ||
      s3_code == "ThrottlingException" || s3_code == "RequestLimitExceeded" ||
      s3_code == "ConditionalRequestConflict" || s3_code == "OperationAborted" || s3_code == "BadDigest" ||
      s3_code == "IncompleteBody") {
    return true;
  }
  return http_status == 408 || http_status == 429 || (http_status >= 500 && http_status != 501);
}

std::string XmlText(std::string_view xml, std::string_view name) {
  const std::string open = fmt::format("<{}>", name);
  const size_t begin = xml.find(open);
  if (begin == std::string_view::npos) return {};
  const size_t end = xml.find(fmt::format("</{}>", name), begin);
  if (end == std::string_view::npos) return {};
  return std::string(xml.substr(begin + open.size(), end - begin - open.size()));
}

std::pair<std::string, std::string> S3ErrorText(std::string_view xml) {
  constexpr size_t kMax = 500;
  return {XmlText(xml, "Code").substr(0, kMax), XmlText(xml, "Message").substr(0, kMax)};
}

Error S3Failure(int http_status, std::string_view code, std::string_view text, std::string_view action,
                std::string_view location, bool signed_request) {
  std::string why = code.empty() ? fmt::format("HTTP status {}", http_status) : std::string(code);
  if (!text.empty()) why += fmt::format(" ({})", text);
  const auto error = [&](ErrorKind kind, std::string_view what_to_do) {
    return Error{kind, fmt::format("cannot {} {}: {}{}", action, location, why, what_to_do)};
  };
  if (code == "NoSuchBucket") {
    return error(ErrorKind::kNotFound, "; create the bucket, or choose another with --warehouse");
  }
  if (http_status == 404 || code == "NoSuchKey") return error(ErrorKind::kNotFound, "").OfFile(location);
  if (code == "RequestTimeTooSkewed") return error(ErrorKind::kPermission, "; set this machine's clock");
  if (code == "ExpiredToken" || code == "TokenRefreshRequired") {
    return error(ErrorKind::kPermission, "; get new keys, or let the catalog vend them");
  }
  if (http_status == 301 || http_status == 307 || code == "AuthorizationHeaderMalformed" ||
      code == "PermanentRedirect") {
    return error(ErrorKind::kInvalidArgument, "; the bucket may be in another region: set --s3-region");
  }
  if (http_status == 401 || http_status == 403) {
    return error(ErrorKind::kPermission,
                 signed_request
                     ? "; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and the permissions of these keys"
                     : "; there are no keys: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
  }
  if (http_status == 412 || http_status == 409) return error(ErrorKind::kAlreadyExists, "");
  if (http_status == 501) return error(ErrorKind::kUnsupported, "");
  if (code == "EntityTooLarge") return error(ErrorKind::kInvalidArgument, "");
  if (http_status == 507 || code == "QuotaExceeded" || code == "XMinioStorageFull") {
    return error(ErrorKind::kNoSpace, "; free space there, then run again: nothing committed is lost");
  }
  if (MayRetry(http_status, code)) return error(ErrorKind::kUnavailable, "");
  return error(ErrorKind::kIo, "");
}

std::chrono::milliseconds S3RetryDelay(int64_t tries) {
  thread_local std::minstd_rand random{std::random_device{}()};
  const int64_t most = std::min<int64_t>(5'000, int64_t{50} << std::clamp<int64_t>(tries - 1, 0, 10));
  return std::chrono::milliseconds(most / 2 + std::uniform_int_distribution<int64_t>(0, most / 2)(random));
}

}  // namespace k2::storage
