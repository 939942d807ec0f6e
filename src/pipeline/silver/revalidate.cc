#include "pipeline/silver/revalidate.h"

#include <arrow/array.h>
#include <arrow/c/bridge.h>
#include <arrow/compute/api_vector.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>

#include <algorithm>
#include <set>
#include <vector>

#include "base/log.h"
#include "base/uuid.h"
#include "pipeline/bronze/finished_sources.h"
#include "pipeline/silver/revalidation_mark.h"
#include "pipeline/step_plan.h"
#include "table/arrow_adapt.h"
#include "table/progress_json.h"
#include "table/recreated_topics.h"
#include "table/scan.h"
#include "task/header_view.h"
#include "task/market_tables.h"
#include "task/partitioned_write.h"
#include "task/revalidation.h"
#include "task/text_view.h"

namespace k2::pipeline {
namespace {

constexpr int kRevalidationRaces = 20;
constexpr int64_t kMarkRangesMax = 10'000;  // a mark is a table property: 200 KB at most, until its rows have left

// Where each row of a batch of rejected_trades comes from.
struct RejectedPlaces {
  explicit RejectedPlaces(const arrow::RecordBatch& batch)
      : topic(batch.GetColumnByName("topic")),
        topic_id(batch.GetColumnByName("topic_id")),
        partition_(*batch.GetColumnByName("partition")),
        offset(static_cast<const arrow::Int64Array&>(*batch.GetColumnByName("offset")).raw_values()) {}

  [[nodiscard]] int32_t partition(int64_t row) const { return static_cast<int32_t>(partition_[row]); }
  [[nodiscard]] RowSource source(int64_t row) const { return {topic[row], topic_id[row], partition(row)}; }

  task::TextView topic;
  task::TextView topic_id;
  task::IntegerView partition_;
  const int64_t* offset;
};

class RevalidationRun {
 public:
  RevalidationRun(const LayerOptions& options, const std::shared_ptr<registry::SchemaSource>& schemas, bool dry_run,
                  LayerStats& stats, table::Table rejected, table::Table bronze, FinishedSources finished)
      : options_(options),
        revalidation_(schemas, std::make_shared<registry::FileSchemaSource>(options.schema_folder)),
        dry_run_(dry_run),
        stats_(stats),
        rejected_(std::move(rejected)),
        bronze_(std::move(bronze)),
        finished_(std::move(finished)),
        context_{.io = rejected_.io_ptr(), .schemas = schemas} {
    stats_.layer = LayerId::kSilver;
  }

  Status Open(const Lakehouse& lakehouse) {
    for (const exchange::Exchange* exchange : exchange::Exchanges()) {
      K2_ASSIGN(table::Table table, lakehouse.OpenOrCreate(exchange->silver_table));
      silver_.push_back({.table = std::move(table), .progress = {}, .mark = {}, .round = Taken()});
    }
    return {};
  }

  Result<std::map<std::string, RevalidatedRows>> Run() {
    for (int races = 0;;) {
      Result<bool> more = Round();
      if (more && *more) continue;
      if (more) break;
      // A listed file that is not there was compacted meanwhile, and its snapshots expired.
      const bool race = more.error().kind == ErrorKind::kConflict || more.error().kind == ErrorKind::kNotFound;
      if (!race || ++races == kRevalidationRaces) {
        return std::unexpected(more.error());
      }
      log::Warn("reading rejected_trades again: the tables were changed", {{"error", more.error().message}});
    }
    K2_TRY(CountLeft());
    return std::move(rows_);
  }

 private:
  // What a round takes for one Silver table.
  struct Taken {
    trade::TradeColumns columns = trade::TradeColumns();
    std::unique_ptr<task::PartitionedWriter> writer;
    MessagePlaces places;
  };
  struct Silver {
    table::Table table;
    table::LayerProgress progress;
    RevalidationMark mark;
    Taken round;
    // PassedTo of the row before: rows of a file are mostly of one source.
    std::string last_topic = {};
    std::string last_topic_id = {};
    int32_t last_partition = -1;
    int64_t last_passed_to = 0;
  };

