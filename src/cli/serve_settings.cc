#include "cli/serve_settings.h"

#include "base/health.h"
#include "base/metrics.h"
#include "base/version.h"

namespace k2::cli {

void AddServeSettings(CLI::App& command, Settings& settings) {
  const SettingText texts[] = {
      {"http", "HOST:PORT", "", "Serve /metrics, /livez and /readyz here; :PORT: on 127.0.0.1; port 0: a free one"},
      {"http-host", "NAMES", "",
       "Comma-separated names to answer to (the Host header), besides localhost and the address"},
      {"liveness-timeout", "DURATION", "3m", "Let /livez fail when a layer has made no progress for this long"},
  };
  for (const SettingText& text : texts) settings.Add(command, text);
}

Result<std::unique_ptr<server::HttpStatusServer>> StartStatusServer(const Settings& settings) {
  const std::string& text = settings.Text("http");
  if (text.empty()) return nullptr;
  K2_ASSIGN(const net::HttpAddress address, net::ParseHttpAddress(text));
  K2_ASSIGN(const int64_t beat_age_max_us, settings.Span("liveness-timeout"));
  ProcessHealth().SetBeatAgeMax(beat_age_max_us);
  GaugeOf("k2_build_info", "1, with the version of this k2.", {{"version", kVersion}}).Set(1);
  auto server = server::HttpStatusServer::Start(address, ProcessHealth(), settings.List("http-host"));
  if (!server) {
    return Fail(server.error().kind, "{}; see --http and --http-host", server.error().message);
  }
  return server;
}

}  // namespace k2::cli
