#include <cstdio>

#include "base/time.h"
#include "cli/commands.h"
#include "cli/rows_output.h"
#include "exchange/registry.h"
#include "recording/simulator.h"

namespace k2::cli {
namespace {

struct SimulateFlags {
  std::string exchange;
  std::string out;
  std::string start = "2024-01-02";
  recording::SimulatorOptions options;
  int64_t rate = 0;
  bool append = false;
};

Result<int> RunSimulate(const SimulateFlags& flags) {
  recording::SimulatorOptions options = flags.options;
  const Result<const exchange::Exchange*> exchange = exchange::KnownExchange(flags.exchange);
  if (!exchange) return std::unexpected(exchange.error().With("--exchange"));
  options.exchange = *exchange;
  const auto start = ParseTimestamp(flags.start);
  if (!start) return Fail(ErrorKind::kInvalidArgument, "--start: {}", start.error().message);
  options.start_us = *start;
  K2_ASSIGN(
      const recording::SimulatorCounts counts,
      recording::SimulateToFile(
          options, {.path = flags.out, .append = flags.append, .live_per_second = flags.rate, .on_progress = {}}));
  std::fprintf(stderr, "%s: %s trades, %s sent again, %s malformed, %s other frames, %s lines, %s\n", flags.out.c_str(),
               WithCommas(counts.trades).c_str(), WithCommas(counts.duplicate_trades).c_str(),
               WithCommas(counts.malformed).c_str(), WithCommas(counts.other_frames).c_str(),
               WithCommas(counts.frames).c_str(), HumanBytes(counts.bytes).c_str());
  return 0;
}

}  // namespace

void AddSimulate(Program& program) {
  CLI::App* command =
      AddCommand(program, kCollectCommands, "simulate", "Write a made-up market session, for trying things out");
  auto flags = std::make_shared<SimulateFlags>();
  recording::SimulatorOptions& options = flags->options;
  command->add_option("--exchange", flags->exchange, exchange::ExchangeNames())->required();
  command->add_option("--out", flags->out, "Write to FILE; .gz and .zst are compressed")->type_name("FILE")->required();
  command->add_option("--trades", options.trades, "Distinct valid trades")->capture_default_str();
  command->add_option("--seed", options.seed, "The same seed gives the same bytes")->capture_default_str();
  command->add_option("--start", flags->start, "Start of the session, UTC")->type_name("TIME")->capture_default_str();
  command->add_option("--trades-per-second", options.trades_per_second, "Trades per second of the session's time")
      ->capture_default_str();
  command->add_option("--first-id", options.first_id, "First id of each symbol's trades")->capture_default_str();
  command->add_option("--symbols", options.symbols, "Number of symbols; 0: all")->capture_default_str();
  command->add_option("--duplicates-ppm", options.duplicates_ppm, "Trades that are sent again, parts per million")
      ->capture_default_str();
  command->add_option("--malformed-ppm", options.malformed_ppm, "Malformed frames, parts per million")
      ->capture_default_str();
  command->add_option("--other-ppm", options.other_frames_ppm, "Frames without trades, parts per million")
      ->capture_default_str();
  command->add_option("--rate", flags->rate, "Write in real time, this many trades per second");
  command->add_flag("--append", flags->append, "Append to FILE");
  command->footer("Example:\n  k2 simulate --exchange binance --trades 1000000 --seed 7 --out binance.zst");
  command->callback([&program, flags] { program.action = [flags] { return RunSimulate(*flags); }; });
}

}  // namespace k2::cli
