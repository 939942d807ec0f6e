#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "base/guard.h"
#include "base/similar.h"
#include "base/time.h"
#include "cli/commands.h"
#include "cli/kafka_settings.h"
#include "cli/layer_settings.h"
#include "cli/rows_output.h"
#include "cli/serve_settings.h"
#include "cli/stop_on_signal.h"
#include "exchange/registry.h"
#include "maintenance/schedule.h"
#include "pipeline/nothing_taken.h"
#include "pipeline/runner.h"
#include "task/market_tables.h"

namespace k2::cli {
namespace {

constexpr int64_t kTriesAfterStopUs = 10'000'000;  // then nothing is tried again

struct RunFlags {
  std::vector<std::string> recordings;
  std::string layer;
  bool follow = false;
  bool until_caught_up = false;
  bool standby = false;
};

Result<pipeline::RecordingSpec> ParseRecording(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size()) {
    return Fail(ErrorKind::kInvalidArgument, "--recording {}: expected EXCHANGE=FILE, such as binance=btc.gz", text);
  }
  pipeline::RecordingSpec spec{.exchange = text.substr(0, equals), .path = text.substr(equals + 1)};
  if (const auto known = exchange::KnownExchange(spec.exchange); !known) {
    return std::unexpected(known.error().With("--recording " + text));
  }
  return spec;
}

Status SetKafka(const Settings& settings, const RunFlags& flags, pipeline::RunOptions& options) {
  K2_ASSIGN(const pipeline::KafkaFeed feed, KafkaFeedOf(settings));
  options.endless = !flags.until_caught_up;
  options.standby = flags.standby;
  options.layer.owns = OwnedBy(feed);
  options.sources = [feed] { return pipeline::OpenKafka(feed); };
  return {};
}

Status SetRecordings(const RunFlags& flags, pipeline::RunOptions& options,
                     std::vector<pipeline::RecordingSpec>& recordings) {
  for (const std::string& text : flags.recordings) {
    K2_ASSIGN(pipeline::RecordingSpec spec, ParseRecording(text));
    // Asked before anything is made: a mistyped path must not leave an empty warehouse behind.
    if (!std::filesystem::exists(spec.path)) {
      return Fail(ErrorKind::kNotFound, "there is no recording {}", spec.path);
    }
    recordings.push_back(std::move(spec));
  }
  options.endless = flags.follow;
  options.sources = [recordings, follow = flags.follow] { return pipeline::OpenRecordings(recordings, follow); };
  return {};
}

Result<pipeline::RunOptions> MakeOptions(const Settings& settings, const RunFlags& flags) {
  pipeline::RunOptions options;
  if (!flags.layer.empty()) {
    K2_ASSIGN(const pipeline::LayerId layer, LayerOfFlag(flags.layer));
    options.bronze = layer == pipeline::LayerId::kBronze;
    options.silver = layer == pipeline::LayerId::kSilver;
    options.gold = layer == pipeline::LayerId::kGold;
  }
  const bool kafka = !settings.Text("kafka").empty() && flags.recordings.empty();
  if (options.bronze && flags.recordings.empty() && !kafka) {
    return WithHint(Fail(ErrorKind::kInvalidArgument, "run needs a source"),
                    "--recording binance=FILE, --kafka HOST:PORT, or --layer silver or gold");
  }
  if (!options.bronze && !flags.recordings.empty()) {
    return Fail(ErrorKind::kInvalidArgument, "--layer {} reads its upstream table, not a recording", flags.layer);
  }
  if (flags.follow && flags.until_caught_up) {
    return Fail(ErrorKind::kInvalidArgument, "--follow waits for more, --until-caught-up does not: give one of them");
  }
  std::vector<pipeline::RecordingSpec> recordings;
  if (kafka) {
    K2_TRY(SetKafka(settings, flags, options));
  } else {
    K2_TRY(SetRecordings(flags, options, recordings));
  }
  K2_ASSIGN(options.layer.rows_per_step, settings.Number("rows-per-commit", 1));
  K2_ASSIGN(options.layer.bytes_per_step, settings.Bytes("bytes-per-commit"));
  K2_ASSIGN(const int64_t threads, settings.Number("threads", 0));
  options.layer.threads =
      static_cast<int32_t>(threads > 0 ? threads : std::max(1U, std::thread::hardware_concurrency()));
  K2_ASSIGN(options.layer.gold_index_bytes, settings.Bytes("dedup-memory"));
  K2_ASSIGN(options.cache_bytes, settings.Bytes("batch-cache-size"));
  K2_ASSIGN(options.commit_interval_us, settings.Span("commit-interval"));
  K2_ASSIGN(options.takeover_us, settings.Span("takeover-after"));
  K2_ASSIGN(options.outage_us_max, settings.Span("retry-timeout"));
  K2_ASSIGN(options.poll_us, settings.Span("poll-interval"));
  options.layer.schema_folder = settings.Text("schemas");
  K2_ASSIGN(options.schemas, SchemasOf(settings));
  return options;
}

Status SetCompaction(const Settings& settings, maintenance::MaintenanceOptions& upkeep) {
  K2_ASSIGN(upkeep.compaction.settled_us, settings.Span("compact-settled"));
  if (settings.Text("compact") == "none") return {};
  const std::vector<std::string> tables = task::AllTables();
  for (const std::string& name : settings.List("compact")) {
    if (std::ranges::find(tables, name) == tables.end()) {
      return WithHint(Fail(ErrorKind::kInvalidArgument, "--compact {}: there is no such table", name),
                      DidYouMean(name, tables, fmt::format("the tables are {}; or none", fmt::join(tables, ", "))));
    }
    upkeep.compact.insert(name);
  }
  return {};
}

// A line on standard error that is drawn again and again, where that is a terminal.
class ProgressBar {
 public:
  explicit ProgressBar(const pipeline::RunProgress& progress) : progress_(progress) {
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
    const int64_t total = std::max<int64_t>(progress_.bytes_total, 1);
    const int64_t part = std::min<int64_t>(progress_.bytes_read * 24 / total, 24);
    std::string bar;
    for (int64_t i = 0; i < 24; ++i) bar += i < part ? "█" : "░";
    std::fprintf(stderr, "\r\x1b[K%s %3d%%  bronze %s  silver %s  gold %s", bar.c_str(),
                 static_cast<int>(std::min<int64_t>(progress_.bytes_read * 100 / total, 100)),
                 WithCommas(progress_.bronze_rows).c_str(), WithCommas(progress_.silver_rows).c_str(),
                 WithCommas(progress_.gold_rows).c_str());
    std::fflush(stderr);
  }
  const pipeline::RunProgress& progress_;
  std::jthread thread_;
};

int64_t Quantile(std::vector<int64_t> values, double share) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

nlohmann::ordered_json LayerJson(const pipeline::LayerStats& stats, int64_t elapsed_us) {
  const auto rate = [](int64_t rows, int64_t micros) {
    return micros > 0 ? static_cast<int64_t>(static_cast<double>(rows) * 1e6 / static_cast<double>(micros)) : 0;
  };
  return {{"rows_in", stats.rows_in},
          {"rows_out", stats.rows_out},
          {"commits", stats.commits},
          {"commit_attempts", stats.commit_attempts},
          {"files", stats.files},
          {"file_bytes", stats.file_bytes},
          {"rejected", stats.rejected},
          {"duplicates", stats.duplicates},
          {"identity_conflicts", stats.identity_conflicts},
          {"frames", stats.source.frames},
          {"frames_skipped", stats.source.frames_skipped},
          {"frames_other", stats.source.frames_other},
          {"frames_rejected", stats.source.frames_rejected},
          {"rows_per_second", rate(stats.rows_in, elapsed_us)},
          {"rows_per_busy_second", rate(stats.rows_in, stats.run_us + stats.commit_us)},
          {"task_seconds", static_cast<double>(stats.run_us) / 1e6},
          {"commit_seconds", static_cast<double>(stats.commit_us) / 1e6},
          {"step_ms_p50", static_cast<double>(Quantile(stats.step_us, 0.5)) / 1e3},
          {"step_ms_p99", static_cast<double>(Quantile(stats.step_us, 0.99)) / 1e3}};
}

// "frame_bad_type 11, frame_not_json 8, and 6 other reasons", the most frequent first.
std::string MostRejected(const std::map<std::string, int64_t>& rejected) {
  constexpr size_t kReasonsMax = 3;
  std::vector<std::pair<int64_t, std::string_view>> reasons;
  for (const auto& [reason, count] : rejected) reasons.emplace_back(-count, reason);
  std::ranges::sort(reasons);
  std::string text;
  for (size_t i = 0; i < std::min(reasons.size(), kReasonsMax); ++i) {
    text += fmt::format("{}{} {}", i == 0 ? "" : ", ", reasons[i].second, WithCommas(-reasons[i].first));
  }
  if (reasons.size() > kReasonsMax) text += fmt::format(", and {} other reasons", reasons.size() - kReasonsMax);
  return text;
}

std::string LayerLine(const char* name, const pipeline::LayerStats& stats, int64_t rows, const std::string& more) {
  std::string line = fmt::format("{:<7} {:>13} rows  {:>10}  {:>5} commit{}", name, WithCommas(rows),
                                 HumanBytes(stats.file_bytes), stats.commits, stats.commits == 1 ? "" : "s");
  if (!more.empty()) line += fmt::format("{}   {}", stats.commits == 1 ? " " : "", more);
  return line + "\n";
}

// What was read, what each layer has written, what was rejected and dropped: in so many lines. `steps`: how long the
// layers' steps took, too.
std::string SummaryOf(const pipeline::RunReport& report, const pipeline::RunOptions& options, bool steps) {
  const int64_t read =
      report.bronze.rows_in + report.bronze.source.frames + report.silver.rows_in + report.gold.rows_in;
  if (read == 0) return report.failures.empty() ? "Up to date: nothing new to read\n" : "";
  std::string text;
  const double seconds = static_cast<double>(report.elapsed_us) / 1e6;
  const auto rate = [&](int64_t rows) {
    return WithCommas(report.elapsed_us > 0 ? static_cast<int64_t>(static_cast<double>(rows) / seconds) : 0);
  };
  const source::SourceCounts& source = report.bronze.source;
  if (options.bronze) {
    text += "Read ";
    if (source.frames > 0) text += fmt::format("{} frames: ", WithCommas(source.frames));
    text += fmt::format("{} messages", WithCommas(report.bronze.rows_in));
    if (source.frames_skipped > 0) text += fmt::format(", {} frames without trades", WithCommas(source.frames_skipped));
    if (source.frames_rejected > 0) text += fmt::format(", {} unreadable", WithCommas(source.frames_rejected));
    text += fmt::format("   {:.1f} s, {} messages/s\n", seconds, rate(report.bronze.rows_in));
    text += LayerLine("Bronze", report.bronze, report.bronze.rows_out, "");
  }
  if (options.silver) {
    const auto found = report.silver.rows_by_table.find(std::string(task::kRejectedTable));
    const int64_t rejected = found == report.silver.rows_by_table.end() ? 0 : found->second;
    std::string more;
    if (rejected > 0) {
      const double share = 100.0 * static_cast<double>(rejected) / static_cast<double>(report.silver.rows_in);
      more = fmt::format("{} rejected ({} %)", WithCommas(rejected),
                         share < 0.01 ? "< 0.01" : fmt::format("{:.2f}", share));
    }
    text += LayerLine("Silver", report.silver, report.silver.rows_out, more);
  }
  if (options.gold) {
    std::string more;
    if (report.gold.duplicates > 0) more = fmt::format("{} duplicates dropped", WithCommas(report.gold.duplicates));
    text += LayerLine("Gold", report.gold, report.gold.rows_out, more);
    if (report.gold.identity_conflicts > 0) {
      text += fmt::format("Identity conflicts: {} trades have the id of another one with other contents\n",
                          WithCommas(report.gold.identity_conflicts));
    }
  }
  if (!report.silver.rejected.empty()) {
    text += fmt::format("Rejected: {} (k2 query \"FROM rejected_trades\")\n", MostRejected(report.silver.rejected));
  }
  if (!steps) return text;
  for (const auto& [name, stats] :
       {std::pair("Bronze", &report.bronze), std::pair("Silver", &report.silver), std::pair("Gold", &report.gold)}) {
    if (stats->step_us.empty()) continue;
    text += fmt::format("{:<7} step p50 {:.0f} ms, p99 {:.0f} ms\n", name,
                        static_cast<double>(Quantile(stats->step_us, 0.5)) / 1e3,
                        static_cast<double>(Quantile(stats->step_us, 0.99)) / 1e3);
  }
  return text;
}

Result<int> RunPipeline(const Settings& settings, const RunFlags& flags) {
  K2_ASSIGN(pipeline::RunOptions options, MakeOptions(settings, flags));
  const std::string& output = settings.Text("output");
  if (output != "table" && output != "json") {
    return Fail(ErrorKind::kInvalidArgument, "--output {}: a run reports as table or json", output);
  }
  maintenance::MaintenanceOptions upkeep;
  K2_ASSIGN(upkeep.retention, RetentionOf(settings));
  K2_ASSIGN(upkeep.interval_us, settings.Span("retention-interval"));
  K2_TRY(SetCompaction(settings, upkeep));
  K2_ASSIGN(const bool by_catalog, MaintainedByCatalog(settings));
  if (by_catalog) {
    upkeep.expire = false;
    upkeep.compact.clear();
  }
  StopOnSignal signals;
  const auto stopping = [&signals] { return signals.StoppedFor(kTriesAfterStopUs); };
  options.layer.commit.stopping = stopping;
  upkeep.commit.stopping = stopping;
  K2_ASSIGN(const std::shared_ptr<pipeline::Lakehouse> lakehouse,
            OpenLakehouse(settings, options.bronze || options.endless, kCatalogPatienceMs, stopping));
  if (HasRestCatalog(settings)) K2_TRY(CheckCatalogIsNewest(*lakehouse));
  K2_TRY(lakehouse->CreateTables());
  K2_ASSIGN(const auto status_page, StartStatusServer(settings));
  std::optional<maintenance::Maintenance> maintenance;
  if (options.endless && upkeep.interval_us > 0) maintenance.emplace(*lakehouse, upkeep).Start();
  pipeline::RunProgress progress;
  Result<pipeline::RunReport> report = std::unexpected(Error{});
  {
    const ProgressBar bar(progress);
    report = pipeline::Run(*lakehouse, options, signals.stop(), progress);
  }
  if (!report) return std::unexpected(report.error());
  if (output == "json") {
    nlohmann::ordered_json object = {{"elapsed_seconds", static_cast<double>(report->elapsed_us) / 1e6},
                                     {"handed_over", report->cache_hits},
                                     {"read_back", report->cache_misses}};
    if (options.bronze) object["bronze"] = LayerJson(report->bronze, report->elapsed_us);
    if (options.silver) object["silver"] = LayerJson(report->silver, report->elapsed_us);
    if (options.gold) object["gold"] = LayerJson(report->gold, report->elapsed_us);
    std::printf("%s\n", object.dump(2).c_str());
  } else {
    const std::string& level = settings.Text("log-level");
    std::fputs(SummaryOf(*report, options, level == "info" || level == "debug").c_str(), stdout);
  }
  for (const Error& failure : report->failures) {
    std::fprintf(stderr, "k2: %s\n", failure.message.c_str());
    if (!failure.hint.empty()) std::fprintf(stderr, "hint: %s\n", failure.hint.c_str());
  }
  if (!report->failures.empty()) return 1;
  // A service was told in its log, and is asked to stop by somebody who knows.
  if (options.endless) return 0;
  const auto nothing =
      pipeline::NothingTaken(options.bronze ? &report->bronze : nullptr, options.silver ? &report->silver : nullptr);
  if (!nothing) return 0;
  std::fprintf(stderr, "k2: %s\n", nothing->c_str());
  return 1;
}

}  // namespace

