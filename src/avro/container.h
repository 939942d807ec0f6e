// Object container files (specification, "Object Container Files"): Iceberg's manifests and manifest lists.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "avro/binary.h"
#include "avro/generic.h"
#include "avro/schema.h"
#include "base/result.h"

namespace k2::avro {

enum class Codec { kNull, kDeflate, kZstandard };

inline constexpr size_t kSyncSize = 16;
inline constexpr size_t kMaxBlockSize = size_t{64} << 20;  // bytes of one block, decompressed

// Builds a file in memory.
class ContainerWriter {
 public:
  // The schema's text goes into the file as given, so that what canonical forms strip (field-ids) survives. metadata
  // holds further entries of the header; names that begin with "avro." are not for the caller. kZstandard is for
  // reading only and is an error here.
  static Result<ContainerWriter> Create(std::string_view schema_json,
                                        const std::map<std::string, std::string>& metadata, Codec codec);

  [[nodiscard]] const Schema& schema() const { return schema_; }

  // Error kInvalidArgument: the value does not fit the schema; nothing is added.
  Status Append(const Value& value);
  // Adds a record that is already encoded.
  Status AppendEncoded(std::string_view record);

  // Bytes so far, the open block counted as it is: to roll over to another file.
  [[nodiscard]] size_t size() const { return out_.size() + block_.size(); }
  [[nodiscard]] int64_t records() const { return records_; }

  // Ends the file and hands it over; the writer is done then.
  Result<std::string> Finish();

 private:
  ContainerWriter(Schema schema, Codec codec) : schema_(std::move(schema)), codec_(codec) {}
  Status EndRecord();
  Status FlushBlock();

  Schema schema_;
  Codec codec_;
  std::array<char, kSyncSize> sync_{};
  std::string out_;
  std::string block_;
  int64_t block_records_ = 0;
  int64_t records_ = 0;
};

// Reads a file that lies in memory and outlives the reader. Any bytes are survived: error kInvalidData;
// kUnsupported for a codec we don't read.
class ContainerReader {
 public:
  static Result<ContainerReader> Open(std::string_view file);

  [[nodiscard]] const Schema& schema() const { return schema_; }
  // The header's entries, avro.schema and avro.codec among them.
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // Reads the next record; false at the end of the file.
  Result<bool> Next(Value& value);

  // The next block whole: its records' bytes, valid until the next call, and their number; false at the end. Not to be
  // mixed with Next.
  Result<bool> NextBlock(std::string_view& bytes, int64_t& records);

 private:
  explicit ContainerReader(Schema schema) : schema_(std::move(schema)) {}
  Status Decompress(std::string_view compressed);

  Schema schema_;
  std::map<std::string, std::string> metadata_;
  Codec codec_ = Codec::kNull;
  std::string_view sync_;
  BinaryReader file_;
  BinaryReader block_;
  int64_t block_records_ = 0;  // still in block_
  // The decompressed block; on the heap, since block_ points into it and readers are moved.
  std::unique_ptr<std::string> buffer_ = std::make_unique<std::string>();
};

}  // namespace k2::avro
