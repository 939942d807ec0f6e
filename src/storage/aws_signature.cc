#include "storage/aws_signature.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <map>
#include <vector>

#include "base/log.h"
#include "base/time.h"

namespace k2::storage {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

std::string Hex(std::string_view bytes) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

std::string Sha256(std::string_view bytes) {
  std::string digest(32, '\0');
  EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), nullptr, EVP_sha256(),
             nullptr);
  return digest;
}

std::string Hmac(std::string_view key, std::string_view bytes) {
  std::string digest(32, '\0');
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(bytes.data()),
       bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  return digest;
}

// "20130524T000000Z"
std::string CompactTime(int64_t now_us) {
  const std::string text = FormatTimestamp(now_us);  // 2013-05-24T00:00:00.000000Z
  return text.substr(0, 4) + text.substr(5, 2) + text.substr(8, 5) + text.substr(14, 2) + text.substr(17, 2) + "Z";
}

// Percent signs that are no escapes stand for themselves.
std::string UrlDecode(std::string_view text) {
  const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10; };
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size() &&
                        std::isxdigit(static_cast<unsigned char>(text[i + 1])) &&
                        std::isxdigit(static_cast<unsigned char>(text[i + 2]));
    decoded += escape ? static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])) : text[i];
    if (escape) i += 2;
  }
  return decoded;
}

// An address as it goes into what is signed.
struct CanonicalAddress {
  std::string host;  // as the Host header has it
  std::string path;
  std::string query;
};

CanonicalAddress Canonical(std::string_view url, std::string_view service) {
  CanonicalAddress address;
  const size_t scheme = url.find("://");
  const bool https = url.starts_with("https");
  std::string_view rest = url.substr(scheme == std::string_view::npos ? 0 : scheme + 3);
  const size_t end = std::min(rest.find_first_of("/?"), rest.size());
  address.host = rest.substr(0, end);
  if (const size_t at = address.host.rfind('@'); at != std::string::npos) address.host.erase(0, at + 1);
  const std::string_view port = https ? ":443" : ":80";
  if (address.host.ends_with(port)) address.host.resize(address.host.size() - port.size());
  rest.remove_prefix(end);
  const size_t mark = std::min(rest.find('?'), rest.size());
  const std::string_view path = rest.substr(0, mark);
  if (service == "s3") {
    address.path = path;
  } else {  // all but S3 encode what is encoded once more
    for (const char c : path) address.path += c == '/' ? std::string(1, c) : net::UrlEncode(std::string_view(&c, 1));
  }
  if (address.path.empty()) address.path = "/";
  std::vector<std::pair<std::string, std::string>> parameters;
  for (rest.remove_prefix(std::min(mark + 1, rest.size())); !rest.empty();) {
    const std::string_view one = rest.substr(0, rest.find('&'));
    const size_t equals = std::min(one.find('='), one.size());
    parameters.emplace_back(net::UrlEncode(UrlDecode(one.substr(0, equals))),
                            net::UrlEncode(UrlDecode(one.substr(std::min(equals + 1, one.size())))));
    rest.remove_prefix(std::min(one.size() + 1, rest.size()));
  }
  std::ranges::sort(parameters);
  for (const auto& [name, value] : parameters) {
    address.query += fmt::format("{}{}={}", address.query.empty() ? "" : "&", name, value);
  }
  return address;
}

std::string ScopeText(const AwsScope& scope, const std::string& time) {
  return fmt::format("{}/{}/{}/aws4_request", time.substr(0, 8), scope.region, scope.service);
}

std::string SignatureOf(const AwsKeys& keys, const AwsScope& scope, const std::string& time,
                        const std::string& canonical_request) {
  const std::string to_sign =
      fmt::format("{}\n{}\n{}\n{}", kAlgorithm, time, ScopeText(scope, time), Hex(Sha256(canonical_request)));
  const std::string day = Hmac("AWS4" + keys.secret_key, time.substr(0, 8));
  return Hex(Hmac(Hmac(Hmac(Hmac(day, scope.region), scope.service), "aws4_request"), to_sign));
}

}  // namespace

void SignAwsRequest(const AwsKeys& keys, const AwsScope& scope, int64_t now_us, net::HttpRequest& request) {
  if (keys.access_key.empty()) return;
  const std::string time = CompactTime(now_us);
  const std::string body_hash = Hex(Sha256(request.body));
  request.headers.emplace_back("x-amz-content-sha256", body_hash);
  request.headers.emplace_back("x-amz-date", time);
  if (!keys.session_token.empty()) request.headers.emplace_back("x-amz-security-token", keys.session_token);

  const CanonicalAddress address = Canonical(request.url, scope.service);
  std::map<std::string, std::string> canonical = {{"host", address.host}};
  for (const auto& [name, value] : request.headers) {
    std::string lower = name;
    std::ranges::transform(lower, lower.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    canonical[lower] = value;
  }
  std::string header_lines;
  std::string names;
  for (const auto& [name, value] : canonical) {
    header_lines += name + ":" + value + "\n";
    names += (names.empty() ? "" : ";") + name;
  }
  const std::string signature = SignatureOf(keys, scope, time,
                                            fmt::format("{}\n{}\n{}\n{}\n{}\n{}", request.method, address.path,
                                                        address.query, header_lines, names, body_hash));
  request.headers.emplace_back(
      "Authorization", fmt::format("{} Credential={}/{},SignedHeaders={},Signature={}", kAlgorithm, keys.access_key,
                                   ScopeText(scope, time), names, signature));
}

std::string PresignAwsUrl(const AwsKeys& keys, const AwsScope& scope, int64_t now_us, int64_t valid_seconds,
                          const std::string& url) {
  const std::string time = CompactTime(now_us);
  std::string address = url + (url.find('?') == std::string::npos ? "?" : "&");
  address += fmt::format("X-Amz-Algorithm={}&X-Amz-Credential={}&X-Amz-Date={}&X-Amz-Expires={}", kAlgorithm,
                         net::UrlEncode(keys.access_key + "/" + ScopeText(scope, time)), time, valid_seconds);
  if (!keys.session_token.empty()) address += "&X-Amz-Security-Token=" + net::UrlEncode(keys.session_token);
  address += "&X-Amz-SignedHeaders=host";
  const CanonicalAddress canonical = Canonical(address, scope.service);
  const std::string signature = SignatureOf(keys, scope, time,
                                            fmt::format("GET\n{}\n{}\nhost:{}\n\nhost\n{}", canonical.path,
                                                        canonical.query, canonical.host, Hex(Sha256(""))));
  return address + "&X-Amz-Signature=" + signature;
}

std::optional<int64_t> ParseHttpDate(const std::string& text) {
  std::tm parts{};
  const char* const end = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return int64_t{::timegm(&parts)} * kMicrosPerSecond;
}

int64_t ServiceClock::NowUs() const { return NowMicros() + ahead_us_; }

bool ServiceClock::Learn(const net::HttpResponse& refused) {
  constexpr int64_t kTolerance = 60 * kMicrosPerSecond;
  const auto date = refused.headers.find("date");
  if (date == refused.headers.end()) return false;
  const std::optional<int64_t> theirs_us = ParseHttpDate(date->second);
  if (!theirs_us) return false;
  const int64_t ahead_us = *theirs_us - NowMicros();
  if (std::abs(ahead_us - ahead_us_.exchange(ahead_us)) < kTolerance) return false;
  log::Warn("this machine's clock differs from that of " + whose_ + "; requests are signed with its time",
            {{"ahead_seconds", std::to_string(-ahead_us / kMicrosPerSecond)}});
  return true;
}

}  // namespace k2::storage
