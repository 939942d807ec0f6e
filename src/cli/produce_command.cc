#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/guard.h"
#include "base/log.h"
#include "base/time.h"
#include "cli/commands.h"
#include "cli/kafka_settings.h"
#include "cli/rows_output.h"
#include "cli/stop_on_signal.h"
#include "exchange/registry.h"
#include "kafka/produce.h"

namespace k2::cli {
namespace {

struct ProduceFlags {
  std::vector<std::string> recordings;
  std::vector<std::string> simulate;
  recording::SimulatorOptions simulator;
  std::string start = "2024-01-02";
  std::string compression = "lz4";
  kafka::ProduceOptions options;
};

Result<const exchange::Exchange*> ExchangeOf(const std::string& flag, const std::string& name) {
  Result<const exchange::Exchange*> exchange = exchange::KnownExchange(name);
  return exchange ? exchange : std::unexpected(exchange.error().With("--" + flag));
}

Status AddInputs(const ProduceFlags& flags, kafka::ProduceOptions& options) {
  for (const std::string& text : flags.recordings) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals + 1 == text.size()) {
      return Fail(ErrorKind::kInvalidArgument, "--recording {}: expected EXCHANGE=FILE, such as binance=btc.gz", text);
    }
    K2_ASSIGN(const exchange::Exchange* const exchange, ExchangeOf("recording", text.substr(0, equals)));
    options.inputs.push_back({.exchange = exchange, .recording = text.substr(equals + 1)});
  }
  recording::SimulatorOptions session = flags.simulator;
  const Result<int64_t> start = ParseTimestamp(flags.start);
  if (!start) return Fail(ErrorKind::kInvalidArgument, "--start: {}", start.error().message);
  session.start_us = *start;
  for (const std::string& name : flags.simulate) {
    K2_ASSIGN(const exchange::Exchange* const exchange, ExchangeOf("simulate", name));
    options.inputs.push_back({.exchange = exchange, .simulator = session});
  }
  if (options.inputs.empty()) {
    return Fail(ErrorKind::kInvalidArgument,
                "nothing to produce: give --recording EXCHANGE=FILE or --simulate EXCHANGE");
  }
  if (options.live && (!flags.recordings.empty() || options.messages_per_second <= 0)) {
    return Fail(ErrorKind::kInvalidArgument, "--live is for --simulate, at a --rate");
  }
  if (options.messages_per_second > 0 && options.speed > 0) {
    return Fail(ErrorKind::kInvalidArgument, "--rate and --speed cannot both be kept");
  }
  return {};
}

// Asks the registry, and once more where it did not answer: one that is slow or restarts ends no run before it began.
template <typename Ask>
auto AskTwice(const std::atomic<bool>& stop, const Ask& ask) {
  auto answer = ask();
  if (answer || answer.error().kind != ErrorKind::kUnavailable) return answer;
  log::Warn("the schema registry did not answer; retrying once", {{"error", answer.error().message}});
  for (int slice = 0; slice < 20 && !stop; ++slice) std::this_thread::sleep_for(std::chrono::milliseconds(50));
  return stop ? std::move(answer) : ask();
}

// The id of a schema under the name of its record, which is the same for all topics (RecordNameStrategy).
Result<int32_t> Register(registry::RegistryClient& registry, std::string_view name, std::string_view schema,
                         const std::atomic<bool>& stop) {
  const std::string subject(name);
  K2_ASSIGN(const bool compatible, AskTwice(stop, [&] { return registry.Compatible(subject, schema); }));
  if (!compatible) {
    return Fail(ErrorKind::kInvalidData,
                "the registry holds a schema under {} that this K2's is not compatible with; nothing was sent",
                subject);
  }
  return AskTwice(stop, [&] { return registry.Register(subject, schema); });
}

class ProduceProgressBar {
 public:
  explicit ProduceProgressBar(const kafka::ProduceProgress& progress) : progress_(progress) {
    if (!IsTerminal(STDERR_FILENO)) return;
    thread_ = std::jthread([this](const std::stop_token& ended) {
      GuardedOrLogged("the progress bar", [&] {
        while (!ended.stop_requested()) {
          Draw();
          std::this_thread::sleep_for(std::chrono::milliseconds(100));
        }
      });
      std::fputs("\r\x1b[K", stderr);
    });
  }

 private:
  void Draw() const {
    const int64_t total = std::max<int64_t>(progress_.total, 1);
    const int64_t done = std::min<int64_t>(progress_.done, total);
    std::string bar;
    for (int64_t i = 0; i < 24; ++i) bar += i < done * 24 / total ? "█" : "░";
    std::fprintf(stderr, "\r\x1b[K%s %3d%%  %s messages", bar.c_str(), static_cast<int>(done * 100 / total),
                 WithCommas(progress_.sent).c_str());
    std::fflush(stderr);
  }
  const kafka::ProduceProgress& progress_;
  std::jthread thread_;
};

