#include "pipeline/rebuild.h"

#include <arrow/array.h>
#include <arrow/c/bridge.h>
#include <arrow/record_batch.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "base/log.h"
#include "base/time.h"
#include "base/uuid.h"
#include "pipeline/gold/gold_files.h"
#include "pipeline/gold/gold_shares.h"
#include "pipeline/silver/revalidation_mark.h"
#include "pipeline/silver/silver_layer.h"
#include "table/arrow_adapt.h"
#include "table/data_file_io.h"
#include "table/progress_json.h"
#include "table/row_deletes.h"
#include "table/scan.h"
#include "task/gold_index.h"
#include "task/header_view.h"
#include "task/market_tables.h"
#include "task/partitioned_write.h"
#include "task/text_view.h"
#include "trade/decoder.h"
#include "trade/trade_columns.h"

namespace k2::pipeline {
namespace {

constexpr std::string_view kRecordingPrefix = "recording/";
constexpr int64_t kBytesAnId = 40;  // of a set at its emptiest

constexpr int32_t kRebuildHoursMax = 24 * 366;

// More where one would take more rows than a step.
int32_t TasksFor(int64_t rows, int64_t rows_per_step, int32_t tasks) {
  return static_cast<int32_t>(std::max<int64_t>(tasks, std::min<int64_t>(rows / rows_per_step + 1, 1 << 20)));
}

std::vector<iceberg::ColumnPredicate> ConjunctsOf(const DayRange& days, const iceberg::Schema& schema) {
  const int32_t id = schema.Find("exchange_date")->id;
  std::vector<iceberg::ColumnPredicate> conjuncts;
  if (days.first != INT32_MIN) {
    conjuncts.push_back({.field_id = id, .op = iceberg::CompareOp::kGe, .values = {days.first}});
  }
  if (days.last != INT32_MAX) {
    conjuncts.push_back({.field_id = id, .op = iceberg::CompareOp::kLe, .values = {days.last}});
  }
  return conjuncts;
}

Result<PlannedCommit> Replacement(const table::Table& table, const std::vector<iceberg::ColumnPredicate>& scope) {
  PlannedCommit planned{.table = table.name().name, .commit = {}, .needs_rows = false};
  planned.commit.operation = "overwrite";
  planned.commit.summary[std::string(table::kRebuiltKey)] = "1";
  const int64_t current = table.metadata().current_snapshot_id.value_or(0);
  planned.commit.planned_sequence = table::SequenceOf(table.metadata(), current);
  K2_ASSIGN(const std::vector<table::ScanFile> live, table::PlanScan(table.io(), table.metadata(), current, scope));
  for (const table::ScanFile& file : live) planned.commit.removed.push_back(WithoutMetrics(file.file));
  planned.needs_rows = live.empty();
  return planned;
}

// Some days of Gold are rebuilt by replacing whole files: none may hold rows of other days, too.
Status CheckFilesAreWithin(const table::Table& gold, const iceberg::Schema& rows, const DayRange& days) {
  if (days.all()) return {};
  const iceberg::TableMetadata& metadata = gold.metadata();
  K2_ASSIGN(const std::vector<table::ScanFile> live,
            table::PlanScan(gold.io(), metadata, metadata.current_snapshot_id.value_or(0), {}));
  DayRange wide = days;
  const iceberg::DataFile* beyond = nullptr;
  for (bool wider = true; wider;) {
    wider = false;
    for (const table::ScanFile& file : live) {
      const HourRange hours = HoursOf(metadata, rows, file.file);
      const auto first = static_cast<int32_t>(FloorDiv(hours.first, 24));
      const auto last = static_cast<int32_t>(FloorDiv(hours.last, 24));
      if (last < wide.first || first > wide.last || (first >= wide.first && last <= wide.last)) continue;
      wide = {.first = std::min(wide.first, first), .last = std::max(wide.last, last)};
      beyond = &file.file;
      wider = true;
    }
  }
  if (beyond == nullptr) return {};
  constexpr int32_t kDaysMax = 3'000'000;  // of years that have four digits
  const bool known = wide.first > -kDaysMax && wide.last < kDaysMax;
  return Fail(ErrorKind::kInvalidArgument,
              "cannot rebuild {}: it is not partitioned by day only, and files such as {} also hold rows of other "
              "days. Rebuild {}; nothing was changed",
              task::kGoldTable, beyond->file_path,
              known ? fmt::format("--from {} --to {}", FormatDate(wide.first), FormatDate(wide.last))
                    : std::string("all of it, without --from and --to"));
}

int64_t RowsOf(const std::vector<iceberg::DataFile>& files) {
  int64_t rows = 0;
  for (const iceberg::DataFile& file : files) rows += file.record_count;
  return rows;
}

Status EachText(const table::Table& table, const iceberg::DataFile& file, const iceberg::DeleteFiles& deletes,
                std::string_view column, const std::function<void(std::string_view)>& use) {
  K2_ASSIGN(const task::TableShape shape, ShapeOf(table, task::TableUse::kRead));
  const task::TaskContext context{.io = table.io_ptr(), .schemas = nullptr};
  return task::ReadInput(context, {.path = file.file_path, .deletes = deletes}, shape, {std::string(column)},
                         [&](const std::shared_ptr<arrow::RecordBatch>& batch) -> Status {
                           const task::TextView texts(batch->column(0));
                           for (int64_t row = 0; row < batch->num_rows(); ++row) use(texts[row]);
                           return {};
                         });
}

// The ids of rows that are rejected now, as far as their messages can be decoded.
class RejectedIds {
 public:
  explicit RejectedIds(std::shared_ptr<registry::SchemaSource> schemas) : topics_(std::move(schemas)) {}

