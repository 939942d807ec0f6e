#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/time.h"

namespace k2::log {
namespace {

std::atomic<Format> format_{Format::kText};

spdlog::level::level_enum ToSpdlog(Level level) {
  switch (level) {
    case Level::kDebug: return spdlog::level::debug;
    case Level::kInfo: return spdlog::level::info;
    case Level::kWarn: return spdlog::level::warn;
    case Level::kError: return spdlog::level::err;
    case Level::kOff: return spdlog::level::off;
  }
  return spdlog::level::info;
}

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>("k2", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_pattern("%v");
    made->set_level(spdlog::level::warn);
    return made;
  }();
  return *logger;
}

std::string AsJson(Level level, std::string_view event, std::initializer_list<Field> fields) {
  nlohmann::ordered_json line;
  line["time"] = FormatTimestamp(NowMicros());
  line["level"] = spdlog::level::to_string_view(ToSpdlog(level)).data();
  line["event"] = event;
  for (const Field& field : fields) {
    if (field.quoted) {
      line[std::string(field.name)] = field.value;
    } else {
      line[std::string(field.name)] = nlohmann::ordered_json::parse(field.value, nullptr, false);
    }
  }
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::string AsText(Level level, std::string_view event, std::initializer_list<Field> fields) {
  std::string line = FormatTimestamp(NowMicros());
  line += ' ';
  line += spdlog::level::to_string_view(ToSpdlog(level)).data();
  line += ' ';
  line += event;
  for (const Field& field : fields) {
    line += ' ';
    line += field.name;
    line += '=';
    line += field.value;
  }
  return line;
}

}  // namespace

void Configure(Level level, Format format) {
  format_ = format;
  Logger().set_level(ToSpdlog(level));
}

bool IsJson() { return format_ == Format::kJson; }

void Write(Level level, std::string_view event, std::initializer_list<Field> fields) {
  if (!Logger().should_log(ToSpdlog(level))) return;
  Logger().log(ToSpdlog(level), "{}",
               format_ == Format::kJson ? AsJson(level, event, fields) : AsText(level, event, fields));
}

}  // namespace k2::log