void PrintReport(const kafka::ProduceReport& report, bool json) {
  const double seconds = static_cast<double>(std::max<int64_t>(report.elapsed_us, 1)) / 1e6;
  const auto rate = static_cast<int64_t>(static_cast<double>(report.delivered) / seconds);
  if (json) {
    const nlohmann::ordered_json object = {{"messages", report.sent},    {"delivered", report.delivered},
                                           {"failed", report.failed},    {"bytes", report.bytes},
                                           {"elapsed_seconds", seconds}, {"messages_per_second", rate}};
    std::printf("%s\n", object.dump(2).c_str());
    return;
  }
  std::printf("%s messages, %s, in %.1f s: %s a second\n", WithCommas(report.delivered).c_str(),
              HumanBytes(report.bytes).c_str(), seconds, WithCommas(rate).c_str());
}

Result<int> RunProduce(const Settings& settings, const ProduceFlags& flags) {
  kafka::ProduceOptions options = flags.options;
  K2_TRY(AddInputs(flags, options));
  const std::string& output = settings.Text("output");
  if (output != "table" && output != "json") {
    return Fail(ErrorKind::kInvalidArgument, "--output {}: table or json", output);
  }
  K2_ASSIGN(options.kafka, KafkaOptionsOf(settings));
  options.kafka.compression = flags.compression;
  StopOnSignal signals;
  K2_ASSIGN(const std::shared_ptr<registry::RegistryClient> registry, RegistryOf(settings));
  if (registry) {
    K2_ASSIGN(options.trade_schema_id,
              Register(*registry, trade::kTradeV3Name, trade::kTradeV3SchemaJson, signals.stop()));
    K2_ASSIGN(options.rejected_schema_id,
              Register(*registry, trade::kRejectedFrameName, trade::kRejectedFrameSchemaJson, signals.stop()));
  }
  kafka::ProduceProgress progress;
  Result<kafka::ProduceReport> report = std::unexpected(Error{});
  {
    const ProduceProgressBar bar(progress);
    report = kafka::Produce(options, signals.stop(), progress);
  }
  if (!report) return std::unexpected(report.error());
  PrintReport(*report, output == "json");
  if (report->failed == 0) return 0;
  std::fprintf(stderr, "k2: %s of %s messages were not delivered: %s\n", WithCommas(report->failed).c_str(),
               WithCommas(report->sent).c_str(), report->first_failure.c_str());
  return 1;
}

}  // namespace

void AddProduce(Program& program) {
  CLI::App* command =
      AddCommand(program, kCollectCommands, "produce", "Send recordings or a simulated session to Kafka");
  auto flags = std::make_shared<ProduceFlags>();
  kafka::ProduceOptions& options = flags->options;
  recording::SimulatorOptions& simulator = flags->simulator;
  command->add_option("--recording", flags->recordings, "Send a recorded feed (plain, .gz, .zst); repeatable")
      ->type_name("EXCHANGE=FILE");
  command->add_option("--simulate", flags->simulate, exchange::ExchangeNames() + ": a seeded session; repeatable");
  command->add_option("--trades", simulator.trades, "Distinct valid trades of each session")->capture_default_str();
  command->add_option("--seed", simulator.seed, "The same seed gives the same messages")->capture_default_str();
  command->add_option("--start", flags->start, "Start of the session, UTC")->type_name("TIME")->capture_default_str();
  command->add_option("--first-id", simulator.first_id, "First id of each symbol's trades")->capture_default_str();
  command->add_option("--malformed-ppm", simulator.malformed_ppm, "Malformed frames, parts per million")
      ->capture_default_str();
  command->add_flag("--live", options.live, "With --simulate and --rate: the session happens now");
  command->add_option("--rate", options.messages_per_second, "Messages per second; 0: as many as possible")
      ->capture_default_str();
  command->add_option("--speed", options.speed, "Send as received, this many times as fast");
  command->add_option("--topic-prefix", options.topic_prefix, "Prefix of topics; the exchange's name follows")
      ->capture_default_str();
  command->add_option("--create-topics", options.create_partitions, "Create missing topics with this many partitions");
  command->add_option("--replication", options.replication, "Replication of created topics; 0: the brokers' default");
  command->add_option("--compression", flags->compression, "Compression: lz4, zstd, snappy, gzip or none")
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  k2 produce --kafka localhost:9092 --recording binance=btcusdt.gz --create-topics 12\n"
      "  k2 produce --kafka localhost:9092 --registry http://localhost:8081/apis/ccompat/v7 \\\n"
      "    --simulate binance --trades 1000000 --rate 20000 --live");
  command->callback(
      [&program, flags] { program.action = [&program, flags] { return RunProduce(program.settings, *flags); }; });
}

}  // namespace k2::cli