  Status Read(const table::Table& rejected, const std::vector<iceberg::DataFile>& files) {
    K2_ASSIGN(const task::TableShape shape, ShapeOf(rejected, task::TableUse::kRead));
    const task::TaskContext context{.io = rejected.io_ptr(), .schemas = nullptr};
    const auto take = [&](const std::shared_ptr<arrow::RecordBatch>& batch) -> Status {
      const task::TextView topics(batch->GetColumnByName("topic"));
      const auto& payloads = static_cast<const arrow::BinaryArray&>(*batch->GetColumnByName("payload"));
      task::HeaderView headers(batch->GetColumnByName("headers"));
      for (int64_t row = 0; row < batch->num_rows(); ++row) {
        if (payloads.IsValid(row)) K2_TRY(Add(topics[row], headers[row], payloads.GetView(row)));
      }
      return Flush();
    };
    const std::vector<std::string> columns = task::WithOptional({"topic", "payload"}, {"headers"}, shape);
    for (const iceberg::DataFile& file : files) {
      K2_TRY(task::ReadInput(context, {.path = file.file_path}, shape, columns, take));
    }
    return {};
  }
  [[nodiscard]] bool Contains(const Uuid& id) const { return ids_.contains(id); }

 private:
  struct Reader {
    explicit Reader(std::shared_ptr<registry::SchemaSource> source) : schemas(std::move(source)) {}
    std::shared_ptr<registry::SchemaSource> schemas;
    trade::MessageDecoder decoder{trade::MessageDecoder::Mode::kDecodeOnly};
  };

  Status Add(std::string_view topic, std::span<const trade::MessageHeader> headers, std::string_view payload) {
    const exchange::Exchange* exchange = exchange::ExchangeOfTopic(topic);
    const std::optional<trade::MessageFraming> framing = trade::FramingOf(headers, payload);
    if (exchange == nullptr || !framing) return {};
    Reader& reader = topic.starts_with(kRecordingPrefix) ? recordings_ : topics_;
    if (!reader.decoder.HasSchema(framing->schema)) {
      const Result<std::string> schema = reader.schemas->SchemaJson(framing->schema);
      if (schema) {
        (void)reader.decoder.AddSchema(framing->schema, *schema);
      } else if (schema.error().kind == ErrorKind::kUnavailable) {
        return std::unexpected(schema.error());
      }
    }
    (void)reader.decoder.Decode(payload, framing, exchange->message_name, decoded_);
    return decoded_.Full() ? Flush() : Status{};
  }

  Status Flush() {
    ArrowArray array;
    ArrowSchema schema;
    decoded_.Export(&array, &schema);
    K2_ARROW_ASSIGN(const auto batch, arrow::ImportRecordBatch(&array, &schema), "taking over decoded rows");
    const task::TextView ids(batch->GetColumnByName("message_id"));
    for (int64_t row = 0; row < batch->num_rows(); ++row) ids_.insert(task::IdOfText(ids[row]));
    return {};
  }

