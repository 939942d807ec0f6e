#include <cstdio>
#include <iostream>
#include <iterator>

#include "cli/commands.h"
#include "cli/storage_settings.h"
#include "task/task.h"

namespace k2 {
namespace {

Result<int> RunTaskCommand(const Settings& settings) {
  const std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  K2_ASSIGN(const Task task, TaskFromJson(text));
  TaskContext context;
  K2_ASSIGN(const StorageOptions storage, StorageOptionsOf(settings));
  context.io = MakeFileIo(storage);
  if (!settings.Text("schemas").empty()) context.schemas = std::make_shared<FileSchemaSource>(settings.Text("schemas"));
  K2_ASSIGN(const TaskResult result, RunTask(task, context));
  std::printf("%s\n", TaskResultToJson(result).c_str());
  return 0;
}

}  // namespace

void AddTask(Program& program) {
  CLI::App* command =
      program.app.add_subcommand("task", "Run one task: JSON on standard input, its result on standard output");
  command->footer(
      "The files it writes are named by nothing until its result is committed. Example:\n  k2 task < task.json");
  command->callback([&program] { program.action = [&program] { return RunTaskCommand(program.settings); }; });
}

}  // namespace k2
