#include "serve/http_status_server.h"

#include <httplib.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <thread>
#include <utility>

#include "base/guard.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/time.h"

namespace k2 {
namespace {

constexpr size_t kThreads = 4;
constexpr time_t kClientTimeoutSeconds = 3;
constexpr time_t kKeepAliveSeconds = 1;  // a stop waits for idle connections at most this long
constexpr size_t kRequestBytesMax = 4096;
constexpr char kText[] = "text/plain; charset=utf-8";
constexpr char kPrometheusText[] = "text/plain; version=0.0.4; charset=utf-8";

constexpr char kIndex[] =
    "k2\n"
    "\n"
    "/metrics          counts and measures, in Prometheus' text format\n"
    "/livez            200 while every layer makes its turns, else 503 and which does not\n"
    "/readyz           200 when all layers are open and what they depend on answers, else 503 and what does not\n"
    "/readyz?verbose   each check, with its state and age\n";

std::string Lines(const HealthReport& report, std::string_view title, bool all) {
  std::string text;
  for (const HealthCheck& check : report.checks) {
    if (check.ok && !all) continue;
    text += fmt::format("[{}] {}: {}", check.ok ? '+' : '-', check.name, check.detail);
    if (check.age_us >= 0) {
      text += fmt::format(" ({:.1f} s ago)", static_cast<double>(check.age_us) / static_cast<double>(kMicrosPerSecond));
    }
    text += '\n';
  }
  if (report.ok && !all) return "ok\n";
  return text + fmt::format("{}: {}\n", title, report.ok ? "ok" : "failed");
}

void Answer(const httplib::Request& request, httplib::Response& response, const HealthReport& report,
            std::string_view title) {
  response.status = report.ok ? 200 : 503;
  response.set_header("Cache-Control", "no-store");
  response.set_content(Lines(report, title, request.has_param("verbose")), kText);
}

// SO_REUSEADDR alone: the library's own choice, SO_REUSEPORT, would let two processes share the port in silence.
void SetSocketOptions(int socket) {
  const int yes = 1;
  ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
}

}  // namespace

std::string HttpAddress::ToString() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

Result<HttpAddress> ParseHttpAddress(std::string_view text) {
  const auto bad = [&] {
    return Fail(ErrorKind::kInvalidArgument, "'{}' is no address to listen on: expected HOST:PORT, such as :9464",
                text);
  };
  HttpAddress address;
  const size_t colon = text.rfind(':');
  std::string_view host = colon == std::string_view::npos ? std::string_view{} : text.substr(0, colon);
  const std::string_view port = colon == std::string_view::npos ? text : text.substr(colon + 1);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
    if (host.empty()) return bad();
  } else if (host.find(':') != std::string_view::npos) {
    return bad();
  }
  if (!host.empty()) address.host = host;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (port.empty() || error != std::errc() || end != port.data() + port.size() || address.port < 0 ||
      address.port > 65'535) {
    return bad();
  }
  return address;
}

class HttpStatusServer::Impl {
 public:
  explicit Impl(const Health& health) {
    server_.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    server_.set_socket_options(SetSocketOptions);
    server_.set_keep_alive_timeout(kKeepAliveSeconds);
    server_.set_read_timeout(kClientTimeoutSeconds);
    server_.set_write_timeout(kClientTimeoutSeconds);
    server_.set_payload_max_length(kRequestBytesMax);
    server_.set_tcp_nodelay(true);
    server_.Get("/", [](const httplib::Request&, httplib::Response& response) { response.set_content(kIndex, kText); });
    server_.Get("/metrics", [](const httplib::Request&, httplib::Response& response) {
      response.set_content(ExposeMetrics(), kPrometheusText);
    });
    server_.Get("/livez", [&health](const httplib::Request& request, httplib::Response& response) {
      Answer(request, response, health.Live(), "livez");
    });
    server_.Get("/readyz", [&health](const httplib::Request& request, httplib::Response& response) {
      Answer(request, response, health.Ready(), "readyz");
    });
    server_.set_exception_handler(
        [](const httplib::Request& request, httplib::Response& response, std::exception_ptr what) {
          const Status told =
              Guarded("the status page, " + request.path, [&]() -> Status { std::rethrow_exception(what); });
          log::Error(told.error().message);
          response.status = 500;
          response.set_content(told.error().message + "\n", kText);
        });
    server_.set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (response.status == 404) response.set_content(fmt::format("not found\n\n{}", kIndex), kText);
    });
  }

  // The port that was taken.
  Result<int> Listen(const HttpAddress& address) {
    errno = 0;
    int port = address.port;
    bool bound = false;
    if (port == 0) {
      port = server_.bind_to_any_port(address.host);
      bound = port > 0;
    } else {
      bound = server_.bind_to_port(address.host, port);
    }
    if (!bound) {
      const int reason = errno;
      return Fail(ErrorKind::kInvalidArgument, "cannot listen on {}: {}; choose another address with --http",
                  address.ToString(), reason == 0 ? "no such host" : std::strerror(reason));
    }
    thread_ = std::jthread([this] { GuardedOrLogged("the status page", [this] { server_.listen_after_bind(); }); });
    // stop() does nothing before the server runs.
    for (int i = 0; i < 1000 && !server_.is_running(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return port;
  }

  ~Impl() { server_.stop(); }

  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

 private:
  httplib::Server server_;
  std::jthread thread_;  // after the server: joined before that goes
};

HttpStatusServer::HttpStatusServer(HttpAddress address, std::unique_ptr<Impl> impl)
    : address_(std::move(address)), impl_(std::move(impl)) {}
HttpStatusServer::~HttpStatusServer() = default;

Result<std::unique_ptr<HttpStatusServer>> HttpStatusServer::Start(const HttpAddress& address, const Health& health) {
  auto impl = std::make_unique<Impl>(health);
  HttpAddress taken = address;
  K2_ASSIGN(taken.port, impl->Listen(address));
  log::Info("status page is up", {{"address", taken.ToString()}});
  return std::unique_ptr<HttpStatusServer>(new HttpStatusServer(std::move(taken), std::move(impl)));
}

}  // namespace k2
