#include <arrow/compute/api_vector.h>
#include <arrow/datum.h>
#include <arrow/record_batch.h>
#include <arrow/type.h>

#include <algorithm>

#include "base/time.h"
#include "table/arrow_adapt.h"
#include "table/arrow_schema.h"
#include "table/row_deletes.h"
#include "task/conform.h"
#include "task/gold_index.h"
#include "task/gold_rows.h"
#include "task/partitioned_write.h"
#include "task/task.h"

namespace k2::task {
namespace {

// A duplicate that was dropped, to be compared with the row that was kept.
struct Duplicate {
  TradeKey key;
  uint64_t content = 0;
  int64_t timestamp_us = 0;
};

// One run of a Gold task.
class GoldRun {
 public:
  GoldRun(const GoldTask& task, const TaskContext& context)
      : task_(task),
        context_(context),
        own_index_(task.memory_bytes),
        index_(context.index != nullptr ? *context.index : own_index_),
        rows_(task.output.shape.Rows()),
        writer_(task.output, task.attempt_id, context, "gold.data-file", /*hand_on=*/false) {
    for (const GoldFile& file : task.existing) {
      if (file.OfOneHour()) {
        existing_[file.first_hour].push_back(
            {.path = file.path, .record_count = file.record_count, .deletes = file.deletes});
      } else {
        of_several_hours_.push_back(&file);
      }
    }
  }

  Result<TaskResult> Run() {
    K2_ASSIGN(const std::shared_ptr<arrow::RecordBatch> rows, ReadRows());
    result_.rows_in = rows->num_rows();
    if (rows->num_rows() > 0) {
      const GoldRows view(*rows);
      for (auto& [hour, indices] : view.RowsByHour()) {
        K2_TRY(WriteHour(rows, view, hour, indices));
      }
    }
    result_.outputs.push_back(writer_.Finish());
    return std::move(result_);
  }

 private:
  Result<std::shared_ptr<arrow::RecordBatch>> ReadRows() {
    std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
    const bool all = task_.hours.empty() && task_.shares == 1;
    // What Gold has of Silver's columns, in Gold's types, whichever table or version of its schema a row is of.
    iceberg::Schema silver = rows_;
    std::erase_if(silver.fields, [](const auto& field) { return IsHourColumn(field.name); });
    const auto take = [&](std::shared_ptr<arrow::RecordBatch> batch) -> Status {
      K2_ASSIGN(batch, Conform(OfOneType(batch), silver, task_.output.name));
      if (!all) {
        K2_ASSIGN(batch, OwnRows(std::move(batch)));
      }
      if (batch->num_rows() > 0) batches.push_back(std::move(batch));
      return {};
    };
    TimeRange times;
    if (!task_.hours.empty()) {
      times.first_us = FirstMicros(task_.hours.front(), kMicrosPerHour);
      times.last_us = LastMicros(task_.hours.back(), kMicrosPerHour);
    }
    for (const GoldInput& input : task_.inputs) {
      for (const InputFile& file : input.files) {
        K2_TRY(ReadInput(context_, file, input.shape, {}, take, times));
      }
    }
    return CombineBatches(std::move(batches));
  }

  // Without columns of others that Gold has under the same name in another type: these are other columns.
  [[nodiscard]] std::shared_ptr<arrow::RecordBatch> OfOneType(std::shared_ptr<arrow::RecordBatch> batch) const {
    for (const iceberg::NestedField& field : rows_.fields) {
      const int at = batch->schema()->GetFieldIndex(field.name);
      if (at < 0 || task_.output.shape.columns.contains(field.name)) continue;
      if (!batch->column(at)->type()->Equals(*table::ToArrowType(field.type))) batch = *batch->RemoveColumn(at);
    }
    return batch;
  }

  // The rows of a batch that are this task's, where it takes a share only. Shares go by a hash of the id as Gold
  // compares it, so that all rows of one trade fall to the same one.
  Result<std::shared_ptr<arrow::RecordBatch>> OwnRows(std::shared_ptr<arrow::RecordBatch> batch) const {
    const GoldRows view(*batch);
    std::vector<int64_t> own;
    for (int64_t row = 0; row < view.size(); ++row) {
      if (!task_.hours.empty() && !std::ranges::binary_search(task_.hours, HourOfMicros(view.timestamp_us(row)))) {
        continue;
      }
      if (IsOwn(view, row)) own.push_back(row);
    }
    if (static_cast<int64_t>(own.size()) == view.size()) return batch;
    K2_TRY(table::EnsureArrowKernels());
    const arrow::Datum indices = Int64Array(std::move(own), arrow::int64());
    K2_ARROW_ASSIGN(const arrow::Datum taken,
                    arrow::compute::Take(batch, indices, arrow::compute::TakeOptions::NoBoundsCheck()),
                    "selecting a share of Silver's rows");
    return taken.record_batch();
  }

