#include "net/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <string_view>

namespace k2::net {
namespace {

constexpr size_t kIdleHandlesMax = 16;
constexpr int64_t kHeaderBytesMax = int64_t{1} << 20;
constexpr int64_t kConnectionsPerHandleMax = 4;

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.back() == '\r' || text.back() == '\n' || text.back() == ' ' || text.back() == '\t')) {
    text.remove_suffix(1);
  }
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  return text;
}

// One exchange, as libcurl's callbacks see it.
struct Exchange {
  HttpResponse response;
  int64_t body_bytes_max = 0;
  const HttpRequest* request = nullptr;
  std::optional<Error> stopped;  // by the request's before_send
  int64_t header_bytes = 0;
  bool too_large = false;
  bool sending = false;  // a connection was ready: bytes of the request may be on their way
};

size_t OnBody(char* data, size_t size, size_t count, void* context) noexcept {
  auto& exchange = *static_cast<Exchange*>(context);
  const size_t bytes = size * count;
  try {
    if (static_cast<int64_t>(exchange.response.body.size() + bytes) > exchange.body_bytes_max) {
      exchange.too_large = true;
      return 0;
    }
    exchange.response.body.append(data, bytes);
  } catch (const std::bad_alloc&) {
    exchange.too_large = true;
    return 0;
  }
  return bytes;
}

size_t OnHeader(char* data, size_t size, size_t count, void* context) noexcept {
  auto& exchange = *static_cast<Exchange*>(context);
  const std::string_view line(data, size * count);
  exchange.header_bytes += static_cast<int64_t>(line.size());
  if (exchange.header_bytes > kHeaderBytesMax) {
    exchange.too_large = true;
    return 0;
  }
  if (line.starts_with("HTTP/")) {  // of the final reply, after any 100 Continue
    exchange.response.headers.clear();
    return line.size();
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return line.size();
  std::string name(Trim(line.substr(0, colon)));
  std::ranges::transform(name, name.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  const std::string_view value = Trim(line.substr(colon + 1));
  const auto [entry, added] = exchange.response.headers.try_emplace(std::move(name), value);
  if (!added) entry->second.append(", ").append(value);
  return line.size();
}

// Called when a connection stands, TLS and all, before anything of the request goes out.
int OnReady(void* context, char*, char*, int, int) noexcept {
  auto& exchange = *static_cast<Exchange*>(context);
  if (exchange.request->before_send) {
    if (Status ready = exchange.request->before_send(); !ready) {
      exchange.stopped = std::move(ready).error();
      return CURL_PREREQFUNC_ABORT;
    }
  }
  exchange.sending = true;
  return CURL_PREREQFUNC_OK;
}

class HeaderList {
 public:
  HeaderList() = default;
  HeaderList(const HeaderList&) = delete;
  HeaderList& operator=(const HeaderList&) = delete;
  ~HeaderList() { curl_slist_free_all(list_); }
  bool Add(const std::string& line) {
    curl_slist* longer = curl_slist_append(list_, line.c_str());
    if (longer == nullptr) return false;
    list_ = longer;
    return true;
  }
  [[nodiscard]] curl_slist* get() const { return list_; }

 private:
  curl_slist* list_ = nullptr;
};

struct HandleCloser {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
using Handle = std::unique_ptr<CURL, HandleCloser>;

bool HasHeader(const HttpRequest& request, std::string_view name) {
  return std::ranges::any_of(request.headers, [&](const auto& header) {
    return std::ranges::equal(header.first, name,
                              [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; });
  });
}

class CurlHttpClient : public HttpClient {
 public:
  explicit CurlHttpClient(HttpOptions options) : options_(std::move(options)) {}
  Result<HttpResponse> Send(const HttpRequest& request) override;

 private:
  Handle Take();
  void Give(Handle handle);
  Status SetUp(CURL* handle, const HttpRequest& request, HeaderList& headers) const;

  const HttpOptions options_;
  std::mutex mutex_;
  std::vector<Handle> idle_;  // each keeps its connections; the warmest last
};

Handle CurlHttpClient::Take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      Handle handle = std::move(idle_.back());
      idle_.pop_back();
      return handle;
    }
  }
  return Handle(curl_easy_init());
}

void CurlHttpClient::Give(Handle handle) {
  curl_easy_reset(handle.get());  // options go, connections stay
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kIdleHandlesMax) idle_.push_back(std::move(handle));
}

