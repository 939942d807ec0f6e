#include <nlohmann/json.hpp>

#include "base/uuid.h"
#include "pipeline/step_plan.h"
#include "table/progress_json.h"
#include "task/data_file_json.h"

namespace k2::pipeline {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;

Json ProgressJson(const table::LayerProgress& progress, const std::string& table_uuid) {
  return Json::parse(table::ProgressToJson(progress, table_uuid));
}

Result<table::LayerProgress> ReadProgressJson(const Json& value, const table::Table& table) {
  K2_ASSIGN(std::optional<table::LayerProgress> progress,
            table::ParseProgress(value.dump(), table.metadata().table_uuid));
  if (progress) return *std::move(progress);
  return Fail(ErrorKind::kOffsetMismatch, "{} was dropped and recreated since the plan was made; plan again",
              table.name().ToString());
}

Json CommitJson(const PlannedCommit& planned, LayerId layer, const table::Table& table) {
  const table::LayerCommit& commit = planned.commit;
  const std::string& uuid = table.metadata().table_uuid;
  Json object = {{"table", planned.table},
                 {"layer", CommitName(layer, planned.table)},
                 {"needs_rows", planned.needs_rows},
                 {"commit_id", commit.commit_id.empty() ? RandomUuid().ToString() : commit.commit_id},
                 {"base", ProgressJson(commit.base, uuid)},
                 {"next", ProgressJson(commit.next, uuid)},
                 {"summary", commit.summary},
                 {"operation", commit.operation},
                 {"removed", Json::array()},
                 {"fence_upstream", commit.fence_upstream}};
  for (const iceberg::DataFile& file : commit.removed) object["removed"].push_back(task::DataFileToJson(file));
  if (!commit.drop.empty()) {
    table::LayerProgress dropped;
    for (const table::SourceKey& key : commit.drop) dropped.positions[key] = {};
    object["drop"] = ProgressJson(dropped, uuid);
  }
  if (commit.base_snapshot_id) object["base_snapshot_id"] = *commit.base_snapshot_id;
  if (commit.planned_snapshot_id) object["planned_snapshot_id"] = *commit.planned_snapshot_id;
  if (commit.planned_sequence) object["planned_sequence"] = *commit.planned_sequence;
  return object;
}

Result<PlannedCommit> ReadCommit(const Json& value, const TableByName& table_by_name) {
  PlannedCommit planned{.table = value.at("table"), .commit = {}, .needs_rows = false};
  value.at("needs_rows").get_to(planned.needs_rows);
  K2_ASSIGN(const table::Table* const table, table_by_name(planned.table));
  table::LayerCommit& commit = planned.commit;
  value.at("commit_id").get_to(commit.commit_id);
  K2_ASSIGN(commit.base, ReadProgressJson(value.at("base"), *table));
  K2_ASSIGN(commit.next, ReadProgressJson(value.at("next"), *table));
  value.at("summary").get_to(commit.summary);
  value.at("operation").get_to(commit.operation);
  for (const Json& file : value.at("removed")) commit.removed.push_back(task::DataFileFromJson(file));
  value.at("fence_upstream").get_to(commit.fence_upstream);
  if (value.contains("drop")) {
    K2_ASSIGN(const table::LayerProgress dropped, ReadProgressJson(value.at("drop"), *table));
    for (const auto& [key, position] : dropped.positions) commit.drop.push_back(key);
  }
  if (value.contains("base_snapshot_id")) commit.base_snapshot_id = value.at("base_snapshot_id").get<int64_t>();
  if (value.contains("planned_snapshot_id")) {
    commit.planned_snapshot_id = value.at("planned_snapshot_id").get<int64_t>();
  }
  if (value.contains("planned_sequence")) commit.planned_sequence = value.at("planned_sequence").get<int64_t>();
  return planned;
}

Json RangeJson(const PlannedRange& range) {
  table::LayerProgress begin{.positions = {{range.key, range.begin}}, .upstream = {}, .rules_version = 0};
  table::LayerProgress end{.positions = {{range.key, range.end}}, .upstream = {}, .rules_version = 0};
  return {{"begin", ProgressJson(begin, "")},
          {"end", ProgressJson(end, "")},
          {"counted_at_end", range.counted_at_end},
          {"accepted", range.accepted}};
}

Result<PlannedRange> ReadRange(const Json& value) {
  K2_ASSIGN(const auto begin, table::ParseProgress(value.at("begin").dump(), ""));
  K2_ASSIGN(const auto end, table::ParseProgress(value.at("end").dump(), ""));
  if (!begin || !end || begin->positions.size() != 1 || end->positions.size() != 1) {
    return Fail(ErrorKind::kInvalidArgument, "a range must have exactly one source");
  }
  return PlannedRange{.key = begin->positions.begin()->first,
                      .begin = begin->positions.begin()->second,
                      .end = end->positions.begin()->second,
                      .counted_at_end = value.at("counted_at_end"),
                      .accepted = value.value("accepted", false)};
}

Result<StepPlan> Read(const Json& object, const TableByName& table) {
  const int version = object.at("version");
  if (version != kVersion) {
    return Fail(ErrorKind::kUnsupported, "plan version {} is not supported; this k2 supports version {}", version,
                kVersion);
  }
  K2_ASSIGN(const LayerId layer, LayerNamed(object.at("layer").get<std::string>()));
  StepPlan plan{.layer = layer, .tasks = {}, .ranges = {}, .commits = {}};
  object.at("behind").get_to(plan.behind);
  object.at("left").get_to(plan.left);
  object.at("rebuild").get_to(plan.rebuild);
  plan.begun = {.wall_us = object.at("planned_at_us").get<int64_t>()};  // perhaps on another machine
  for (const Json& value : object.at("tasks")) {
    K2_ASSIGN(task::Task task, task::TaskFromJson(value.dump()));
    plan.tasks.push_back(std::move(task));
  }
  for (const Json& value : object.at("ranges")) {
    K2_ASSIGN(PlannedRange range, ReadRange(value));
    plan.ranges.push_back(std::move(range));
  }
  for (const Json& value : object.at("commits")) {
    K2_ASSIGN(PlannedCommit commit, ReadCommit(value, table));
    plan.commits.push_back(std::move(commit));
  }
  return plan;
}

}  // namespace

Result<std::string> StepPlanToJson(const StepPlan& plan, const TableByName& table) {
  Json tasks = Json::array();
  for (const task::Task& task : plan.tasks) tasks.push_back(Json::parse(task::TaskToJson(task)));
  Json ranges = Json::array();
  for (const PlannedRange& range : plan.ranges) ranges.push_back(RangeJson(range));
  Json commits = Json::array();
  for (const PlannedCommit& planned : plan.commits) {
    K2_ASSIGN(const table::Table* const of, table(planned.table));
    commits.push_back(CommitJson(planned, plan.layer, *of));
  }
  const Json object = {{"version", kVersion},
                       {"layer", ToString(plan.layer)},
                       {"planned_at_us", plan.begun.wall_us},
                       {"behind", plan.behind},
                       {"left", plan.left},
                       {"tasks", tasks},
                       {"rebuild", plan.rebuild},
                       {"ranges", ranges},
                       {"commits", commits}};
  return object.dump();
}

Result<StepPlan> StepPlanFromJson(std::string_view text, const TableByName& table) {
  try {
    return Read(Json::parse(text), table);
  } catch (const std::exception& error) {
    return Fail(ErrorKind::kInvalidArgument, "not a plan: {}", error.what());
  }
}

}  // namespace k2::pipeline