  // Whether the row's id falls to this task's share of the hour.
  [[nodiscard]] bool IsOwn(const GoldRows& view, int64_t row) const {
    if (task_.shares == 1) return true;
    const uint64_t hash = UuidHash{}(IdOfText(view.message_id(row))) >> 32;
    return hash % static_cast<uint64_t>(task_.shares) == static_cast<uint64_t>(task_.share);
  }

  Status WriteHour(const std::shared_ptr<arrow::RecordBatch>& rows, const GoldRows& view, int64_t hour,
                   const std::vector<int64_t>& indices) {
    K2_ASSIGN(std::vector<GoldIndex::File> unread, PrepareHour(hour));
    bool suspects = false;
    TradeSet added;
    std::vector<int64_t> kept;
    std::vector<TradeKey> kept_keys;
    std::vector<Duplicate> duplicates;
    kept.reserve(indices.size());
    kept_keys.reserve(indices.size());
    for (const int64_t row : indices) {
      const TradeKey key = view.Key(row, index_.names());
      if (index_.Contains(hour, key) || !added.Insert(key)) {
        duplicates.push_back({key, view.ContentHash(row), view.timestamp_us(row)});
        continue;
      }
      suspects |= key.suspect;
      kept.push_back(row);
      kept_keys.push_back(key);
    }
    if (suspects && (added.HasSequences() || index_.HasSequences(hour))) unread = FilesOf(hour);
    if (!unread.empty() || (suspects && added.HasSequences()))
      K2_TRY(DropKnown(hour, unread, view, kept, kept_keys, duplicates, added));
    for (const TradeKey& key : kept_keys) {
      if (index_.ContainsElsewhere(hour, key)) ++result_.identity_conflicts;
    }
    K2_TRY(CountConflicts(hour, view, kept, kept_keys, duplicates));
    result_.duplicates += static_cast<int64_t>(duplicates.size());
    result_.rows_out += static_cast<int64_t>(kept.size());
    if (kept.empty()) return {};
    view.SortBySymbolAndTime(kept);
    K2_ASSIGN(const auto batch, TakeGoldRows(*rows, kept, rows_, hour));
    K2_TRY(writer_.Write(batch));
    index_.Add(hour, added, writer_.last_paths());
    return {};
  }

  // Gold's files that may hold rows of an hour.
  [[nodiscard]] std::vector<GoldIndex::File> FilesOf(int64_t hour) const {
    std::vector<GoldIndex::File> files;
    if (const auto found = existing_.find(hour); found != existing_.end()) files = found->second;
    for (const GoldFile* file : of_several_hours_) {
      if (file->first_hour > hour || file->last_hour < hour) continue;
      files.push_back(
          {.path = file->path, .record_count = file->record_count, .other_hours = true, .deletes = file->deletes});
    }
    return files;
  }

  Result<std::vector<GoldIndex::File>> PrepareHour(int64_t hour) {
    return index_.Prepare(hour, FilesOf(hour), [&](const GoldIndex::File& file, const GoldIndex::Take& take) {
      return LoadKeys(hour, file, take);
    });
  }

  // Keys of a Gold file, batch by batch.
  Status LoadKeys(int64_t hour, const GoldIndex::File& file, const GoldIndex::Take& take) {
    bool more = true;
    const Status status = ReadOfHour(hour, file, {"message_id", "trade_id", "symbol", "exchange"},
                                     [&](const GoldRows& view, const std::vector<int64_t>& rows) {
                                       std::vector<TradeKey> keys;
                                       keys.reserve(rows.size());
                                       for (const int64_t row : rows) {
                                         if (IsOwn(view, row)) keys.push_back(view.Key(row, index_.names()));
                                       }
                                       more = take(keys);
                                       // Stops the read; told apart from a real error by `more`.
                                       return more ? Status{} : Status(Fail(ErrorKind::kCancelled, "enough"));
                                     });
    return more ? status : Status{};
  }

  // The rows that a file has of an hour.
  Status ReadOfHour(int64_t hour, const GoldIndex::File& file, std::vector<std::string> names,
                    const std::function<Status(const GoldRows&, const std::vector<int64_t>&)>& use) {
    int64_t from_us = 0;
    int64_t to_us = 0;
    if (file.other_hours) {
      names.emplace_back("timestamp");
      from_us = FirstMicros(hour, kMicrosPerHour);
      to_us = LastMicros(hour, kMicrosPerHour);
    }
    return ReadColumns(file, names, from_us, to_us, [&](const GoldRows& view) {
      std::vector<int64_t> rows;
      rows.reserve(static_cast<size_t>(view.size()));
      for (int64_t row = 0; row < view.size(); ++row) {
        if (!file.other_hours || HourOfMicros(view.timestamp_us(row)) == hour) rows.push_back(row);
      }
      return use(view, rows);
    });
  }

