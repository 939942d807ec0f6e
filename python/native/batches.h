// Batches of rows that are handed to Python: memory that lives as long as anybody who was given it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arrow_stream.h"

namespace k2::python {

// One struct array and its schema; released with the last who holds it.
struct Batch {
  ArrowArray array{};
  ArrowSchema schema{};

  Batch() = default;
  ~Batch();
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
};

using SharedBatch = std::shared_ptr<const Batch>;

// What functions return: a table in batches of one schema. May be handed out any number of times.
class Table {
 public:
  // At least one batch, so that there is a schema; it may hold no rows.
  explicit Table(std::vector<SharedBatch> batches) : batches_(std::move(batches)) {}

  [[nodiscard]] int64_t rows() const;
  [[nodiscard]] std::vector<std::string> column_names() const;
  void ShareSchema(ArrowSchema* out) const;
  void ShareStream(ArrowArrayStream* out) const;

 private:
  std::vector<SharedBatch> batches_;
};

// Columns made by hand, each as long as the others.
class BatchBuilder {
 public:
  void AddLongs(std::string name, std::vector<int64_t> values);
  void AddInts(std::string name, const std::vector<std::optional<int32_t>>& values);
  // Texts (utf8) or bytes (binary): value i is data[ends[i - 1], ends[i]).
  void AddTexts(std::string name, std::string data, const std::vector<int32_t>& ends);
  void AddBytes(std::string name, std::string data, const std::vector<int32_t>& ends,
                const std::vector<bool>& is_null = {});
  // Of Arrow's format u or z, with nulls or without.
  void AddNullable(std::string name, const char* format, std::string data, const std::vector<int32_t>& ends,
                   const std::vector<bool>& is_null);
  // A struct array; where is_null says so it is null, whatever its members are.
  void AddStruct(std::string name, SharedBatch members, const std::vector<bool>& is_null);
  SharedBatch Finish(int64_t rows);

 private:
  struct Column;
  void AddVariable(std::string name, const char* format, std::string data, const std::vector<int32_t>& ends,
                   const std::vector<bool>& is_null);
  std::vector<std::shared_ptr<Column>> columns_;
};

}  // namespace k2::python
