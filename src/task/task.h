// A layer's work as values: Task -> TaskResult. Stateless: no catalog, no offsets kept. The same function runs in the
// threads of `k2 run`, in the process `k2 task`, and in the executors of a cluster.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "iceberg/data_file.h"
#include "iceberg/delete_index.h"
#include "iceberg/schema.h"
#include "registry/schema_source.h"
#include "source/source.h"
#include "storage/file_io.h"
#include "table/source_offsets.h"
#include "task/table_shape.h"

namespace k2::kafka {
class KafkaRanges;
}

namespace k2::task {

// Where a task writes: what it needs to know of a table without asking a catalog.
struct OutputTable {
  std::string name;      // within the namespace
  std::string location;  // of the table
  TableShape shape;
  iceberg::PartitionSpec spec;
};

struct InputFile {
  std::string path;
  int64_t record_count = 0;  // deleted rows among them
  // By field id: what its rows have in columns that importers have left out of it, for the partition tells them.
  std::map<int32_t, iceberg::Literal> constants{};
  iceberg::DeleteFiles deletes = {};  // that apply to the file: their rows are none of the table's
};

// A source partition that a Bronze task reads, and from where.
struct BronzeInput {
  table::SourceKey source;
  std::string exchange;   // recordings: topic name of the exchange
  std::string recording;  // recordings: path
  table::SourcePosition begin;
  int64_t end_offset = -1;  // Kafka: all up to this offset and none from it on; -1: what there is, within the limits
};

// Messages of some source partitions to Bronze files, each input's rows together and in order.
struct BronzeTask {
  std::vector<BronzeInput> inputs;
  int64_t max_messages = 0;  // of all inputs together
  int64_t max_bytes = 0;
  OutputTable output;
  std::string attempt_id;
};

// Offsets [begin, end) of one source partition that a Silver task decides about.
struct OffsetRange {
  std::string topic;
  std::string topic_id = {};  // of its rows; empty: whatever they have
  int32_t partition = 0;
  int64_t begin = 0;
  int64_t end = 0;
  // rejected_trades may hold rows of the range already (a crash came between two tables): those are left out, all
  // others are validated.
  bool leave_out_rejected = false;
  bool without_topic_id = true;  // rows that have no topic_id are of it, too
  [[nodiscard]] bool Takes(std::string_view row_topic_id) const {
    return topic_id.empty() || (row_topic_id.empty() ? without_topic_id : row_topic_id == topic_id);
  }
  bool operator==(const OffsetRange&) const = default;
};

// Bronze rows of some offset ranges to Silver and rejected_trades files.
struct SilverTask {
  std::vector<InputFile> inputs;
  TableShape input_shape;
  std::vector<OffsetRange> ranges;
  // Of rejected_trades, that may hold rows of such ranges. Rows that others have deleted from it since were
  // rejected all the same.
  std::vector<std::string> rejected_files;
  std::string schema_folder;        // schemas by id beside the built-in ones; may be empty
  std::vector<OutputTable> silver;  // found by their names: those that the registry has for exchanges of `ranges`
  OutputTable rejected;
  std::string attempt_id;
};

// A Gold file that may hold ids of the hours a Gold task writes to.
struct GoldFile {
  std::string path;
  int64_t first_hour = 0;  // hours since 1970 that its rows may be of, both included: one, unless the table is, or was
  int64_t last_hour = 0;   // when it was written, partitioned otherwise than by hours
  int64_t record_count = 0;
  int64_t min_timestamp_us = INT64_MIN;  // bounds of its rows' times, where known
  int64_t max_timestamp_us = INT64_MAX;
  iceberg::DeleteFiles deletes = {};  // a trade that they remove is not in Gold
  [[nodiscard]] bool OfOneHour() const { return first_hour == last_hour; }
  bool operator==(const GoldFile&) const = default;
};

// Files of one Silver table. Tables that were made or migrated at different times give a column different ids.
struct GoldInput {
  TableShape shape;
  std::vector<InputFile> files;
};

// Silver rows to Gold files, each message_id once.
struct GoldTask {
  std::vector<GoldInput> inputs;
  std::vector<GoldFile> existing;  // all live Gold files of the hours the inputs can touch
  OutputTable output;
  std::string attempt_id;
  int64_t memory_bytes = 0;  // bound for ids held at once
  // Tasks of one step share its rows out: by hours since 1970, and the trades of a large hour by their ids.
  std::vector<int64_t> hours;  // only the rows of these; empty: of all
  int32_t share = 0;           // of `shares`: only the rows whose message_id falls to it
  int32_t shares = 1;
};

// Files into one for each partition of the table's present spec, and day, that together hold the same rows, but for
// those that delete files remove: Gold's in Gold's order, those of others as they came.
struct CompactionTask {
  std::vector<InputFile> inputs;
  std::optional<TableShape> input_shape = {};  // where the files are to get other columns than they were written with
  OutputTable output;
  std::string attempt_id;
};

using Task = std::variant<BronzeTask, SilverTask, GoldTask, CompactionTask>;

[[nodiscard]] inline const std::string& AttemptOf(const Task& task) {
  return std::visit([](const auto& one) -> const std::string& { return one.attempt_id; }, task);
}

struct TableFiles {
  std::string table;
  std::vector<iceberg::DataFile> files;
  [[nodiscard]] int64_t rows() const;
};

struct TaskResult {
  std::string attempt_id;  // the task's
  std::vector<TableFiles> outputs;
  int64_t rows_in = 0;
  int64_t rows_out = 0;
  std::map<std::string, int64_t> rejected;  // by reason
  int64_t duplicates = 0;
  int64_t identity_conflicts = 0;
  std::vector<table::SourcePosition> ends;  // Bronze: where the next task begins, in the order of its inputs
  std::vector<int64_t> range_rows;          // Silver: rows of each of the task's ranges, those that are deleted too
  source::SourceCounts counts;              // Bronze: what this task has seen
  std::string warning;                      // e.g. a recording that ends in half a line