  // Takes what is accepted of some files of rejected_trades. False: nothing is left that would be.
  Result<bool> Round() {
    // Silver first: a row that has left rejected_trades by then is told by the mark, which the commit asks for again.
    for (Silver& silver : silver_) {
      K2_TRY(silver.table.Refresh());
      K2_ASSIGN(silver.progress, table::ReadProgress(silver.table.metadata()));
      K2_ASSIGN(const table::SourcePositions ended, finished_.All(silver.table, silver.progress));
      silver.progress.positions.insert(ended.begin(), ended.end());
      silver.last_partition = -1;
      K2_ASSIGN(silver.mark, ReadRevalidationMark(silver.table.metadata()));
    }
    K2_TRY(bronze_.Refresh());
    K2_ASSIGN(recreated_, table::ReadRecreatedTopics(bronze_.metadata()));
    if (!dry_run_) {
      K2_ASSIGN(const bool finished, Finish());
      if (finished) return true;
    }
    K2_TRY(RefreshRejected());
    K2_ASSIGN(const std::vector<table::ScanFile> files, LiveFilesOf(rejected_, {}));
    K2_TRY(BeginRound());
    std::vector<std::string> whole;
    for (const table::ScanFile& file : files) {
      if (full_) break;
      if (done_.contains(file.file.file_path)) continue;
      if (const Status took = TakeFrom(InputOf(rejected_.metadata(), file)); !took) {
        DeleteRound();
        return std::unexpected(took.error());
      }
      if (!full_) whole.push_back(file.file.file_path);
    }
    const bool any = std::ranges::any_of(silver_, [](const Silver& one) { return !one.round.places.empty(); });
    if (any && !dry_run_) {
      if (const Status committed = CommitRound(); !committed) {
        DeleteRound();
        return std::unexpected(committed.error());
      }
    }
    done_.insert(whole.begin(), whole.end());
    for (const auto& [reason, rows] : round_rows_) {
      rows_[reason].accepted += rows.accepted;
      rows_[reason].trades += rows.trades;
    }
    return any && !dry_run_;
  }

  static Result<std::vector<table::ScanFile>> LiveFilesOf(const table::Table& table,
                                                          const std::vector<iceberg::ColumnPredicate>& conjuncts) {
    if (!table.metadata().current_snapshot_id) return std::vector<table::ScanFile>{};
    return table::PlanScan(table.io(), table.metadata(), *table.metadata().current_snapshot_id, conjuncts);
  }

  // With what its columns are now.
  Status RefreshRejected() {
    K2_TRY(rejected_.Refresh());
    K2_ASSIGN(rejected_output_, OutputOf(rejected_));
    return {};
  }

  Status ReadRejected(const task::InputFile& file, const std::vector<std::string>& names,
                      const std::function<Status(std::shared_ptr<arrow::RecordBatch>)>& use) {
    return task::ReadInput(context_, file, rejected_output_.shape, names, use);
  }

  Status BeginRound() {
    begun_ = StartTime::Now();
    full_ = false;
    round_rows_.clear();
    taken_rows_ = 0;
    outputs_.clear();
    outputs_.reserve(silver_.size());  // writers keep references
    attempt_id_ = RandomHex64();
    for (Silver& silver : silver_) {
      K2_ASSIGN(task::OutputTable output, OutputOf(silver.table));
      outputs_.push_back(std::move(output));
      const bool older = task::FormatOf(silver.table.name().name, silver.table.metadata()) == task::TableFormat::kOlder;
      silver.round = Taken{.columns = trade::TradeColumns({.numbers_of_v2 = older})};
      silver.round.writer =
          std::make_unique<task::PartitionedWriter>(outputs_.back(), attempt_id_, context_, "silver.data-file", false);
    }
    return {};
  }

  Status TakeFrom(const task::InputFile& file) {
    return ReadRejected(file,
                        task::WithOptional({"topic", "partition", "offset", "payload", "reason"},
                                           {"topic_id", "headers"}, rejected_output_.shape),
                        [&](const std::shared_ptr<arrow::RecordBatch>& batch) { return TakeRows(*batch); });
  }

  Status TakeRows(const arrow::RecordBatch& batch) {
    const RejectedPlaces places(batch);
    const auto& payload = static_cast<const arrow::BinaryArray&>(*batch.GetColumnByName("payload"));
    const task::TextView reason(batch.GetColumnByName("reason"));
    task::HeaderView headers(batch.GetColumnByName("headers"));
    for (int64_t row = 0; row < batch.num_rows() && !full_; ++row) {
      const exchange::Exchange* exchange = exchange::ExchangeOfTopic(places.topic[row]);
      if (exchange == nullptr || payload.IsNull(row)) continue;
      Silver& silver = silver_[exchange::IndexOf(*exchange)];
      // What Silver has not passed yet it will decide about itself.
      if (places.offset[row] >= PassedTo(silver, places.source(row))) continue;
      K2_ASSIGN(const int64_t trades, revalidation_.Accept(places.topic[row], *exchange, headers[row],
                                                           payload.GetView(row), silver.round.columns));
      if (trades == 0) continue;
      silver.round.places.Add(places.source(row), places.offset[row]);
      RevalidatedRows& of_reason = round_rows_[std::string(reason[row])];
      ++of_reason.accepted;
      of_reason.trades += trades;
      const bool much = std::cmp_greater(silver.round.columns.bytes(), context_.flush_bytes);
      if (silver.round.columns.Full() || much) K2_TRY(FlushTaken(silver));
      full_ = !dry_run_ && (++taken_rows_ >= options_.rows_per_step || silver.round.places.ranges() >= kMarkRangesMax);
    }
    return {};
  }

