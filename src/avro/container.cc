#include "avro/container.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <memory>

#include "base/uuid.h"

namespace k2::avro {
namespace {

constexpr std::string_view kMagic{"Obj\1", 4};
constexpr std::string_view kSchemaKey = "avro.schema";
constexpr std::string_view kCodecKey = "avro.codec";
constexpr size_t kBlockSize = 64 << 10;  // a block is closed at this size
constexpr size_t kMaxMetadataEntries = 1 << 16;

std::unexpected<Error> Broken(std::string_view what) {
  return Fail(ErrorKind::kInvalidData, "Avro container file: {}", what);
}

Status Deflate(std::string_view in, std::string& out) {
  z_stream stream{};
  // Negative window bits: raw deflate, with no zlib header (specification, "deflate").
  if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    return Fail(ErrorKind::kInternal, "zlib: no memory to compress");
  }
  out.resize(deflateBound(&stream, in.size()));
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int code = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (code != Z_STREAM_END) return Fail(ErrorKind::kInternal, "zlib: compressing failed with code {}", code);
  return {};
}

Status Inflate(std::string_view in, std::string& out) {
  z_stream stream{};
  if (inflateInit2(&stream, -15) != Z_OK) return Fail(ErrorKind::kInternal, "zlib: no memory to decompress");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
  stream.avail_in = static_cast<uInt>(in.size());
  out.clear();
  int code = Z_OK;
  while (code == Z_OK && out.size() < kMaxBlockSize) {
    const size_t done = out.size();
    out.resize(std::min(kMaxBlockSize, done == 0 ? std::max<size_t>(4096, in.size() * 4) : done * 2));
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + done);
    stream.avail_out = static_cast<uInt>(out.size() - done);
    code = inflate(&stream, Z_NO_FLUSH);
    out.resize(stream.total_out);
    if (code == Z_OK && stream.avail_in == 0 && stream.avail_out != 0) code = Z_BUF_ERROR;  // cut short
  }
  inflateEnd(&stream);
  if (code == Z_OK) return Broken("a block is larger than 64 MiB");
  // Bytes behind the end are let pass: fastavro leaves a part of zlib's checksum there.
  if (code != Z_STREAM_END) return Broken("a block is not deflate data");
  return {};
}

Status UnZstandard(std::string_view in, std::string& out) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), &ZSTD_freeDCtx);
  if (!context) return Fail(ErrorKind::kInternal, "zstd: no memory to decompress");
  ZSTD_inBuffer input{in.data(), in.size(), 0};
  out.clear();
  size_t code = 1;
  while (code != 0) {
    const size_t done = out.size();
    if (done >= kMaxBlockSize) return Broken("a block is larger than 64 MiB");
    out.resize(std::min(kMaxBlockSize, done == 0 ? std::max<size_t>(4096, in.size() * 4) : done * 2));
    ZSTD_outBuffer output{out.data(), out.size(), done};
    code = ZSTD_decompressStream(context.get(), &output, &input);
    if (ZSTD_isError(code) != 0) return Broken("a block is not zstandard data");
    out.resize(output.pos);
    if (code != 0 && input.pos == input.size && output.pos < output.size)
      return Broken("a zstandard block is truncated");
  }
  if (input.pos != input.size) return Broken("a zstandard block has bytes behind its end");
  return {};
}

Result<std::map<std::string, std::string>> ReadMetadata(BinaryReader& reader) {
  std::map<std::string, std::string> metadata;
  int64_t count = 0;
  int64_t byte_size = 0;
  while (reader.ReadBlock(count, byte_size)) {
    if (count == 0) return metadata;
    for (int64_t i = 0; i < count; ++i) {
      std::string_view key;
      std::string_view value;
      if (!reader.ReadBytes(key) || !reader.ReadBytes(value)) return Broken("its header is truncated");
      metadata.insert_or_assign(std::string(key), std::string(value));
      if (metadata.size() > kMaxMetadataEntries) return Broken("its header has too many entries");
    }
  }
  return Broken("its header is truncated");
}

Result<Codec> ReadCodec(const std::map<std::string, std::string>& metadata) {
  const auto it = metadata.find(std::string(kCodecKey));
  if (it == metadata.end() || it->second == "null" || it->second.empty()) return Codec::kNull;
  if (it->second == "deflate") return Codec::kDeflate;
  if (it->second == "zstandard") return Codec::kZstandard;
  return Fail(ErrorKind::kUnsupported, "Avro container file: codec \"{}\" is not supported; use deflate or zstandard",
              it->second.substr(0, 32));
}

}  // namespace

