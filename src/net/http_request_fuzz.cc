// Any bytes as what a client sends, whole and in pieces: the same requests come out, each within the limits and without
// control characters, and what is refused has a status of its own.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "net/host_header.h"
#include "net/http_request_reader.h"
#include "net/http_response_text.h"

namespace {

using namespace k2;

constexpr size_t kHeadMax = 256;

void Require(bool holds) {
  if (!holds) std::abort();
}

bool IsPrintable(std::string_view text, bool blanks) {
  return std::ranges::all_of(text, [&](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte > ' ' ? byte != 0x7f : blanks && (c == ' ' || c == '\t');
  });
}

void Check(const net::HttpServerRequest& request, size_t body_max) {
  Require(!request.method.empty() && IsPrintable(request.method, false));
  Require(request.path.starts_with('/') && IsPrintable(request.path, false) && IsPrintable(request.query, false));
  size_t bytes = request.method.size() + request.path.size() + request.query.size();
  for (const auto& [name, value] : request.headers) {
    Require(!name.empty() && IsPrintable(name, false) && IsPrintable(value, true));
    bytes += name.size() + value.size();
  }
  Require(bytes <= kHeadMax);
  Require(request.body.size() <= body_max);
  Require(!request.HasParameter("verbose") || request.query.find("verbose") != std::string::npos);
}

// The requests in `bytes`, which come `step` at a time.
std::vector<std::string> Read(std::string_view bytes, size_t step, size_t body_max) {
  net::HttpRequestReader reader(kHeadMax, body_max);
  std::vector<std::string> seen;
  for (;;) {
    const net::HttpRequestReader::State state = reader.Next();
    if (state == net::HttpRequestReader::State::kComplete) {
      const net::HttpServerRequest request = reader.Take();
      Check(request, body_max);
      seen.push_back(request.method + request.path + '?' + request.query + '@' + request.host + request.body);
      continue;
    }
    if (state == net::HttpRequestReader::State::kRefused) {
      Require(net::HttpReason(reader.refusal().status) != "Status" && reader.refusal().status >= 400);
      return seen;
    }
    Require(state == net::HttpRequestReader::State::kPartial || !reader.partial());
    if (bytes.empty()) return seen;
    const std::span<char> space = reader.Space();
    const size_t count = std::min({step, bytes.size(), space.size()});
    Require(count > 0 && space.size() <= kHeadMax);
    std::memcpy(space.data(), bytes.data(), count);
    reader.Received(count);
    bytes.remove_prefix(count);
  }
}

void CheckHost(std::string_view text) {
  static const net::OwnHosts own = *net::OwnHosts::Create("10.0.0.1", {"k2.example"});
  const std::string host = net::CanonicalHost(text);
  Require(host.empty() || net::CanonicalHost(host) == host);
  const bool ours = own.Contains(text, "10.0.0.2");
  Require(ours == (host == "10.0.0.1" || host == "k2.example" || host == "10.0.0.2" || net::IsLoopback(host)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static constexpr std::array<std::string_view, 4> kBegin = {
      "", "GET / HTTP/1.1\r\nHost: a\r\n", "POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET "};
  if (size < 2) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  CheckHost(rest);
  const size_t body_max = data[0] % 2 == 0 ? 0 : 64;
  const std::string bytes = std::string(kBegin.at(data[0] / 2 % kBegin.size())) + std::string(rest);
  Require(Read(bytes, bytes.size() + 1, body_max) == Read(bytes, 1 + data[1] % 32, body_max));
  return 0;
}
