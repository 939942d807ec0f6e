#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <deque>
#include <iostream>
#include <iterator>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/guard.h"
#include "cli/commands.h"
#include "cli/kafka_settings.h"
#include "cli/storage_settings.h"
#include "kafka/kafka_ranges.h"
#include "task/task.h"

namespace k2::cli {
namespace {

// What tasks use, made once for all of a process.
class TaskTools {
 public:
  static Result<std::unique_ptr<TaskTools>> Create(const Settings& settings) {
    auto tools = std::make_unique<TaskTools>();
    K2_ASSIGN(const storage::StorageOptions storage, StorageOptionsOf(settings));
    tools->context_.io = storage::MakeFileIo(storage);
    K2_ASSIGN(tools->context_.schemas, SchemasOf(settings));
    if (settings.Text("kafka").empty()) return tools;
    K2_ASSIGN(kafka::KafkaOptions kafka, KafkaOptionsOf(settings));
    tools->kafka_ = std::make_unique<kafka::KafkaRanges>(std::move(kafka));
    tools->context_.kafka = tools->kafka_.get();
    return tools;
  }

  Result<task::TaskResult> Run(const std::string& text) {
    return Guarded("k2 task", [&]() -> Result<task::TaskResult> {
      K2_ASSIGN(const task::Task task, task::TaskFromJson(text));
      return task::RunTask(task, context_);
    });
  }

 private:
  task::TaskContext context_;
  std::unique_ptr<kafka::KafkaRanges> kafka_;
};

// Lines of standard input, read ahead by a thread that ends the process when there will be no more: who gave the tasks
// is gone, or wants nothing more of them. A task that is cut off so leaves at most files that nothing names.
class TaskLines {
 public:
  TaskLines() {
    std::thread([this] {
      const Status read = Guarded("k2 task --worker, reading tasks", [this]() -> Status {
        for (std::string line; std::getline(std::cin, line);) {
          const std::lock_guard lock(mutex_);
          lines_.push_back(std::move(line));
          there_.notify_one();
        }
        return {};
      });
      if (!read) std::fprintf(stderr, "k2: %s\n", read.error().message.c_str());
      ::_exit(read ? 0 : ExitCode(read.error().kind));
    }).detach();
  }

  std::string Next() {
    std::unique_lock lock(mutex_);
    there_.wait(lock, [this] { return !lines_.empty(); });
    std::string line = std::move(lines_.front());
    lines_.pop_front();
    return line;
  }

 private:
  std::mutex mutex_;
  std::condition_variable there_;
  std::deque<std::string> lines_;
};

// A task a line, an answer a line, until standard input closes.
Result<int> Work(TaskTools& tools) {
  auto* const lines = new TaskLines;  // its thread lives as long as the process
  while (true) {
    const std::string line = lines->Next();
    if (line.empty()) continue;
    const Result<task::TaskResult> result = tools.Run(line);
    std::string answer;
    if (result) {
      answer = task::TaskResultToJson(*result);
    } else {
      answer = FailureToJson(result.error());
    }
    if (std::printf("%s\n", answer.c_str()) < 0 || std::fflush(stdout) != 0) return 3;
  }
}

Result<int> RunTaskCommand(const Settings& settings, bool worker) {
  K2_ASSIGN(const auto tools, TaskTools::Create(settings));
  if (worker) return Work(*tools);
  const std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  K2_ASSIGN(const task::TaskResult result, tools->Run(text));
  std::printf("%s\n", task::TaskResultToJson(result).c_str());
  return 0;
}

}  // namespace

void AddTask(Program& program) {
  CLI::App* command = AddCommand(program, kSchedulerCommands, "task",
                                 "Run one task: JSON on standard input, result on standard output");
  auto worker = std::make_shared<bool>(false);
  command->add_flag(
      "--worker", *worker,
      "Run one task a line and answer with one line each: a result, or {\"error\", \"kind\", \"exit_code\"}. Ends "
      "when standard input closes, also in the middle of a task");
  command->footer(
      "Its files are referenced by no snapshot until its result is committed. Example:\n  k2 task < task.json");
  command->callback([&program, worker] {
    program.action = [&program, worker] { return RunTaskCommand(program.settings, *worker); };
  });
}

}  // namespace k2::cli
