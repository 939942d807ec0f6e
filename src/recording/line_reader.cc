#include "recording/line_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace k2::recording {
namespace {

constexpr size_t kBufferSize = size_t{1} << 21;

}  // namespace

LineReader::LineReader(StoredFile& file, size_t limit) : file_(file), limit_(limit), buffer_(kBufferSize) {}

void LineReader::Start(Compression compression, int64_t byte) {
  stream_ = ByteStream::Create(compression, file_);
  file_.SetPosition(byte);
  begin_ = scanned_ = end_ = 0;
  byte_ = byte;
  in_long_ = long_done_ = cut_stream_ = false;
  text_ = {};
}

// Reads more behind what is there; false when there is nothing now.
Result<bool> LineReader::Fill() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    scanned_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) buffer_.resize(std::min(2 * buffer_.size(), limit_ + kBufferSize));
  K2_ASSIGN(const ReadStep step, stream_->Read(buffer_.data() + end_, buffer_.size() - end_));
  end_ += step.bytes;
  cut_stream_ = step.state == StreamState::kTruncated;
  return step.bytes > 0;
}

// Hands out the line at begin_ and steps over it.
Line LineReader::Finish(LineState state, size_t text_size, size_t size_with_end) {
  text_ = std::string_view(buffer_.data() + begin_, text_size);
  if (text_.ends_with('\r')) text_.remove_suffix(1);
  const Line line{.state = state,
                  .text = text_,
                  .size = static_cast<int64_t>(text_.size()),
                  .begin_byte = byte_,
                  .end_byte = byte_ + static_cast<int64_t>(size_with_end),
                  .cut_stream = cut_stream_};
  if (state == LineState::kLine) {
    begin_ += size_with_end;
    scanned_ = begin_;
    byte_ = line.end_byte;
  }
  return line;
}

Result<Line> LineReader::Next() {
  long_done_ = false;
  if (in_long_) return NextOfLong();
  for (;;) {
    const void* const found = std::memchr(buffer_.data() + scanned_, '\n', end_ - scanned_);
    if (found != nullptr) {
      const auto size = static_cast<size_t>(static_cast<const char*>(found) - buffer_.data()) - begin_;
      if (size <= limit_) return Finish(LineState::kLine, size, size + 1);
    }
    if (found == nullptr) scanned_ = end_;
    if (found != nullptr || end_ - begin_ > limit_) {
      BeginLong();
      return NextOfLong();
    }
    K2_ASSIGN(const bool more, Fill());
    if (more) continue;
    const size_t size = end_ - begin_;
    if (size == 0) return Line{.begin_byte = byte_, .end_byte = byte_, .cut_stream = cut_stream_};
    return Finish(LineState::kTail, size, size);
  }
}

void LineReader::TakeTail() {
  byte_ += in_long_ ? long_size_ : static_cast<int64_t>(end_ - begin_);
  begin_ = scanned_ = end_;
  in_long_ = false;
}

void LineReader::BeginLong() {
  in_long_ = true;
  long_ends_with_cr_ = false;
  long_size_ = 0;
  if (hash64_ == nullptr) hash64_.reset(XXH3_createState());
  if (hash128_ == nullptr) hash128_.reset(XXH3_createState());
  XXH3_64bits_reset(hash64_.get());
  XXH3_128bits_reset(hash128_.get());
  scanned_ = begin_ + limit_;
  HashLong(buffer_.data() + begin_, limit_);
}

// A CR at the end may belong to the line end: it is hashed when something follows it.
void LineReader::HashLong(const char* data, size_t size) {
  if (size == 0) return;
  long_size_ += static_cast<int64_t>(size);
  const auto update = [this](const char* bytes, size_t count) {
    XXH3_64bits_update(hash64_.get(), bytes, count);
    XXH3_128bits_update(hash128_.get(), bytes, count);
  };
  if (long_ends_with_cr_) update("\r", 1);
  long_ends_with_cr_ = data[size - 1] == '\r';
  update(data, long_ends_with_cr_ ? size - 1 : size);
}

// The buffer holds the first `limit_` bytes of the line, then what is not hashed yet: from scanned_ on.
Result<Line> LineReader::NextOfLong() {
  for (;;) {
    const char* const from = buffer_.data() + scanned_;
    const void* const found = std::memchr(from, '\n', end_ - scanned_);
    const size_t piece =
        found != nullptr ? static_cast<size_t>(static_cast<const char*>(found) - from) : end_ - scanned_;
    HashLong(from, piece);
    Line line{.state = found != nullptr ? LineState::kLine : LineState::kTail,
              .text = std::string_view(buffer_.data() + begin_, limit_),
              .size = long_size_ - (long_ends_with_cr_ ? 1 : 0),
              .begin_byte = byte_,
              .end_byte = byte_ + long_size_,
              .cut_stream = false};
    if (found != nullptr) {
      line.end_byte += 1;
      byte_ = line.end_byte;
      begin_ = scanned_ = scanned_ + piece + 1;
      in_long_ = false;
      long_done_ = true;
      return line;
    }
    end_ = scanned_;  // forget the piece
    K2_ASSIGN(const bool more, Fill());
    if (more) continue;
    line.text = std::string_view(buffer_.data() + begin_, limit_);
    line.cut_stream = cut_stream_;
    long_done_ = true;
    return line;
  }
}

uint64_t LineReader::Hash64() const {
  return long_done_ ? XXH3_64bits_digest(hash64_.get()) : XXH3_64bits(text_.data(), text_.size());
}

std::string LineReader::Hash128Hex() const {
  const XXH128_hash_t hash =
      long_done_ ? XXH3_128bits_digest(hash128_.get()) : XXH3_128bits(text_.data(), text_.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace k2::recording