  int64_t PassedTo(Silver& silver, const RowSource& row) const {
    if (silver.last_partition == row.partition && silver.last_topic == row.topic &&
        silver.last_topic_id == row.topic_id) {
      return silver.last_passed_to;
    }
    const table::SourceKey* source =
        table::SourceOfRow(silver.progress.positions, recreated_, row.topic, row.topic_id, row.partition);
    silver.last_topic = row.topic;
    silver.last_topic_id = row.topic_id;
    silver.last_partition = row.partition;
    return silver.last_passed_to = source == nullptr ? 0 : silver.progress.positions.at(*source).next_offset;
  }

  Status FlushTaken(Silver& silver) {
    if (silver.round.columns.rows() == 0) return {};
    ArrowArray array;
    ArrowSchema schema;
    silver.round.columns.Export(&array, &schema);
    K2_ARROW_ASSIGN(const auto batch, arrow::ImportRecordBatch(&array, &schema), "taking over decoded rows");
    if (dry_run_) return {};
    return silver.round.writer->Write(batch);
  }

  // The accepted rows into Silver, each table with a mark of the rows that are to leave rejected_trades.
  Status CommitRound() {
    for (Silver& silver : silver_) K2_TRY(FlushTaken(silver));
    for (Silver& silver : silver_) {
      if (silver.round.places.empty()) continue;
      const RevalidationMark mark{.id = RandomUuid().ToString(),
                                  .rejected_uuid = rejected_.metadata().table_uuid,
                                  .places = silver.round.places};
      table::LayerCommit commit;
      commit.added = silver.round.writer->Finish().files;
      commit.begun = begun_;
      commit.summary[std::string(kRevalidatedKey)] = mark.id;
      commit.make_properties = [&](const iceberg::TableMetadata& head) -> Result<std::map<std::string, std::string>> {
        K2_ASSIGN(const RevalidationMark at_head, ReadRevalidationMark(head));
        if (at_head.id != silver.mark.id || at_head.pending()) {
          return Fail(ErrorKind::kConflict, "another rebuild of rejected_trades has changed {}",
                      silver.table.name().ToString());
        }
        return std::map<std::string, std::string>{{std::string(kRevalidatedKey), MarkToJson(mark)}};
      };
      K2_TRY(CommitStep(silver.table, std::move(commit), options_.commit, LayerId::kSilver, stats_, "revalidated"));
    }
    return {};
  }

  // Files of a round that no commit was asked to name.
  void DeleteRound() {
    for (Silver& silver : silver_) DeleteUnsent({silver.round.writer->Finish()}, *context_.io);
  }

  // Rows that Silver has taken leave rejected_trades. True: there were some.
  Result<bool> Finish() {
    bool any = false;
    for (Silver& silver : silver_) {
      if (!silver.mark.pending()) continue;
      any = true;
      K2_TRY(RemoveTaken(silver.mark));
      K2_TRY(silver.table.Update([&](const iceberg::TableMetadata& head) -> Result<std::vector<iceberg::TableUpdate>> {
        K2_ASSIGN(const RevalidationMark at_head, ReadRevalidationMark(head));
        if (at_head.id != silver.mark.id || !at_head.pending()) return std::vector<iceberg::TableUpdate>{};
        return std::vector<iceberg::TableUpdate>{
            iceberg::SetProperties{{{std::string(kRevalidatedKey), MarkToJson({.id = at_head.id})}}}};
      }));
    }
    return any;
  }

  Status RemoveTaken(const RevalidationMark& mark) {
    K2_TRY(RefreshRejected());
    if (mark.rejected_uuid != rejected_.metadata().table_uuid) return {};  // it was dropped since, with these rows
    const auto [first, last] = mark.places.Bounds();
    const int32_t offset_id = rejected_output_.shape.Rows().Find("offset")->id;
    const StartTime begun = StartTime::Now();
    K2_ASSIGN(const std::vector<table::ScanFile> files,
              LiveFilesOf(rejected_, {{.field_id = offset_id, .op = iceberg::CompareOp::kGe, .values = {first}},
                                      {.field_id = offset_id, .op = iceberg::CompareOp::kLe, .values = {last}}}));
    const std::string attempt_id = RandomHex64();
    task::PartitionedWriter writer(rejected_output_, attempt_id, context_, "silver.rejected-data-file", false);
    table::LayerCommit commit;
    commit.begun = begun;
    commit.planned_sequence =
        table::SequenceOf(rejected_.metadata(), rejected_.metadata().current_snapshot_id.value_or(0));
    commit.summary[std::string(table::kRebuiltKey)] = "1";
    for (const table::ScanFile& file : files) {
      K2_ASSIGN(const bool holds, HoldsAny(InputOf(rejected_.metadata(), file), mark.places));
      if (!holds) continue;
      commit.removed.push_back(WithoutMetrics(file.file));
      if (const Status kept = WriteOthers(InputOf(rejected_.metadata(), file), mark.places, writer); !kept) {
        DeleteUnsent({writer.Finish()}, *context_.io);
        return kept;
      }
    }
    if (commit.removed.empty()) return {};
    commit.added = writer.Finish().files;
    commit.operation = commit.added.empty() ? "delete" : "overwrite";
    return CommitStep(rejected_, std::move(commit), options_.commit, LayerId::kSilver, stats_);
  }

