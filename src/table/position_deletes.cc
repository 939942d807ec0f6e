#include "table/position_deletes.h"

#include <arrow/array/array_binary.h>
#include <arrow/array/builder_binary.h>
#include <arrow/chunked_array.h>
#include <arrow/io/interfaces.h>
#include <arrow/table.h>
#include <arrow/type.h>
#include <arrow/util/key_value_metadata.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/writer.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <parquet/properties.h>

#include <algorithm>

#include "base/version.h"
#include "storage/arrow_error.h"
#include "table/arrow_adapt.h"

namespace k2::table {
namespace {

constexpr std::string_view kFilePathId = "2147483546";

// Runs a function that uses Parquet's reader or writer; its exceptions and statuses become errors.
template <typename Function>
Status GuardDeletes(const std::string& what, const Function& function) {
  try {
    const arrow::Status status = function();
    if (!status.ok()) return std::unexpected(storage::ArrowError(status, what));
    return {};
  } catch (const parquet::ParquetStatusException& error) {
    return std::unexpected(storage::ArrowError(error.status(), what));
  } catch (const std::exception& error) {
    return Fail(ErrorKind::kInvalidData, "{}: {}", what, error.what());
  }
}

// The column file_path, by its field id or by its name.
int FilePathColumn(const arrow::Schema& schema) {
  for (int i = 0; i < schema.num_fields(); ++i) {
    const auto& metadata = schema.field(i)->metadata();
    const auto id = metadata == nullptr ? std::string() : metadata->Get("PARQUET:field_id").ValueOr("");
    if (id == kFilePathId) return i;
  }
  return schema.GetFieldIndex("file_path");
}

template <typename Array>
arrow::Status RenameEach(const arrow::Array& chunk, const iceberg::NewName& name, arrow::StringBuilder& builder,
                         iceberg::RewrittenFile& done) {
  const auto& paths = static_cast<const Array&>(chunk);
  std::string last;
  std::string renamed;
  for (int64_t row = 0; row < paths.length(); ++row) {
    const std::string_view path = paths.GetView(row);
    if (row == 0 || path != last) {  // rows of one file follow each other
      last = path;
      renamed = name(last);
      if (done.lowest_path.empty() || renamed < done.lowest_path) done.lowest_path = renamed;
      done.highest_path = std::max(done.highest_path, renamed);
    }
    ARROW_RETURN_NOT_OK(builder.Append(renamed));
  }
  return arrow::Status::OK();
}

arrow::Result<std::shared_ptr<arrow::Array>> RenamePaths(const arrow::ChunkedArray& column,
                                                         const iceberg::NewName& name, iceberg::RewrittenFile& done) {
  arrow::StringBuilder builder;
  for (const auto& chunk : column.chunks()) {
    switch (chunk->type_id()) {
      case arrow::Type::STRING: ARROW_RETURN_NOT_OK(RenameEach<arrow::StringArray>(*chunk, name, builder, done)); break;
      case arrow::Type::LARGE_STRING:
        ARROW_RETURN_NOT_OK(RenameEach<arrow::LargeStringArray>(*chunk, name, builder, done));
        break;
      case arrow::Type::BINARY: ARROW_RETURN_NOT_OK(RenameEach<arrow::BinaryArray>(*chunk, name, builder, done)); break;
      default: return arrow::Status::Invalid("file_path is of type ", chunk->type()->ToString());
    }
  }
  return builder.Finish();
}

arrow::Result<std::shared_ptr<arrow::Table>> Rename(const arrow::Table& table, const iceberg::NewName& name,
                                                    iceberg::RewrittenFile& done) {
  const int column = FilePathColumn(*table.schema());
  if (column < 0) return arrow::Status::Invalid("it has no column file_path");
  ARROW_ASSIGN_OR_RAISE(auto paths, RenamePaths(*table.column(column), name, done));
  const auto field = table.schema()->field(column)->WithType(arrow::utf8());
  return table.SetColumn(column, field, std::make_shared<arrow::ChunkedArray>(std::move(paths)));
}

}  // namespace

Result<iceberg::RewrittenFile> RewritePositionDeletes(storage::FileIo& io, const std::string& from,
                                                      const std::string& to, const iceberg::NewName& name) {
  if (!from.ends_with(".parquet")) {
    return Fail(ErrorKind::kUnsupported,
                "position delete file {} is not Parquet: compact the table first so that its deletes are applied",
                from);
  }
  K2_TRY(EnsureArrowKernels());
  K2_ASSIGN(auto file, io.Open(from));
  iceberg::RewrittenFile done{.location = to};
  std::shared_ptr<arrow::Table> table;
  std::shared_ptr<const arrow::KeyValueMetadata> footer;
  K2_TRY(GuardDeletes("read position delete file " + from, [&]() -> arrow::Status {
    auto raw = parquet::ParquetFileReader::Open(std::move(file));
    if (const auto& entries = raw->metadata()->key_value_metadata()) {
      auto kept = std::make_shared<arrow::KeyValueMetadata>();
      for (const auto& [key, value] : entries->sorted_pairs()) {
        if (key != "ARROW:schema") kept->Append(key, value);
      }
      footer = std::move(kept);
    }
    ARROW_ASSIGN_OR_RAISE(auto reader, parquet::arrow::FileReader::Make(arrow::default_memory_pool(), std::move(raw),
                                                                        parquet::ArrowReaderProperties()));
    ARROW_ASSIGN_OR_RAISE(auto read, reader->ReadTable());
    ARROW_ASSIGN_OR_RAISE(table, Rename(*read, name, done));
    return arrow::Status::OK();
  }));
  K2_ASSIGN(const auto sink, io.Create(to));
  Status written = GuardDeletes("write position delete file " + to, [&]() -> arrow::Status {
    parquet::WriterProperties::Builder properties;
    properties.compression(parquet::Compression::ZSTD);
    properties.created_by(fmt::format("k2 version {}", k2::kVersion));
    ARROW_ASSIGN_OR_RAISE(
        auto writer, parquet::arrow::FileWriter::Open(*table->schema()->RemoveMetadata(), arrow::default_memory_pool(),
                                                      sink, properties.build()));
    ARROW_RETURN_NOT_OK(writer->WriteTable(*table, std::max<int64_t>(1, table->num_rows())));
    if (footer != nullptr) ARROW_RETURN_NOT_OK(writer->AddKeyValueMetadata(footer));
    ARROW_RETURN_NOT_OK(writer->Close());
    ARROW_ASSIGN_OR_RAISE(done.size_bytes, sink->Tell());
    return sink->Close();
  });
  if (written) written = io.Sync(to);
  if (!written) {
    if (!sink->closed()) (void)sink->Abort();
    (void)io.Delete(to);
    return std::unexpected(written.error());
  }
  return done;
}

}  // namespace k2::table
