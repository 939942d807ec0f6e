// The commands of k2. Each adds its subcommand to the program; what it does is set as the subcommand's action.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "cli/settings.h"
#include "medallion/lakehouse.h"

namespace k2 {

// What all commands share: settings, and the one action that the command line has chosen.
struct Program {
  CLI::App app{"K2: exchange trades into Iceberg tables: bronze, silver, gold", "k2"};
  Settings settings;
  std::string config;
  std::function<Result<int>()> action;  // its value is the exit code
};

void AddRun(Program& program);
void AddSimulate(Program& program);
void AddTables(Program& program);
void AddOffsets(Program& program);
void AddTask(Program& program);
void AddQuery(Program& program);
void AddOhlcv(Program& program);
void AddDoctor(Program& program);

// The tables of --warehouse. With `create`, a warehouse that is missing is made; else it is kNotFound, with a hint.
Result<std::shared_ptr<Lakehouse>> OpenLakehouse(const Settings& settings, bool create);

// Whether text to this stream (1 or 2) is for a person: a terminal; colours need NO_COLOR unset too.
bool IsTerminal(int descriptor);
bool WantsColour(int descriptor);
int TerminalWidth(int descriptor);  // columns; 0 where it is no terminal

// Reads the command line, runs the command, prints its error. The exit code.
int Main(int argc, char** argv);

}  // namespace k2
