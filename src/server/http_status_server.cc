#include "server/http_status_server.h"

#include <utility>

#include "base/log.h"
#include "base/metrics.h"
#include "base/time.h"

namespace k2::server {
namespace {

constexpr char kPrometheusText[] = "text/plain; version=0.0.4; charset=utf-8";
// The work of the layers comes first where cores are short; a tenth of a core is enough to answer.
constexpr int kNiceness = 10;

constexpr char kIndex[] =
    "k2\n\n/metrics          counts and measures, in Prometheus' text format\n/livez            200 while every layer "
    "makes progress, else 503 and which does not\n/readyz           200 when all layers are open and their "
    "dependencies respond, else 503 and which do not\n/readyz?verbose   each check, with its state and age\n";

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

net::HttpServerResponse Report(const net::HttpServerRequest& request, const HealthReport& report,
                               std::string_view title) {
  return {.status = report.ok ? 200 : 503, .body = Lines(report, title, request.HasParameter("verbose"))};
}

net::HttpServerResponse Page(const net::HttpServerRequest& request, const Health& health) {
  if (request.path == "/") return {.body = kIndex};
  if (request.path == "/metrics") return {.body = ExposeMetrics(), .content_type = kPrometheusText};
  if (request.path == "/livez") return Report(request, health.Live(), "livez");
  if (request.path == "/readyz") return Report(request, health.Ready(), "readyz");
  return {.status = 404, .body = fmt::format("not found\n\n{}", kIndex)};
}

}  // namespace

net::HttpServerResponse StatusResponse(const net::HttpServerRequest& request, const Health& health) {
  net::HttpServerResponse response;
  if (request.method == "GET" || request.method == "HEAD") {
    response = Page(request, health);
  } else {
    response = {.status = 405, .body = "only GET and HEAD are supported\n", .headers = {{"Allow", "GET, HEAD"}}};
  }
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

HttpStatusServer::HttpStatusServer(std::unique_ptr<net::HttpServer> server) : server_(std::move(server)) {}
HttpStatusServer::~HttpStatusServer() = default;

Result<std::unique_ptr<HttpStatusServer>> HttpStatusServer::Start(const net::HttpAddress& address, const Health& health,
                                                                  const std::vector<std::string>& hosts) {
  net::HttpServerOptions options{.address = address, .hosts = hosts, .niceness = kNiceness};
  options.paths = {{"/livez", {.unlimited = true, .any_host_beyond_loopback = true}},
                   {"/readyz", {.unlimited = true, .any_host_beyond_loopback = true}},
                   {"/metrics", {.any_host_beyond_loopback = true}}};
  K2_ASSIGN(auto server, net::HttpServer::Start(std::move(options), [&health](const net::HttpServerRequest& request) {
              return StatusResponse(request, health);
            }));
  log::Info("status page is available", {{"address", server->address().ToString()}});
  return std::unique_ptr<HttpStatusServer>(new HttpStatusServer(std::move(server)));
}

}  // namespace k2::server