Result<ContainerWriter> ContainerWriter::Create(std::string_view schema_json,
                                                const std::map<std::string, std::string>& metadata, Codec codec) {
  if (codec == Codec::kZstandard) {
    return Fail(ErrorKind::kUnsupported, "Avro container files are not written with zstandard; use deflate");
  }
  K2_ASSIGN(Schema schema, Schema::Parse(schema_json));
  ContainerWriter writer(std::move(schema), codec);
  const Uuid sync = RandomUuid();
  std::memcpy(writer.sync_.data(), sync.bytes.data(), kSyncSize);
  std::map<std::string, std::string> entries = metadata;
  entries.insert_or_assign(std::string(kSchemaKey), std::string(schema_json));
  entries.insert_or_assign(std::string(kCodecKey), codec == Codec::kNull ? "null" : "deflate");
  std::string& out = writer.out_;
  out = kMagic;
  AppendLong(out, static_cast<int64_t>(entries.size()));
  for (const auto& [key, value] : entries) {
    AppendBytes(out, key);
    AppendBytes(out, value);
  }
  AppendLong(out, 0);
  out.append(writer.sync_.data(), kSyncSize);
  return writer;
}

Status ContainerWriter::Append(const Value& value) {
  const size_t before = block_.size();
  if (Status status = Encode(schema_.root(), value, block_); !status) {
    block_.resize(before);
    return status;
  }
  return EndRecord();
}

Status ContainerWriter::AppendEncoded(std::string_view record) {
  block_.append(record);
  return EndRecord();
}

Status ContainerWriter::EndRecord() {
  ++block_records_;
  ++records_;
  return block_.size() >= kBlockSize ? FlushBlock() : Status();
}

Status ContainerWriter::FlushBlock() {
  if (block_records_ == 0) return {};
  if (block_.size() > kMaxBlockSize) {
    return Fail(ErrorKind::kInvalidArgument, "Avro container file: a record of {} bytes is too large", block_.size());
  }
  AppendLong(out_, block_records_);
  if (codec_ == Codec::kNull) {
    AppendBytes(out_, block_);
  } else {
    std::string compressed;
    K2_TRY(Deflate(block_, compressed));
    AppendBytes(out_, compressed);
  }
  out_.append(sync_.data(), kSyncSize);
  block_.clear();
  block_records_ = 0;
  return {};
}

Result<std::string> ContainerWriter::Finish() {
  K2_TRY(FlushBlock());
  return std::move(out_);
}

Result<ContainerReader> ContainerReader::Open(std::string_view file) {
  if (!file.starts_with(kMagic)) return Broken("it does not begin with \"Obj\" and 1");
  BinaryReader reader(file.substr(kMagic.size()));
  K2_ASSIGN(auto metadata, ReadMetadata(reader));
  const auto schema_json = metadata.find(std::string(kSchemaKey));
  if (schema_json == metadata.end()) return Broken("its header has no avro.schema");
  K2_ASSIGN(Schema schema, Schema::Parse(schema_json->second));
  K2_ASSIGN(const Codec codec, ReadCodec(metadata));
  ContainerReader container(std::move(schema));
  if (!reader.ReadFixed(kSyncSize, container.sync_)) return Broken("its header is truncated");
  container.metadata_ = std::move(metadata);
  container.codec_ = codec;
  container.file_ = reader;
  return container;
}

Result<bool> ContainerReader::NextBlock(std::string_view& bytes, int64_t& records) {
  if (file_.AtEnd()) return false;
  std::string_view compressed;
  std::string_view sync;
  if (!file_.ReadLong(records) || records < 0 || !file_.ReadBytes(compressed) || !file_.ReadFixed(kSyncSize, sync)) {
    return Broken("it is truncated in a block");
  }
  if (sync != sync_) return Broken("a block does not end with the file's sync marker");
  if (codec_ == Codec::kNull) {
    bytes = compressed;
  } else {
    K2_TRY(Decompress(compressed));
    bytes = *buffer_;
  }
  // Records can be empty, but only a broken file has so many of them.
  if (std::cmp_greater(records, std::max<size_t>(bytes.size(), 1 << 16)))
    return Broken("a block's count is impossible");
  return true;
}

Status ContainerReader::Decompress(std::string_view compressed) {
  if (compressed.size() > kMaxBlockSize) return Broken("a block is larger than 64 MiB");
  return codec_ == Codec::kDeflate ? Inflate(compressed, *buffer_) : UnZstandard(compressed, *buffer_);
}

Result<bool> ContainerReader::Next(Value& value) {
  while (block_records_ == 0) {
    if (!block_.AtEnd()) return Broken("a block has bytes behind its last record");
    std::string_view bytes;
    K2_ASSIGN(const bool more, NextBlock(bytes, block_records_));
    if (!more) return false;
    block_ = BinaryReader(bytes);
  }
  --block_records_;
  K2_ASSIGN(value, Decode(schema_.root(), block_));
  return true;
}

}  // namespace k2::avro