  Reader topics_;
  Reader recordings_{std::make_shared<registry::FileSchemaSource>()};
  trade::TradeColumns decoded_;
  task::IdSet ids_;
};

// Ids of one commit's table that would be gone after it, and those that would be there and are not now.
struct Vanishing {
  std::vector<Uuid> ids;
  std::string example;
  int64_t returning = 0;
};

// The delete files that apply to each file of the table's head, by its path.
Result<std::map<std::string, iceberg::DeleteFiles, std::less<>>> DeletesByPath(const table::Table& table) {
  std::map<std::string, iceberg::DeleteFiles, std::less<>> deletes;
  const iceberg::TableMetadata& metadata = table.metadata();
  if (!metadata.current_snapshot_id) return deletes;
  K2_ASSIGN(const std::vector<table::ScanFile> files,
            table::PlanScan(table.io(), metadata, *metadata.current_snapshot_id, {}));
  for (const table::ScanFile& file : files) {
    if (!file.deletes.empty()) deletes.emplace(file.file.file_path, file.deletes);
  }
  return deletes;
}

Result<Vanishing> FindVanishing(const table::Table& table, const table::LayerCommit& commit, int64_t memory_bytes) {
  const int64_t bytes = RowsOf(commit.added) * kBytesAnId;
  const auto shares = static_cast<uint64_t>(bytes / std::max<int64_t>(memory_bytes, 1) + 1);
  Vanishing vanishing;
  K2_ASSIGN(const auto deletes, DeletesByPath(table));
  for (uint64_t share = 0; share < shares; ++share) {
    const auto in_share = [&](const Uuid& id) { return (task::UuidHash{}(id) >> 32) % shares == share; };
    boost::unordered_flat_map<Uuid, bool, task::UuidHash>
        ids;  // of those written or removed, whether the table has it now
    for (const iceberg::DataFile& file : commit.added) {
      K2_TRY(EachText(table, file, {}, "message_id", [&](std::string_view text) {
        if (const Uuid id = task::IdOfText(text); in_share(id)) ids.emplace(id, false);
      }));
    }
    for (const iceberg::DataFile& file : commit.removed) {
      const auto of_file = deletes.find(file.file_path);
      K2_TRY(EachText(table, file, of_file == deletes.end() ? iceberg::DeleteFiles{} : of_file->second, "message_id",
                      [&](std::string_view text) {
                        const Uuid id = task::IdOfText(text);
                        if (!in_share(id)) return;
                        const auto [at, vanishes] = ids.emplace(id, true);
                        at->second = true;
                        if (!vanishes) return;  // or was told already
                        if (vanishing.ids.empty()) vanishing.example = text;
                        vanishing.ids.push_back(id);
                      }));
    }
    vanishing.returning += std::ranges::count_if(ids, [](const auto& id) { return !id.second; });
  }
  return vanishing;
}

// The layer above still holds what somebody has deleted from this one.
void WarnOfReturning(const PlannedCommit& planned, int64_t trades) {
  if (trades == 0 || planned.commit.removed.empty()) return;
  log::Warn(
      "the rebuild adds trades that the table does not hold now: rows deleted from it reappear, unless changed "
      "validation rules accept them for the first time",
      {{"table", planned.table}, {"trades", trades}});
}

}  // namespace

Result<StepPlan> PlanRebuild(const Lakehouse& lakehouse, const LayerOptions& options, LayerId layer,
                             const DayRange& days, int32_t tasks) {
  if (layer == LayerId::kSilver && days.all()) {
    K2_ASSIGN(const auto silver, SilverLayer::Open(lakehouse, options, nullptr, nullptr));
    return silver->PlanRebuild(tasks);
  }
  if (layer == LayerId::kGold) {
    K2_ASSIGN(const auto gold, GoldLayer::Open(lakehouse, options, nullptr));
    return gold->PlanRebuild(days, tasks);
  }
  if (layer == LayerId::kSilver) {
    return Fail(ErrorKind::kInvalidArgument, "--from, --to: Silver is rebuilt as a whole; days are for Gold");
  }
  return Fail(ErrorKind::kInvalidArgument, "--layer {}: silver, gold and rejected can be rebuilt", ToString(layer));
}

Status CheckNothingVanishes(const StepPlan& plan, const TableByName& table,
                            const std::shared_ptr<registry::SchemaSource>& schemas, int64_t memory_bytes) {
  std::optional<RejectedIds> rejected;
  for (const PlannedCommit& planned : plan.commits) {
    K2_ASSIGN(const table::Table* const of, table(planned.table));
    if (planned.table == task::kRejectedTable) continue;
    K2_ASSIGN(Vanishing vanishing, FindVanishing(*of, planned.commit, memory_bytes));
    if (!vanishing.ids.empty() && !rejected) {
      rejected.emplace(schemas);
      for (const PlannedCommit& other : plan.commits) {
        if (other.table != task::kRejectedTable) continue;
        K2_ASSIGN(const table::Table* const dead_letters, table(other.table));
        K2_TRY(rejected->Read(*dead_letters, other.commit.added));
      }
    }
    std::erase_if(vanishing.ids, [&](const Uuid& id) { return rejected->Contains(id); });
    if (vanishing.ids.empty()) {
      WarnOfReturning(planned, vanishing.returning);
      continue;
    }
    return Fail(ErrorKind::kInvalidData,
                "cannot rebuild {}: {} of its trades are no longer in the upstream layer (for example message_id {}). "
                "Nothing was changed",
                planned.table, vanishing.ids.size(), vanishing.example);
  }
  return {};
}

Status RunRebuild(StepPlan plan, const TableByName& table, const task::TaskContext& context,
                  const LayerOptions& options, LayerStats& stats) {
  K2_ASSIGN(const std::vector<task::TaskResult> results,
            RunTasks(plan.tasks, std::vector<task::TaskContext>(plan.tasks.size(), context), options.threads));
  Status status = Complete(results, plan);
  if (status) status = CheckNothingVanishes(plan, table, context.schemas, options.gold_index_bytes);
  if (!status) {
    for (const task::TaskResult& result : results) DeleteUnsent(result.outputs, *context.io);
    return status;
  }
  K2_TRY(CommitCompleted(std::move(plan), table, options.commit, stats));
  for (const task::TaskResult& result : results) AddResult(result, stats);
  return {};
}

Result<StepPlan> SilverLayer::PlanRebuild(int32_t tasks) {
  own_tables_known_ = false;
  K2_TRY(Refresh());
  // A table that was rolled back is no part of the ranges, and rejected_trades would lose its rows.
  if (auto standing = standing_.error()) return std::unexpected(*std::move(standing));
  StepPlan plan{.layer = LayerId::kSilver, .tasks = {}, .ranges = {}, .commits = {}, .rebuild = true};
  std::vector<Range> ranges;
  for (size_t i = 0; i < silver_.size(); ++i) {
    K2_TRY(CheckNoRevalidationPending(silver_[i].metadata()));
    K2_ASSIGN(table::SourcePositions taken, finished_.All(silver_[i], silver_progress_[i]));
    taken.insert(silver_progress_[i].positions.begin(), silver_progress_[i].positions.end());
    for (const auto& [key, position] : taken) {
      const auto judged = rejected_progress_.positions.find(key);
      if (judged != rejected_progress_.positions.end() && judged->second.next_offset > position.next_offset) {
        return Fail(ErrorKind::kOffsetMismatch,
                    "{} is behind {} in {}: run Silver until it is up to date, then rebuild",
                    silver_[i].name().ToString(), task::kRejectedTable, key.ToString());
      }
      if (key.cluster != table::kRecordingCluster && position.messages < 0) {
        return Fail(ErrorKind::kOffsetMismatch,
                    "cannot rebuild {}: it is unknown how many messages of {} it has read, so messages missing from "
                    "Bronze would go unnoticed",
                    silver_[i].name().ToString(), key.ToString());
      }
      plan.ranges.push_back(
          {.key = key, .begin = {.next_offset = 0, .messages = 0}, .end = position, .counted_at_end = true});
      ranges.push_back({.key = key, .begin = {}, .rejected_begin = {}, .end = position, .bronze_end = {}, .table = i});
    }
  }
  if (ranges.empty()) return plan;
  K2_ASSIGN(const std::vector<table::ScanFile> bronze,
            table::PlanScan(bronze_.io(), bronze_.metadata(), bronze_.metadata().current_snapshot_id.value_or(0), {}));
  std::vector<BronzeFile> files;
  int64_t rows = 0;
  for (const table::ScanFile& file : bronze) {
    files.push_back({.path = file.file.file_path,
                     .rows = file.file.record_count,
                     .parts = {},
                     .times = {},
                     .deletes = file.deletes});
    rows += file.file.record_count;
  }
  K2_ASSIGN(plan.tasks, MakeTasks(ranges, files, TasksFor(rows, options_.rows_per_step, tasks)));
  K2_ASSIGN(PlannedCommit rejected, Replacement(rejected_, {}));
  plan.commits.push_back(std::move(rejected));
  for (const table::Table& table : silver_) {
    K2_ASSIGN(PlannedCommit planned, Replacement(table, {}));
    planned.commit.next.rules_version = RulesOf(table);
    table::LayerProgress& of_rejected = plan.commits.front().commit.next;
    of_rejected.rules_version = std::max(of_rejected.rules_version, planned.commit.next.rules_version);
    plan.commits.push_back(std::move(planned));
  }
  return plan;
}

// What Silver holds now, but for what was appended since Gold has read it. Where its history does not reach back so
// far, that is read too: the next step then finds those trades in Gold.
Result<std::vector<table::ScanFile>> GoldLayer::FilesToReadAgain(const Upstream& upstream, const DayRange& days) {
  const iceberg::TableMetadata& metadata = upstream.table.metadata();
  if (!upstream.committed || upstream.committed->table_uuid != metadata.table_uuid || !metadata.current_snapshot_id) {
    return std::vector<table::ScanFile>{};
  }
  const int64_t current = *metadata.current_snapshot_id;
  K2_ASSIGN(std::vector<table::ScanFile> files,
            table::PlanScan(upstream.table.io(), metadata, current, ConjunctsOf(days, upstream.rows)));
  K2_ASSIGN(const table::Increment unread,
            table::PlanIncrement(upstream.table.io(), metadata, upstream.committed->snapshot_id, current));
  std::set<std::string_view> unread_paths;
  for (const table::ScanFile& file : unread.files) {
    // What others have rewritten holds rows that Gold has.
    const bool rewritten = std::ranges::find(unread.rewrites, file.snapshot_id) != unread.rewrites.end();
    if (!rewritten) unread_paths.insert(file.file.file_path);
  }
  std::erase_if(files, [&](const table::ScanFile& file) { return unread_paths.contains(file.file.file_path); });
  std::ranges::stable_sort(files, {}, &table::ScanFile::file_sequence_number);  // first come, first kept
  return files;
}

Result<std::vector<task::GoldTask>> GoldLayer::MakeTasksAnew(const FilesByUpstream& inputs, const DayRange& days,
                                                             int32_t tasks) {
  task::GoldTask whole;
  K2_ASSIGN(std::vector<GoldSlice> slices, Slices(inputs, whole));
  if (slices.empty()) return std::vector<task::GoldTask>{};
  int64_t rows = 0;
  int64_t first = INT64_MAX;
  int64_t last = INT64_MIN;
  for (GoldSlice& slice : slices) {
    slice.first_hour = std::max(slice.first_hour, int64_t{days.first} * 24);
    slice.last_hour = std::max(std::min(slice.last_hour, int64_t{days.last} * 24 + 23), slice.first_hour);
    first = std::min(first, slice.first_hour);
    last = std::max(last, slice.last_hour);
    rows += slice.rows;
  }
  const int32_t wanted = TasksFor(rows, options_.rows_per_step, tasks);
  std::vector<task::GoldTask> made = ShareOut(std::move(whole), slices, {.tasks = wanted, .cores = wanted});
  for (task::GoldTask& task : made) {
    task.attempt_id = RandomHex64();
    if (days.all() || !task.hours.empty()) continue;
    if (last - first > kRebuildHoursMax) {
      return Fail(ErrorKind::kInvalidArgument,
                  "the days to rebuild span more than {} hours, and Silver's files do not show which hours they hold: "
                  "give --from and --to",
                  kRebuildHoursMax);
    }
    for (int64_t hour = first; hour <= last; ++hour) task.hours.push_back(hour);
  }
  return made;
}

Result<StepPlan> GoldLayer::PlanRebuild(const DayRange& days, int32_t tasks) {
  Recover();
  K2_TRY(gold_.Refresh());
  K2_ASSIGN(progress_, table::FindProgress(gold_.metadata()));
  for (Upstream& upstream : upstreams_) K2_TRY(upstream.table.Refresh());
  K2_TRY(CheckShapes());
  K2_TRY(CheckFilesAreWithin(gold_, gold_rows_, days));
  StepPlan plan{.layer = LayerId::kGold, .tasks = {}, .ranges = {}, .commits = {}, .rebuild = true};
  FilesByUpstream inputs;
  for (Upstream& upstream : upstreams_) {
    const auto hint = progress_.progress.upstream.find(upstream.table.name().ToString());
    if (hint != progress_.progress.upstream.end()) upstream.committed = hint->second;
    K2_ASSIGN(auto files, FilesToReadAgain(upstream, days));
    inputs.push_back(std::move(files));
  }
  K2_ASSIGN(std::vector<task::GoldTask> made, MakeTasksAnew(inputs, days, tasks));
  for (task::GoldTask& task : made) plan.tasks.emplace_back(std::move(task));
  K2_ASSIGN(PlannedCommit planned, Replacement(gold_, ConjunctsOf(days, gold_rows_)));
  planned.commit.base_snapshot_id = progress_.snapshot_id;  // a row that a step adds meanwhile may be among them
  planned.commit.planned_snapshot_id = gold_.metadata().current_snapshot_id;  // and so may another engine's
  plan.commits.push_back(std::move(planned));
  return plan;
}

}  // namespace k2::pipeline
