// Lines out of a byte stream, with where they begin and end. Memory: one buffer, which grows to the longest line kept.
#pragma once

#include <xxhash.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "recording/byte_stream.h"

namespace k2::recording {

enum class LineState : uint8_t {
  kLine,     // a line with its end
  kTail,     // the bytes behind the last line end, which may be no whole line; nothing more is there now
  kNothing,  // nothing more is there now, and the last line had its end
};

struct Line {
  LineState state = LineState::kNothing;
  std::string_view text;    // without its end (LF or CRLF), at most as long as the limit; valid until the next call
  int64_t size = 0;         // of the whole text
  int64_t begin_byte = 0;   // uncompressed bytes before it
  int64_t end_byte = 0;     // uncompressed bytes up to behind its end
  bool cut_stream = false;  // kTail, kNothing: a compressed stream stops within a member
};

class LineReader {
 public:
  // Of a line longer than `limit` only the beginning is kept.
  LineReader(StoredFile& file, size_t limit);

  // The next line. A tail comes again, longer, when the file has grown in the meantime.
  Result<Line> Next();
  // Accepts the tail that Next() gave as a line.
  void TakeTail();

  // Starts at 0, or, in a plain file only, at any byte.
  void Start(Compression compression, int64_t byte = 0);

  // Of the text Next() gave last, also beyond the limit. Call before the next Next().
  [[nodiscard]] uint64_t Hash64() const;
  [[nodiscard]] std::string Hash128Hex() const;

 private:
  struct FreeHash {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  using HashState = std::unique_ptr<XXH3_state_t, FreeHash>;

  Result<bool> Fill();
  Result<Line> NextOfLong();
  void BeginLong();
  void HashLong(const char* data, size_t size);
  Line Finish(LineState state, size_t text_size, size_t size_with_end);

  StoredFile& file_;
  size_t limit_;
  std::unique_ptr<ByteStream> stream_;
  std::vector<char> buffer_;
  size_t begin_ = 0;    // of the line being read
  size_t scanned_ = 0;  // no line end before this
  size_t end_ = 0;      // of what is filled
  int64_t byte_ = 0;    // of the stream, at begin_
  bool cut_stream_ = false;
  std::string_view text_;

  // A line beyond the limit: hashed as it passes.
  bool in_long_ = false;
  bool long_done_ = false;  // the last line given was one
  bool long_ends_with_cr_ = false;
  int64_t long_size_ = 0;  // bytes passed, a CR at the end included
  HashState hash64_;
  HashState hash128_;
};

}  // namespace k2::recording