  [[nodiscard]] const TableFiles* Find(std::string_view table) const;
};

class BatchCache;
class GoldIndex;
class HeldByTasks;

// What a task may use beside its description; everything but `io` only saves work, never changes the result.
struct TaskContext {
  std::shared_ptr<storage::FileIo> io;
  std::shared_ptr<registry::SchemaSource> schemas;
  BatchCache* cache = nullptr;                      // files this process has just written, in memory
  std::vector<source::SourceReader*> readers = {};  // Bronze: open readers that stand where the inputs begin
  GoldIndex* index = nullptr;                       // Gold: ids of recent hours
  kafka::KafkaRanges* kafka = nullptr;              // Bronze: opens partitions that no open reader was handed in for
  // Silver: where a schema cannot be had, its partition's rows are left out from there on and this is told; the results
  // are then not to be committed. Without it that is the task's error.
  HeldByTasks* held = nullptr;
  int64_t wait_us = 0;  // Bronze: how long to wait for a first message
  // Bronze and Silver: of the rows that a task holds in memory; then they go to files. A plan counts messages, and
  // knows nothing of their size.
  int64_t flush_bytes = int64_t{192} << 20;
};

Result<TaskResult> RunTask(const Task& task, const TaskContext& context);
Result<TaskResult> RunBronzeTask(const BronzeTask& task, const TaskContext& context);
Result<TaskResult> RunSilverTask(const SilverTask& task, const TaskContext& context);
Result<TaskResult> RunGoldTask(const GoldTask& task, const TaskContext& context);
Result<TaskResult> RunCompactionTask(const CompactionTask& task, const TaskContext& context);

// Reads a data file into the context's cache, for a task to come; nothing where it is there already, or has deletes.
Status ReadIntoCache(const TaskContext& context, const InputFile& file, const TableShape& shape);

// JSON both ways (docs/task.md): {"kind":"bronze|silver|gold|compaction", "version":…}.
std::string TaskToJson(const Task& task);
Result<Task> TaskFromJson(std::string_view json);
std::string TaskResultToJson(const TaskResult& result);
Result<TaskResult> TaskResultFromJson(std::string_view json);

// Path of one data file under a table: <location>/data/[<partition>/]<attempt>-<counter>.parquet. The random attempt id
// keeps tries apart, so that nothing is ever written twice under one name. The partition's folders are for people: long
// values are cut short in them. Error kInvalidArgument: the values are not those of the table's spec.
Result<std::string> DataFileLocation(const OutputTable& table, const std::vector<iceberg::Literal>& partition,
                                     const std::string& attempt_id, int32_t counter);

}  // namespace k2::task