Status CurlHttpClient::SetUp(CURL* handle, const HttpRequest& request, HeaderList& headers) const {
  for (const auto& [name, value] : request.headers) {
    if (name.empty() || (name + value).find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) {
      return Fail(ErrorKind::kInvalidArgument, "HTTP header '{}' holds a line break or has no name", name);
    }
    // libcurl's form of a header without a value is "Name;".
    if (!headers.Add(value.empty() ? name + ";" : name + ": " + value)) return Fail(ErrorKind::kInternal, "no memory");
  }
  const bool has_body = !request.body.empty() || request.method == "POST" || request.method == "PUT";
  // Neither a wait for "100 Continue" nor a type that the caller did not give.
  if (!headers.Add("Expect:")) return Fail(ErrorKind::kInternal, "no memory");
  if (has_body && !HasHeader(request, "content-type") && !headers.Add("Content-Type:")) {
    return Fail(ErrorKind::kInternal, "no memory");
  }
  const auto set = [handle](CURLoption option, auto value) {
    return curl_easy_setopt(handle, option, value) == CURLE_OK;
  };
  bool ok = set(CURLOPT_URL, request.url.c_str()) && set(CURLOPT_PROTOCOLS_STR, "http,https") &&
            set(CURLOPT_HTTPHEADER, headers.get()) && set(CURLOPT_NOSIGNAL, 1L) &&
            set(CURLOPT_USERAGENT, options_.user_agent.c_str()) &&
            set(CURLOPT_HTTP_CONTENT_DECODING, request.body_as_sent ? 0L : 1L) &&
            // No redirects: the next host would be sent what is meant for this one. HTTP/2 may repeat requests itself.
            set(CURLOPT_FOLLOWLOCATION, 0L) && set(CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1}) &&
            set(CURLOPT_TCP_KEEPALIVE, 1L) && set(CURLOPT_MAXCONNECTS, long{kConnectionsPerHandleMax}) &&
            set(CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<int64_t>(1, request.timeout_ms))) &&
            set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::max<int64_t>(1, request.connect_timeout_ms))) &&
            set(CURLOPT_FRESH_CONNECT, request.fresh_connection ? 1L : 0L);
  if (!request.body_as_sent) ok = ok && set(CURLOPT_ACCEPT_ENCODING, "gzip");
  if (request.direct) ok = ok && set(CURLOPT_NOPROXY, "*");
  if (!options_.ca_file.empty()) ok = ok && set(CURLOPT_CAINFO, options_.ca_file.c_str());
  if (request.method == "HEAD") {
    ok = ok && set(CURLOPT_NOBODY, 1L);
  } else if (has_body) {
    ok = ok && set(CURLOPT_POST, 1L) &&
         set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size())) &&
         set(CURLOPT_POSTFIELDS, request.body.data()) && set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  } else {
    ok = ok && set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
  }
  if (!ok)
    return Fail(ErrorKind::kInternal, "libcurl refused an option of {} {}", request.method,
                WithoutSecrets(request.url));
  return {};
}

std::unexpected<Error> Failure(CURLcode code, const char* detail, const Exchange& exchange, const HttpRequest& request,
                               int64_t body_bytes_max) {
  const std::string what = request.method + " " + WithoutSecrets(request.url);
  const std::string_view text = *detail != '\0' ? detail : curl_easy_strerror(code);
  if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL) {
    return Fail(ErrorKind::kInvalidArgument, "'{}' is no http:// or https:// address: {}", WithoutSecrets(request.url),
                text);
  }
  if (!exchange.sending) return Fail(ErrorKind::kUnavailable, "{}: not sent: {}", what, text);
  if (exchange.too_large) return Fail(ErrorKind::kIo, "{}: the reply is larger than {} bytes", what, body_bytes_max);
  return Fail(ErrorKind::kIo, "{}: sent, but no complete reply was received: {}", what, text);
}

Result<HttpResponse> CurlHttpClient::Send(const HttpRequest& request) {
  Handle handle = Take();
  if (!handle) return Fail(ErrorKind::kInternal, "libcurl returned no handle");
  HeaderList headers;
  K2_TRY(SetUp(handle.get(), request, headers));
  Exchange exchange{.body_bytes_max = options_.max_response_bytes, .request = &request};
  char detail[CURL_ERROR_SIZE] = {};
  curl_easy_setopt(handle.get(), CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(handle.get(), CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(handle.get(), CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(handle.get(), CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(handle.get(), CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(handle.get(), CURLOPT_PREREQFUNCTION, OnReady);
  curl_easy_setopt(handle.get(), CURLOPT_PREREQDATA, &exchange);
  const CURLcode code = curl_easy_perform(handle.get());
  if (exchange.stopped) return std::unexpected(*std::move(exchange.stopped));
  if (code != CURLE_OK) return Failure(code, detail, exchange, request, options_.max_response_bytes);
  long status = 0;
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &status);
  exchange.response.status = static_cast<int>(status);
  Give(std::move(handle));
  return std::move(exchange.response);
}

}  // namespace

std::shared_ptr<HttpClient> MakeHttpClient(const HttpOptions& options) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
  return std::make_shared<CurlHttpClient>(options);
}

Result<std::vector<std::pair<std::string, std::string>>> ParseHeaderLines(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> headers;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = Trim(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty()) continue;
    const std::string name(Trim(line.substr(0, line.find(':'))));
    std::string lower = name;
    std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
    const bool named =
        line.find(':') != std::string_view::npos && !name.empty() &&
        lower.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") == std::string::npos;
    if (!named) {
      return Fail(ErrorKind::kInvalidArgument, "HTTP header {}: expected Name: value, one a line", headers.size() + 1);
    }
    for (const char* own : {"host", "content-length", "transfer-encoding", "connection", "content-type"}) {
      if (lower == own) return Fail(ErrorKind::kInvalidArgument, "HTTP header {} cannot be set", name);
    }
    headers.emplace_back(name, Trim(line.substr(line.find(':') + 1)));
  }
  return headers;
}

std::string WithoutSecrets(const std::string& url) {
  std::string text = url.substr(0, url.find_first_of("?#"));
  const size_t scheme = text.find("://");
  if (scheme == std::string::npos) return text;
  const size_t host = scheme + 3;
  const size_t at = text.substr(0, text.find('/', host)).rfind('@');
  if (at != std::string::npos && at >= host) text.erase(host, at + 1 - host);
  return text;
}

std::string UrlEncode(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    if (plain) {
      encoded += c;
    } else {
      encoded += '%';
      encoded += kHex[byte >> 4];
      encoded += kHex[byte & 15];
    }
  }
  return encoded;
}

}  // namespace k2::net