  Result<bool> HoldsAny(const task::InputFile& file, const MessagePlaces& places) {
    bool any = false;
    const std::vector<std::string> columns =
        task::WithOptional({"topic", "partition", "offset"}, {"topic_id"}, rejected_output_.shape);
    K2_TRY(ReadRejected(file, columns, [&](const std::shared_ptr<arrow::RecordBatch>& batch) {
      const RejectedPlaces rows(*batch);
      for (int64_t row = 0; row < batch->num_rows() && !any; ++row) {
        any = places.Contains(rows.source(row), rows.offset[row]);
      }
      return Status{};
    }));
    return any;
  }

  // The rows of a file that are not at these places, whole.
  Status WriteOthers(const task::InputFile& file, const MessagePlaces& places, task::PartitionedWriter& writer) {
    return ReadRejected(file, {}, [&](const std::shared_ptr<arrow::RecordBatch>& batch) -> Status {
      const RejectedPlaces rows(*batch);
      std::vector<int64_t> others;
      for (int64_t row = 0; row < batch->num_rows(); ++row) {
        if (!places.Contains(rows.source(row), rows.offset[row])) others.push_back(row);
      }
      if (others.empty()) return {};
      K2_TRY(table::EnsureArrowKernels());
      K2_ARROW_ASSIGN(const arrow::Datum taken,
                      arrow::compute::Take(batch, task::Int64Array(std::move(others), arrow::int64()),
                                           arrow::compute::TakeOptions::NoBoundsCheck()),
                      "taking the rows that stay rejected");
      return writer.Write(taken.record_batch());
    });
  }

  Status CountLeft() {
    K2_TRY(RefreshRejected());
    K2_ASSIGN(const std::vector<table::ScanFile> files, LiveFilesOf(rejected_, {}));
    for (const table::ScanFile& file : files) {
      K2_TRY(ReadRejected(InputOf(rejected_.metadata(), file), {"reason"},
                          [&](const std::shared_ptr<arrow::RecordBatch>& batch) {
                            const task::TextView reason(batch->GetColumnByName("reason"));
                            for (int64_t row = 0; row < batch->num_rows(); ++row)
                              ++rows_[std::string(reason[row])].left;
                            return Status{};
                          }));
    }
    if (dry_run_) {
      for (auto& [reason, rows] : rows_) rows.left -= rows.accepted;
    }
    return {};
  }

  const LayerOptions& options_;
  task::Revalidation revalidation_;
  const bool dry_run_;
  LayerStats& stats_;
  table::Table rejected_;
  table::Table bronze_;
  FinishedSources finished_;
  table::RecreatedTopics recreated_;
  task::OutputTable rejected_output_;
  const task::TaskContext context_;
  std::vector<Silver> silver_;  // in the order of Exchanges()
  std::set<std::string> done_;  // files of rejected_trades of which no further row is accepted
  std::map<std::string, RevalidatedRows> rows_;
  // Of one round:
  StartTime begun_;
  std::string attempt_id_;
  std::vector<task::OutputTable> outputs_;
  std::map<std::string, RevalidatedRows> round_rows_;
  int64_t taken_rows_ = 0;
  bool full_ = false;
};

}  // namespace

Result<std::map<std::string, RevalidatedRows>> RevalidateRejected(
    const Lakehouse& lakehouse, const LayerOptions& options, const std::shared_ptr<registry::SchemaSource>& schemas,
    bool dry_run, LayerStats& stats) {
  K2_ASSIGN(table::Table rejected, lakehouse.Open(task::kRejectedTable));
  K2_ASSIGN(table::Table bronze, lakehouse.Open(task::kBronzeTable));
  RevalidationRun run(options, schemas, dry_run, stats, std::move(rejected), std::move(bronze),
                      FinishedSources(lakehouse));
  K2_TRY(run.Open(lakehouse));
  return run.Run();
}

}  // namespace k2::pipeline
