#include "task/finished_rows.h"

#include <arrow/array.h>
#include <arrow/type.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>

#include "base/uuid.h"
#include "table/data_file_io.h"
#include "task/partitioned_write.h"
#include "task/text_view.h"

namespace k2::task {
namespace {

constexpr std::string_view kFinishedPrefix = "recording/";
constexpr size_t kPrefixDigits = 15;  // fit a long

const std::vector<const char*>& FinishedNumbers() {
  static const std::vector<const char*> names = {"hash_prefix", "next_offset", "next_line",
                                                 "next_byte",   "segment",     "generation"};
  return names;
}
const std::vector<const char*>& FinishedTexts() {
  static const std::vector<const char*> names = {"table_name", "table_uuid", "topic", "line_hash"};
  return names;
}

std::string_view HashOf(std::string_view topic) { return topic.substr(topic.rfind('/') + 1); }

std::shared_ptr<arrow::Array> FinishedText(const std::vector<FinishedRow>& rows,
                                           const std::function<std::string_view(const FinishedRow&)>& value) {
  source::ByteColumn column;
  for (const FinishedRow& row : rows) column.Append(value(row));
  return BytesArray(std::move(column), arrow::utf8());
}

std::shared_ptr<arrow::Array> FinishedLong(const std::vector<FinishedRow>& rows,
                                           const std::function<int64_t(const FinishedRow&)>& value,
                                           std::shared_ptr<arrow::DataType> type = arrow::int64()) {
  std::vector<int64_t> column;
  column.reserve(rows.size());
  for (const FinishedRow& row : rows) column.push_back(value(row));
  return Int64Array(std::move(column), std::move(type));
}

}  // namespace

table::SourceKey FinishedRow::Key() const {
  return {.cluster = table::kRecordingCluster, .topic = topic, .topic_id = std::string(HashOf(topic)), .partition = 0};
}

std::optional<int64_t> HashPrefixOf(const table::SourceKey& key) {
  const std::string_view hash = HashOf(key.topic);
  if (key.cluster != table::kRecordingCluster || key.partition != 0 || hash != key.topic_id ||
      !key.topic.starts_with(kFinishedPrefix) || hash.size() < kPrefixDigits) {
    return std::nullopt;
  }
  int64_t prefix = 0;
  const auto [end, error] = std::from_chars(hash.data(), hash.data() + kPrefixDigits, prefix, 16);
  if (error != std::errc() || end != hash.data() + kPrefixDigits || prefix < 0) return std::nullopt;
  return prefix;
}

Result<std::vector<iceberg::DataFile>> WriteFinishedRows(const OutputTable& output, std::shared_ptr<storage::FileIo> io,
                                                         std::vector<FinishedRow> rows) {
  std::ranges::sort(rows, [](const FinishedRow& a, const FinishedRow& b) {
    return std::tie(a.hash_prefix, a.topic, a.table_name, a.generation) <
           std::tie(b.hash_prefix, b.topic, b.table_name, b.generation);
  });
  const auto count = static_cast<int64_t>(rows.size());
  const auto batch =
      NamedBatch({"hash_prefix", "table_name", "table_uuid", "topic", "next_offset", "next_line", "next_byte",
                  "line_hash", "segment", "generation", "finished_at"},
                 {FinishedLong(rows, [](const FinishedRow& row) { return row.hash_prefix; }),
                  FinishedText(rows, [](const FinishedRow& row) { return std::string_view(row.table_name); }),
                  FinishedText(rows, [](const FinishedRow& row) { return std::string_view(row.table_uuid); }),
                  FinishedText(rows, [](const FinishedRow& row) { return std::string_view(row.topic); }),
                  FinishedLong(rows, [](const FinishedRow& row) { return row.at.next_offset; }),
                  FinishedLong(rows, [](const FinishedRow& row) { return row.at.next_line; }),
                  FinishedLong(rows, [](const FinishedRow& row) { return row.at.next_byte; }),
                  FinishedText(rows, [](const FinishedRow& row) { return std::string_view(row.at.line_hash); }),
                  FinishedLong(rows, [](const FinishedRow& row) { return row.at.segment; }),
                  FinishedLong(rows, [](const FinishedRow& row) { return row.generation; }),
                  FinishedLong(
                      rows, [](const FinishedRow& row) { return row.finished_at_us; },
                      arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"))},
                 count);
  const TaskContext context{.io = std::move(io), .schemas = nullptr, .cache = nullptr};
  const std::string attempt_id = RandomHex64();
  PartitionedWriter writer(output, attempt_id, context, "finished.data-file", /*hand_on=*/false);
  K2_TRY(writer.Write({batch}));
  return writer.Finish().files;
}

Status ReadFinishedRows(storage::FileIo& io, const std::string& path, const TableShape& shape,
                        std::pair<int64_t, int64_t> prefixes, const std::function<void(FinishedRow)>& take) {
  const iceberg::Schema schema = shape.Rows();
  table::ReadOptions options;
  options.name_mapping = shape.name_mapping;
  for (const char* name : FinishedNumbers()) options.field_ids.push_back(schema.Find(name)->id);
  for (const char* name : FinishedTexts()) options.field_ids.push_back(schema.Find(name)->id);
  options.field_ids.push_back(schema.Find("finished_at")->id);
  options.range_field = schema.Find("hash_prefix")->id;
  options.range_min = prefixes.first;
  options.range_max = prefixes.second;
  return table::ReadDataFile(io, path, schema, options, [&](const std::shared_ptr<arrow::RecordBatch>& batch) {
    std::map<std::string_view, const int64_t*> numbers;
    for (const char* name : FinishedNumbers()) {
      numbers[name] = static_cast<const arrow::Int64Array&>(*batch->GetColumnByName(name)).raw_values();
    }
    std::map<std::string_view, TextView> texts;
    for (const char* name : FinishedTexts()) texts.emplace(name, TextView(batch->GetColumnByName(name)));
    const auto& finished_at = static_cast<const arrow::TimestampArray&>(*batch->GetColumnByName("finished_at"));
    for (int64_t i = 0; i < batch->num_rows(); ++i) {
      const int64_t prefix = numbers["hash_prefix"][i];
      if (prefix < prefixes.first || prefix > prefixes.second) continue;
      take({.hash_prefix = prefix,
            .table_name = std::string(texts.at("table_name")[i]),
            .table_uuid = std::string(texts.at("table_uuid")[i]),
            .topic = std::string(texts.at("topic")[i]),
            .at = {.next_offset = numbers["next_offset"][i],
                   .next_line = numbers["next_line"][i],
                   .next_byte = numbers["next_byte"][i],
                   .line_hash = std::string(texts.at("line_hash")[i]),
                   .segment = numbers["segment"][i]},
            .generation = numbers["generation"][i],
            .finished_at_us = finished_at.Value(i)});
    }
    return Status{};
  });
}

}  // namespace k2::task