  // Of rows that are in Gold: a trade that somebody has deleted may come again.
  template <typename File>
  Status ReadColumns(const File& file, const std::vector<std::string>& names, int64_t from_us, int64_t to_us,
                     const std::function<Status(const GoldRows&)>& use) {
    table::ReadOptions options;
    options.name_mapping = task_.output.shape.name_mapping;
    for (const std::string& name : names) {
      const iceberg::NestedField* field = rows_.Find(name);
      if (field == nullptr) return Fail(ErrorKind::kInvalidData, "{} has no column {}", task_.output.name, name);
      options.field_ids.push_back(field->id);
    }
    if (from_us != 0 || to_us != 0) {
      options.range_field = rows_.Find("timestamp")->id;
      options.range_min = from_us;
      options.range_max = to_us;
    }
    return table::ReadLiveRows(*context_.io, file.path, file.deletes, rows_, options,
                               [&](const std::shared_ptr<arrow::RecordBatch>& batch) { return use(GoldRows(*batch)); });
  }

  // Files whose ids are not in memory: their ids are read past the batch's own, which are few enough to hold.
  Status DropKnown(int64_t hour, const std::vector<GoldIndex::File>& files, const GoldRows& view,
                   std::vector<int64_t>& kept, std::vector<TradeKey>& kept_keys, std::vector<Duplicate>& duplicates,
                   TradeSet& added) {
    boost::unordered_flat_map<Uuid, size_t, UuidHash> position;
    position.reserve(kept.size());
    std::vector<bool> known(kept.size(), false);
    bool any = false;
    for (size_t i = 0; i < kept.size(); ++i) {
      if (!position.emplace(kept_keys[i].id, i).second) known[i] = any = true;
    }
    for (const GoldIndex::File& file : files) {
      K2_TRY(ReadOfHour(hour, file, {"message_id"}, [&](const GoldRows& stored, const std::vector<int64_t>& rows) {
        for (const int64_t row : rows) {
          const auto found = position.find(IdOfText(stored.message_id(row)));
          if (found != position.end()) known[found->second] = any = true;
        }
        return Status{};
      }));
    }
    if (!any) return {};
    std::vector<int64_t> rows;
    std::vector<TradeKey> keys;
    added = TradeSet();
    for (size_t i = 0; i < kept.size(); ++i) {
      if (known[i]) {
        duplicates.push_back({kept_keys[i], view.ContentHash(kept[i]), view.timestamp_us(kept[i])});
        continue;
      }
      added.Insert(kept_keys[i]);
      rows.push_back(kept[i]);
      keys.push_back(kept_keys[i]);
    }
    kept = std::move(rows);
    kept_keys = std::move(keys);
    return {};
  }

  // A duplicate whose kept row says something else is an identity conflict. The kept row is in this batch, or in a
  // stored file at the same timestamp; where it is found nowhere with the same content, the content differs.
  Status CountConflicts(int64_t hour, const GoldRows& view, const std::vector<int64_t>& kept,
                        const std::vector<TradeKey>& kept_keys, const std::vector<Duplicate>& duplicates) {
    if (duplicates.empty()) return {};
    boost::unordered_flat_set<uint64_t> open;  // id and content of duplicates not yet explained
    const auto fingerprint = [](const Uuid& id, uint64_t content) { return UuidHash{}(id) ^ (content * 31); };
    int64_t from_us = INT64_MAX;
    int64_t to_us = INT64_MIN;
    for (const Duplicate& duplicate : duplicates) {
      open.insert(fingerprint(duplicate.key.id, duplicate.content));
      from_us = std::min(from_us, duplicate.timestamp_us);
      to_us = std::max(to_us, duplicate.timestamp_us);
    }
    boost::unordered_flat_set<Uuid, UuidHash> ids;
    for (const Duplicate& duplicate : duplicates) ids.insert(duplicate.key.id);
    for (size_t i = 0; i < kept.size(); ++i) {
      if (ids.contains(kept_keys[i].id)) open.erase(fingerprint(kept_keys[i].id, view.ContentHash(kept[i])));
    }
    for (const GoldFile& file : task_.existing) {
      if (open.empty()) break;
      if (file.first_hour > hour || file.last_hour < hour || file.max_timestamp_us < from_us ||
          file.min_timestamp_us > to_us)
        continue;
      K2_TRY(ReadColumns(file, GoldRows::ContentColumns(), from_us, to_us, [&](const GoldRows& stored) {
        for (int64_t row = 0; row < stored.size(); ++row) {
          open.erase(fingerprint(IdOfText(stored.message_id(row)), stored.ContentHash(row)));
        }
        return Status{};
      }));
    }
    for (const Duplicate& duplicate : duplicates) {
      if (open.contains(fingerprint(duplicate.key.id, duplicate.content))) ++result_.identity_conflicts;
    }
    return {};
  }

  const GoldTask& task_;
  const TaskContext& context_;
  GoldIndex own_index_;
  GoldIndex& index_;
  iceberg::Schema rows_;  // Gold's columns under K2's names
  PartitionedWriter writer_;
  std::map<int64_t, std::vector<GoldIndex::File>> existing_;  // of one hour
  std::vector<const GoldFile*> of_several_hours_;
  TaskResult result_;
};

}  // namespace

Result<TaskResult> RunGoldTask(const GoldTask& task, const TaskContext& context) {
  return GoldRun(task, context).Run();
}

}  // namespace k2::task
