#include <algorithm>
#include <nlohmann/json.hpp>

#include "exchange/registry.h"
#include "iceberg/schema_json.h"
#include "iceberg/transform.h"
#include "storage/confined_file_io.h"
#include "task/data_file_json.h"
#include "task/task.h"

namespace k2::task {
namespace {

using Json = nlohmann::json;

// k2 0.1.0 knows version 2, takes a Silver task's tables by their place, and writes past the end of an array for a
// topic of an exchange that it does not know, and validates by the rules of TradeV2. So a task has version 2 where that
// k2 can run it: its tables are of the older format and in the order of the registry, whose first exchanges are those
// of then. What it cannot run has version 3, which it refuses.
constexpr int kVersion = 2;
constexpr int kVersionByName = 3;
constexpr size_t kExchangesByPlace = 2;

Json ToJson(const table::SourceKey& key) {
  return {{"cluster", key.cluster}, {"topic", key.topic}, {"topic_id", key.topic_id}, {"partition", key.partition}};
}
table::SourceKey ReadSourceKey(const Json& value) {
  return {.cluster = value.at("cluster"),
          .topic = value.at("topic"),
          .topic_id = value.at("topic_id"),
          .partition = value.at("partition")};
}

Json ToJson(const table::SourcePosition& position) {
  return {{"next_offset", position.next_offset}, {"leader_epoch", position.leader_epoch},
          {"messages", position.messages},       {"next_line", position.next_line},
          {"next_byte", position.next_byte},     {"line_hash", position.line_hash}};
}
table::SourcePosition ReadPosition(const Json& value) {
  return {.next_offset = value.at("next_offset"),
          .leader_epoch = value.at("leader_epoch"),
          .messages = value.at("messages"),
          .next_line = value.at("next_line"),
          .next_byte = value.at("next_byte"),
          .line_hash = value.at("line_hash")};
}

// Bytes that are not UTF-8 (a path may hold them) are replaced, where the library would throw.
std::string Dump(const Json& object) { return object.dump(-1, ' ', false, Json::error_handler_t::replace); }

// Errors of the format layer pass through the JSON readers as exceptions and are caught at this file's two doors.
template <typename T>
T ValueOrThrow(Result<T> result) {
  if (!result) throw std::invalid_argument(result.error().message);
  return std::move(*result);
}

Json ToJson(const TableShape& shape) {
  return {{"schema", Json::parse(iceberg::SchemaToJson(shape.schema))},
          {"columns", shape.columns},
          {"name_mapping", shape.name_mapping}};
}
TableShape ReadShape(const Json& value) {
  return {.schema = ValueOrThrow(iceberg::ParseSchema(value.at("schema").dump())),
          .columns = value.at("columns").get<ColumnIds>(),
          .name_mapping = value.at("name_mapping")};
}

Json ToJson(const OutputTable& table) {
  return {{"name", table.name},
          {"location", table.location},
          {"shape", ToJson(table.shape)},
          {"spec", Json::parse(iceberg::PartitionSpecToJson(table.spec))}};
}
OutputTable ReadOutputTable(const Json& value) {
  OutputTable table{.name = value.at("name"), .location = value.at("location"), .shape = {}, .spec = {}};
  table.shape = ReadShape(value.at("shape"));
  Json spec = value.at("spec");
  table.spec = ValueOrThrow(iceberg::PartitionSpecFromJson(spec));
  return table;
}

Json ToJson(const iceberg::DeleteFiles& deletes) {
  Json array = Json::array();
  for (const auto& file : deletes) {
    array.push_back({{"path", file->path},
                     {"content", static_cast<int>(file->content)},
                     {"file_format", file->file_format},
                     {"equality_ids", file->equality_ids},
                     {"record_count", file->record_count},
                     {"size_bytes", file->size_bytes}});
  }
  return array;
}
iceberg::DeleteFiles ReadDeletes(const Json& file) {
  iceberg::DeleteFiles deletes;
  if (!file.contains("deletes")) return deletes;
  for (const Json& value : file.at("deletes")) {
    const int content = value.at("content");
    if (content != 1 && content != 2) throw std::invalid_argument(fmt::format("a delete file of content {}", content));
    deletes.push_back(std::make_shared<const iceberg::DeleteFile>(
        iceberg::DeleteFile{.path = value.at("path"),
                            .content = static_cast<iceberg::FileContent>(content),
                            .file_format = value.at("file_format"),
                            .equality_ids = value.at("equality_ids"),
                            .record_count = value.at("record_count"),
                            .size_bytes = value.at("size_bytes")}));
  }
  return deletes;
}

Json ToJson(const std::vector<InputFile>& inputs) {
  Json array = Json::array();
  for (const InputFile& file : inputs) {
    array.push_back({{"path", file.path}, {"record_count", file.record_count}});
    if (!file.constants.empty()) array.back()["constants"] = LiteralMapToJson(file.constants);
    if (!file.deletes.empty()) array.back()["deletes"] = ToJson(file.deletes);
  }
  return array;
}
std::vector<InputFile> ReadInputs(const Json& array) {
  std::vector<InputFile> inputs;
  for (const Json& value : array) {
    inputs.push_back({.path = value.at("path"),
                      .record_count = value.at("record_count"),
                      .constants = LiteralMapFromJson(value.value("constants", Json::object())),
                      .deletes = ReadDeletes(value)});
  }
  return inputs;
}

Json ToJson(const BronzeTask& task) {
  Json inputs = Json::array();
  for (const BronzeInput& input : task.inputs) {
    inputs.push_back({{"source", ToJson(input.source)},
                      {"exchange", input.exchange},
                      {"recording", input.recording},
                      {"begin", ToJson(input.begin)},
                      {"end_offset", input.end_offset}});
  }
  return {{"kind", "bronze"},
          {"inputs", inputs},
          {"max_messages", task.max_messages},
          {"max_bytes", task.max_bytes},
          {"output", ToJson(task.output)},
          {"attempt_id", task.attempt_id}};
}
BronzeTask ReadBronze(const Json& value) {
  std::vector<BronzeInput> inputs;
  for (const Json& input : value.at("inputs")) {
    inputs.push_back({.source = ReadSourceKey(input.at("source")),
                      .exchange = input.at("exchange"),
                      .recording = input.at("recording"),
                      .begin = ReadPosition(input.at("begin")),
                      .end_offset = input.value("end_offset", int64_t{-1})});
  }
  return {.inputs = std::move(inputs),
          .max_messages = value.at("max_messages"),
          .max_bytes = value.at("max_bytes"),
          .output = ReadOutputTable(value.at("output")),
          .attempt_id = value.at("attempt_id")};
}

Json ToJson(const SilverTask& task) {
  Json ranges = Json::array();
  for (const OffsetRange& range : task.ranges) {
    ranges.push_back({{"topic", range.topic},
                      {"partition", range.partition},
                      {"begin", range.begin},
                      {"end", range.end},
                      {"leave_out_rejected", range.leave_out_rejected}});
    if (range.topic_id.empty()) continue;
    ranges.back()["topic_id"] = range.topic_id;
    ranges.back()["without_topic_id"] = range.without_topic_id;
  }
  Json silver = Json::array();
  for (const OutputTable& table : task.silver) silver.push_back(ToJson(table));
  return {{"kind", "silver"}, {"inputs", ToJson(task.inputs)},         {"input_shape", ToJson(task.input_shape)},
          {"ranges", ranges}, {"rejected_files", task.rejected_files}, {"schema_folder", task.schema_folder},
          {"silver", silver}, {"rejected", ToJson(task.rejected)},     {"attempt_id", task.attempt_id}};
}
SilverTask ReadSilver(const Json& value) {
  SilverTask task;
  task.inputs = ReadInputs(value.at("inputs"));
  task.input_shape = ReadShape(value.at("input_shape"));
  for (const Json& range : value.at("ranges")) {
    task.ranges.push_back({.topic = range.at("topic"),
                           .topic_id = range.value("topic_id", ""),
                           .partition = range.at("partition"),
                           .begin = range.at("begin"),
                           .end = range.at("end"),
                           .leave_out_rejected = range.at("leave_out_rejected"),
                           .without_topic_id = range.value("without_topic_id", true)});
  }
  value.at("rejected_files").get_to(task.rejected_files);
  value.at("schema_folder").get_to(task.schema_folder);
  for (const Json& table : value.at("silver")) task.silver.push_back(ReadOutputTable(table));
  task.rejected = ReadOutputTable(value.at("rejected"));
  value.at("attempt_id").get_to(task.attempt_id);
  return task;
}

Json ToJson(const GoldTask& task) {
  Json existing = Json::array();
  for (const GoldFile& file : task.existing) {
    existing.push_back({{"path", file.path},
                        {"first_hour", file.first_hour},
                        {"last_hour", file.last_hour},
                        {"record_count", file.record_count},
                        {"min_timestamp_us", file.min_timestamp_us},
                        {"max_timestamp_us", file.max_timestamp_us}});
    if (!file.deletes.empty()) existing.back()["deletes"] = ToJson(file.deletes);
  }
  Json inputs = Json::array();
  for (const GoldInput& input : task.inputs) {
    inputs.push_back({{"shape", ToJson(input.shape)}, {"files", ToJson(input.files)}});
  }
  return {{"kind", "gold"},
          {"inputs", inputs},
          {"existing", existing},
          {"output", ToJson(task.output)},
          {"attempt_id", task.attempt_id},
          {"memory_bytes", task.memory_bytes},
          {"hours", task.hours},
          {"share", task.share},
          {"shares", task.shares}};
}
GoldTask ReadGold(const Json& value) {
  GoldTask task;
  for (const Json& input : value.at("inputs")) {
    task.inputs.push_back({.shape = ReadShape(input.at("shape")), .files = ReadInputs(input.at("files"))});
  }
  for (const Json& file : value.at("existing")) {
    task.existing.push_back({.path = file.at("path"),
                             .first_hour = file.at("first_hour"),
                             .last_hour = file.at("last_hour"),
                             .record_count = file.at("record_count"),
                             .min_timestamp_us = file.at("min_timestamp_us"),
                             .max_timestamp_us = file.at("max_timestamp_us"),
                             .deletes = ReadDeletes(file)});
  }
  task.output = ReadOutputTable(value.at("output"));
  value.at("attempt_id").get_to(task.attempt_id);
  value.at("memory_bytes").get_to(task.memory_bytes);
  task.hours = value.value("hours", std::vector<int64_t>{});
  std::ranges::sort(task.hours);
  task.share = value.value("share", 0);
  task.shares = value.value("shares", 1);
  if (task.shares < 1 || task.share < 0 || task.share >= task.shares) {
    throw std::invalid_argument(fmt::format("share {} of {}", task.share, task.shares));
  }
  return task;
}

Json ToJson(const CompactionTask& task) {
  Json object = {{"kind", "compaction"},
                 {"inputs", ToJson(task.inputs)},
                 {"output", ToJson(task.output)},
                 {"attempt_id", task.attempt_id}};
  if (task.input_shape) object["input_shape"] = ToJson(*task.input_shape);
  return object;
}
CompactionTask ReadCompaction(const Json& value) {
  const auto shape = value.find("input_shape");
  return {.inputs = ReadInputs(value.at("inputs")),
          .input_shape = shape == value.end() ? std::nullopt : std::optional(ReadShape(*shape)),
          .output = ReadOutputTable(value.at("output")),
          .attempt_id = value.at("attempt_id")};
}

int VersionOf(const Task& task) {
  const auto* silver = std::get_if<SilverTask>(&task);
  if (silver == nullptr) return kVersion;
  const auto first = exchange::Exchanges().first(kExchangesByPlace);
  bool by_place = silver->silver.size() >= first.size();
  for (size_t i = 0; by_place && i < first.size(); ++i) by_place = silver->silver[i].name == first[i]->silver_table;
  const auto older = [](const OutputTable& table) { return table.shape.OfOlderFormat(); };
  const auto known = [&](const OffsetRange& range) {
    return std::ranges::find(first, exchange::ExchangeOfTopic(range.topic)) != first.end();
  };
  return by_place && std::ranges::all_of(silver->silver, older) && std::ranges::all_of(silver->ranges, known)
             ? kVersion
             : kVersionByName;
}

}  // namespace

std::string TaskToJson(const Task& task) {
  Json object = std::visit([](const auto& one) { return ToJson(one); }, task);
  object["version"] = VersionOf(task);
  return Dump(object);
}

Result<Task> TaskFromJson(std::string_view text) {
  try {
    const Json object = Json::parse(text);
    const int version = object.at("version");
    if (version != kVersion && version != kVersionByName) {
      return Fail(ErrorKind::kUnsupported,
                  "task version {} is not supported; this k2 supports versions {} and {}: update it, or run the task "
                  "with the k2 that planned it",
                  version, kVersion, kVersionByName);
    }
    const std::string kind = object.at("kind");
    if (kind == "bronze") return ReadBronze(object);
    if (kind == "silver") return ReadSilver(object);
    if (kind == "gold") return ReadGold(object);
    if (kind == "compaction") return ReadCompaction(object);
    return Fail(ErrorKind::kInvalidArgument, "unknown kind of task '{}': bronze, silver, gold or compaction", kind);
  } catch (const std::exception& error) {
    return Fail(ErrorKind::kInvalidArgument, "not a task: {}", error.what());
  }
}

std::string TaskResultToJson(const TaskResult& result) {
  Json outputs = Json::array();
  for (const TableFiles& output : result.outputs) {
    Json files = Json::array();
    for (const iceberg::DataFile& file : output.files) files.push_back(DataFileToJson(file));
    outputs.push_back({{"table", output.table}, {"files", files}});
  }
  Json ends = Json::array();
  for (const table::SourcePosition& end : result.ends) ends.push_back(ToJson(end));
  const Json object = {{"version", kVersion},
                       {"attempt_id", result.attempt_id},
                       {"outputs", outputs},
                       {"rows_in", result.rows_in},
                       {"rows_out", result.rows_out},
                       {"rejected", result.rejected},
                       {"duplicates", result.duplicates},
                       {"identity_conflicts", result.identity_conflicts},
                       {"ends", ends},
                       {"range_rows", result.range_rows},
                       {"counts",
                        {{"frames", result.counts.frames},
                         {"frames_skipped", result.counts.frames_skipped},
                         {"frames_other", result.counts.frames_other},
                         {"frames_rejected", result.counts.frames_rejected},
                         {"messages", result.counts.messages},
                         {"trades", result.counts.trades},
                         {"bytes", result.counts.bytes},
                         {"other_channel", result.counts.other_channel}}},
                       {"warning", result.warning}};
  return Dump(object);
}

Result<TaskResult> TaskResultFromJson(std::string_view text) {
  try {
    const Json object = Json::parse(text);
    const int version = object.at("version");
    if (version != kVersion) {
      return Fail(ErrorKind::kUnsupported, "task result version {} is not supported; this k2 supports version {}",
                  version, kVersion);
    }
    TaskResult result;
    object.at("attempt_id").get_to(result.attempt_id);
    for (const Json& output : object.at("outputs")) {
      TableFiles files{.table = output.at("table"), .files = {}};
      for (const Json& file : output.at("files")) files.files.push_back(DataFileFromJson(file));
      result.outputs.push_back(std::move(files));
    }
    object.at("rows_in").get_to(result.rows_in);
    object.at("rows_out").get_to(result.rows_out);
    object.at("rejected").get_to(result.rejected);
    object.at("duplicates").get_to(result.duplicates);
    object.at("identity_conflicts").get_to(result.identity_conflicts);
    for (const Json& end : object.at("ends")) result.ends.push_back(ReadPosition(end));
    object.at("range_rows").get_to(result.range_rows);
    const Json& counts = object.at("counts");
    counts.at("frames").get_to(result.counts.frames);
    counts.at("frames_skipped").get_to(result.counts.frames_skipped);
    counts.at("frames_rejected").get_to(result.counts.frames_rejected);
    result.counts.frames_other = counts.value("frames_other", int64_t{0});  // of a K2 that did not count them
    counts.at("messages").get_to(result.counts.messages);
    result.counts.trades = counts.value("trades", int64_t{0});
    result.counts.other_channel = counts.value("other_channel", std::string{});
    counts.at("bytes").get_to(result.counts.bytes);
    object.at("warning").get_to(result.warning);
    return result;
  } catch (const std::exception& error) {
    return Fail(ErrorKind::kInvalidArgument, "not a task result: {}", error.what());
  }
}

int64_t TableFiles::rows() const {
  int64_t rows = 0;
  for (const iceberg::DataFile& file : files) rows += file.record_count;
  return rows;
}

const TableFiles* TaskResult::Find(std::string_view table) const {
  for (const TableFiles& output : outputs) {
    if (output.table == table) return &output;
  }
  return nullptr;
}

static const std::string& OutputLocation(const Task& task) {
  if (const auto* silver = std::get_if<SilverTask>(&task)) return silver->rejected.location;
  if (const auto* bronze = std::get_if<BronzeTask>(&task)) return bronze->output.location;
  if (const auto* gold = std::get_if<GoldTask>(&task)) return gold->output.location;
  return std::get<CompactionTask>(task).output.location;
}

Result<TaskResult> RunTask(const Task& task, const TaskContext& context) {
  TaskContext confined = context;
  confined.io = storage::ConfinedTo(context.io, OutputLocation(task));
  Result<TaskResult> result = [&] {
    if (const auto* bronze = std::get_if<BronzeTask>(&task)) return RunBronzeTask(*bronze, confined);
    if (const auto* silver = std::get_if<SilverTask>(&task)) return RunSilverTask(*silver, confined);
    if (const auto* gold = std::get_if<GoldTask>(&task)) return RunGoldTask(*gold, confined);
    return RunCompactionTask(std::get<CompactionTask>(task), confined);
  }();
  if (result) result->attempt_id = AttemptOf(task);
  return result;
}

Result<std::string> DataFileLocation(const OutputTable& table, const std::vector<iceberg::Literal>& partition,
                                     const std::string& attempt_id, int32_t counter) {
  constexpr size_t kFolderMax = 120;  // names of 255 bytes are the most that file systems take
  K2_ASSIGN(const std::string folders, iceberg::PartitionPath(table.spec, table.shape.schema, partition));
  std::string path = table.location + "/data/";
  for (size_t begin = 0; begin < folders.size();) {
    const size_t end = std::min(folders.find('/', begin), folders.size());
    std::string folder = folders.substr(begin, std::min(end - begin, kFolderMax));
    if (const size_t escape = folder.rfind('%'); end - begin > kFolderMax && escape + 2 >= folder.size()) {
      folder.resize(escape);  // that was cut in two
    }
    path += folder + "/";
    begin = end + 1;
  }
  return fmt::format("{}{}-{:05}.parquet", path, attempt_id, counter);
}

}  // namespace k2::task