void AddRun(Program& program) {
  CLI::App* command =
      AddCommand(program, kCollectCommands, "run", "Move trades through Bronze, Silver and Gold, once or as a service");
  auto flags = std::make_shared<RunFlags>();
  command->add_option("--recording", flags->recordings, "Read a recorded feed (plain, .gz, .zst); repeatable")
      ->type_name("EXCHANGE=FILE");
  command->add_option("--layer", flags->layer, "Run only bronze, silver or gold, reading its upstream table")
      ->type_name("LAYER");
  command->add_flag("--follow", flags->follow, "Wait for more at the end of the recordings, until SIGTERM");
  command->add_flag("--until-caught-up", flags->until_caught_up, "With --kafka: end when nothing is left to do");
  command->add_flag("--standby", flags->standby,
                    "With --kafka: watch the tables, and take over when no other process moves them");
  Settings& settings = program.settings;
  settings.BeginGroup("pipeline");
  const SettingText texts[] = {
      {"rows-per-commit", "N", "131072", "Commit at most this many rows at once. Larger: bigger files, more memory"},
      {"bytes-per-commit", "SIZE", "96MB", "Commit at most this many bytes of messages at once in Bronze"},
      {"commit-interval", "DURATION", "400ms",
       "With --kafka or --follow: commit Bronze at most this often, unless rows-per-commit rows are there"},
      {"poll-interval", "DURATION", "250ms", "With --layer: look for new rows this often"},
      {"takeover-after", "DURATION", "10s",
       "Let a standby take over when its partitions have not moved in the tables for this long"},
      {"retry-timeout", "DURATION", "2m", "Retry timeout for services that do not respond, in bounded runs", false,
       "give-up-after"},
      {"threads", "N", "0", "Run this many tasks of a step at once; 0: one per core"},
      {"batch-cache-size", "SIZE", "192MB", "Limit on the rows that are passed from layer to layer in memory", false,
       "handover-memory"},
  };
  for (const SettingText& text : texts) settings.Add(*command, text);
  AddServeSettings(*command, settings);
  settings.BeginGroup("retention");
  const SettingText upkeep[] = {
      {"retention-interval", "DURATION", "1h",
       "Drop old partitions, compact and expire snapshots this often, as a service; 0s: never"},
      {"compact", "TABLES", std::string(task::kGoldTable),
       "Comma-separated tables whose small files a service compacts; or none"},
      {"compact-settled", "DURATION", "15m", "Do not compact partitions that were modified more recently than this"},
  };
  for (const SettingText& text : upkeep) settings.Add(*command, text);
  settings.BeginGroup("output");
  settings.Add(program.app, {"output", "FORMAT", "table", "Print rows as table, json, csv or parquet"});
  command->footer(
      "Examples:\n"
      "  k2 run --recording binance=btcusdt.gz --recording binance=ethusdt.zst\n"
      "  k2 run --layer gold\n"
      "  k2 run --kafka localhost:9092 --registry http://localhost:8081/apis/ccompat/v7 \\\n"
      "    --catalog http://localhost:8181 --warehouse s3://lake/warehouse\n"
      "Run again, it resumes from the committed offsets; killed at any point and run\nagain, it ends in the same "
      "state. More options: k2 help settings");
  command->callback(
      [&program, flags] { program.action = [&program, flags] { return RunPipeline(program.settings, *flags); }; });
}

}  // namespace k2::cli
