#include "cli/serve_settings.h"

#include "base/health.h"
#include "base/metrics.h"
#include "base/version.h"

namespace k2 {

void AddServeSettings(CLI::App& command, Settings& settings) {
  settings.Add(command, "http", "", "HOST:PORT (or :PORT, on 127.0.0.1) of /metrics, /livez and /readyz; port 0: any");
  settings.Add(
      command, "http-host", "",
      "names under which --http may be asked (the Host header), besides localhost and its address; comma-separated");
  settings.Add(command, "liveness-timeout", "3m", "/livez fails when a layer has made no turn for so long");
}

Result<std::unique_ptr<HttpStatusServer>> StartStatusServer(const Settings& settings) {
  const std::string& text = settings.Text("http");
  if (text.empty()) return nullptr;
  K2_ASSIGN(const HttpAddress address, ParseHttpAddress(text));
  K2_ASSIGN(const int64_t beat_age_max_us, settings.Span("liveness-timeout"));
  ProcessHealth().SetBeatAgeMax(beat_age_max_us);
  GaugeOf("k2_build_info", "1, with the version of this k2.", {{"version", kVersion}}).Set(1);
  auto server = HttpStatusServer::Start(address, ProcessHealth(), settings.List("http-host"));
  if (!server) {
    return Fail(server.error().kind, "{}; see --http and --http-host", server.error().message);
  }
  return server;
}

}  // namespace k2
