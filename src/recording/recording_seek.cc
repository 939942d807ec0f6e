// Finding a committed place in a recording again, and seeing whether it is still the recording that was read.
#include <algorithm>
#include <cstring>

#include "recording/recording.h"
#include "recording/recording_line.h"

namespace k2::recording {

std::unexpected<Error> RecordingReader::Mismatch(const table::SourcePosition& position, std::string_view what) const {
  return Fail(ErrorKind::kOffsetMismatch,
              "recording {} is not the one that was read: line {}, up to byte {} (message {}), {}. Restore the "
              "original file, or see `k2 offsets show` and set the position to resume from with `k2 offsets set`",
              file_.path(), position.next_line, position.next_byte, position.next_offset, what);
}

Status RecordingReader::Seek(const table::SourcePosition& position) {
  if (key_.topic_id.empty()) {
    return Fail(ErrorKind::kInvalidArgument, "recording {} has no first line yet, so K2 cannot seek in it",
                file_.path());
  }
  failure_.reset();
  at_end_ = expect_line_end_ = false;
  unread_tail_bytes_ = 0;
  last_receive_us_ = 0;
  position_ = position;
  if (position.next_line == 0) {
    if (position != table::SourcePosition{.leader_epoch = position.leader_epoch}) {
      return Mismatch(position, "is a position before the first line but not the beginning");
    }
    lines_.Start(compression_);
    return {};
  }
  int64_t start = 0;
  if (compression_ == Compression::kNone) {
    K2_ASSIGN(const int64_t size, file_.Size());
    if (size < position.next_byte) return Mismatch(position, fmt::format("is beyond its end at byte {}", size));
    K2_ASSIGN(start, FindSeekStart(position));
  }
  lines_.Start(compression_, start);
  return ReadUpTo(position, compression_ != Compression::kNone);
}

// Where the line begins that ends at `end_byte` of a plain file.
Result<int64_t> RecordingReader::FindLineStart(int64_t end_byte) const {
  std::vector<char> chunk(4096);
  int64_t end = end_byte - 1;  // the line's own end, or, of a tail, a byte of its text
  while (end > 0) {
    const int64_t begin = std::max<int64_t>(0, end - static_cast<int64_t>(chunk.size()));
    K2_ASSIGN(const size_t bytes, file_.ReadAt(begin, chunk.data(), static_cast<size_t>(end - begin)));
    if (const void* const found = memrchr(chunk.data(), '\n', bytes)) {
      return begin + (static_cast<const char*>(found) - chunk.data()) + 1;
    }
    end = begin;
    chunk.resize(std::min(2 * chunk.size(), size_t{1} << 20));
  }
  return 0;
}

// The begin of the last line read, or of an earlier one when that has no receive time: the last good one must be known.
Result<int64_t> RecordingReader::FindSeekStart(const table::SourcePosition& position) const {
  int64_t start = position.next_byte;
  for (;;) {
    K2_ASSIGN(start, FindLineStart(start));
    char head[32];
    K2_ASSIGN(const size_t bytes, file_.ReadAt(start, head, sizeof head));
    const std::string_view text = std::string_view(head, bytes);
    if (start == 0 || SplitRecordingLine(text.substr(0, text.find('\n'))).has_time) return start;
  }
}

// Passes the lines up to the position, and compares the last one.
Status RecordingReader::ReadUpTo(const table::SourcePosition& position, bool from_start) {
  for (int64_t passed = 1;; ++passed) {
    K2_ASSIGN(const Line line, lines_.Next());
    const int64_t text_end = line.begin_byte + line.size;
    if (line.state == LineState::kNothing || text_end > position.next_byte) {
      return Mismatch(position, line.state == LineState::kNothing
                                    ? fmt::format("is beyond its end at byte {}", line.end_byte)
                                    : fmt::format("has changed: a line now ends at byte {}", line.end_byte));
    }
    const RecordingLine parts = SplitRecordingLine(line.text);
    if (parts.has_time) last_receive_us_ = parts.receive_us;
    // The last line may have been read without its end (up to a CR of it), and have one now.
    if (line.end_byte < position.next_byte) {
      if (line.state == LineState::kTail)
        return Mismatch(position, fmt::format("is beyond its end at byte {}", line.end_byte));
      continue;
    }
    const std::string hash = fmt::format("{:016x}", lines_.Hash64());
    if (hash != position.line_hash) {
      return Mismatch(position, fmt::format("now has the hash {}, and had {}", hash, position.line_hash));
    }
    if (from_start && passed != position.next_line)
      return Mismatch(position, fmt::format("is now line {} of the file", passed));
    if (line.state == LineState::kTail) {
      lines_.TakeTail();
      expect_line_end_ = true;
    }
    return {};
  }
}

}  // namespace k2::recording
