#include <cstdio>

#include "base/time.h"
#include "cli/commands.h"
#include "cli/rows_output.h"
#include "source/simulator.h"

namespace k2 {
namespace {

struct SimulateFlags {
  std::string exchange;
  std::string out;
  std::string start = "2024-01-02";
  SimulatorOptions options;
  int64_t rate = 0;
  bool append = false;
};

Result<int> RunSimulate(const SimulateFlags& flags) {
  SimulatorOptions options = flags.options;
  const auto exchange = ParseExchange(flags.exchange);
  if (!exchange) return Fail(ErrorKind::kInvalidArgument, "--exchange {}: binance or kraken", flags.exchange);
  options.exchange = *exchange;
  const auto start = ParseTimestamp(flags.start);
  if (!start) return Fail(ErrorKind::kInvalidArgument, "--start: {}", start.error().message);
  options.start_us = *start;
  K2_ASSIGN(
      const SimulatorCounts counts,
      SimulateToFile(options,
                     {.path = flags.out, .append = flags.append, .live_per_second = flags.rate, .on_progress = {}}));
  std::fprintf(stderr, "%s: %s trades, %s sent again, %s malformed, %s other frames, %s lines, %s\n", flags.out.c_str(),
               WithCommas(counts.trades).c_str(), WithCommas(counts.duplicate_trades).c_str(),
               WithCommas(counts.malformed).c_str(), WithCommas(counts.other_frames).c_str(),
               WithCommas(counts.frames).c_str(), HumanBytes(counts.bytes).c_str());
  return 0;
}

}  // namespace

void AddSimulate(Program& program) {
  CLI::App* command = program.app.add_subcommand("simulate", "Write a seeded market session as a recording");
  auto flags = std::make_shared<SimulateFlags>();
  SimulatorOptions& options = flags->options;
  command->add_option("--exchange", flags->exchange, "binance or kraken")->required();
  command->add_option("--out", flags->out, "file to write; .gz and .zst are compressed")->required();
  command->add_option("--trades", options.trades, "distinct valid trades")->capture_default_str();
  command->add_option("--seed", options.seed, "the same seed gives the same bytes")->capture_default_str();
  command->add_option("--start", flags->start, "begin of the session, UTC")->capture_default_str();
  command->add_option("--trades-per-second", options.trades_per_second, "of the session's time")->capture_default_str();
  command->add_option("--first-id", options.first_id, "of each symbol's trades")->capture_default_str();
  command->add_option("--symbols", options.symbols, "how many; 0: all there are")->capture_default_str();
  command->add_option("--duplicates-ppm", options.duplicates_ppm, "trades sent again, parts per million")
      ->capture_default_str();
  command->add_option("--malformed-ppm", options.malformed_ppm, "frames that are refused, parts per million")
      ->capture_default_str();
  command->add_option("--other-ppm", options.other_frames_ppm, "frames without trades, parts per million")
      ->capture_default_str();
  command->add_option("--rate", flags->rate, "in real time: this many trades a second, received now");
  command->add_flag("--append", flags->append, "behind what the file holds");
  command->footer("Example:\n  k2 simulate --exchange kraken --trades 1000000 --seed 7 --out kraken.zst");
  command->callback([&program, flags] { program.action = [flags] { return RunSimulate(*flags); }; });
}

}  // namespace k2
