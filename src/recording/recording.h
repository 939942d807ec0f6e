// A recording as a source: lines of `<receive time, ns since 1970> <frame as received>`, plain, gzip or zstd
// (docs/recordings.md). Its key hangs on its first line, so that a renamed or a longer copy is the same source.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "exchange/frame_parser.h"
#include "recording/line_reader.h"
#include "source/source.h"
#include "trade/trade_schema.h"

namespace k2::recording {

// Of a longer line the beginning is kept, in a rejected frame (reason frame_oversized).
inline constexpr size_t kMaxLineSize = size_t{16} << 20;

struct RecordingOptions {
  bool follow = false;  // wait for the file to grow, like tail -f, instead of ending where it ends
  size_t max_frame_size = exchange::kDefaultMaxFrameSize;  // a longer frame is rejected, not read
  int32_t trade_schema_id = trade::kTradeV3SchemaId;
  int32_t rejected_schema_id = trade::kRejectedFrameSchemaId;
};

// Not for several threads at once.
//
// Every line is a frame: its trades become one message each, in order, keyed by symbol; what cannot be read becomes a
// RejectedFrame message without a key. A line whose receive time cannot be read is rejected under the last receive
// time before it, or 0. All messages of a line are in one batch.
class RecordingReader final : public source::SourceReader, private exchange::FrameSink {
 public:
  // Errors: kNotFound, kPermission, kIo; kInvalidData for a file without one whole line, unless it is followed.
  static Result<std::unique_ptr<RecordingReader>> Open(const exchange::Exchange& exchange, const std::string& path,
                                                       const RecordingOptions& options = {});

  // Of a followed file that has no whole line yet the key is not known, and its topic_id is empty: Seek is to wait
  // until this is true. It waits for at most max_wait_us.
  Result<bool> WaitForKey(int64_t max_wait_us);
  [[nodiscard]] const table::SourceKey& key() const override { return key_; }

  // The position where reading begins, or the one of a batch that was read. Compressed files are read up to there.
  Status Seek(const table::SourcePosition& position) override;

  // Error kInvalidData: the compressed stream is broken or cut. What came before it was delivered first, so that
  // reading goes on there when the file is whole. Error kOffsetMismatch: the file changed while it was read.
  Result<source::RawBatch> Read(const source::ReadLimits& limits) override;

  [[nodiscard]] bool AtEnd() const override { return at_end_; }
  [[nodiscard]] source::SourceCounts counts() const override { return counts_; }
  [[nodiscard]] int64_t stored_bytes() const override;
  [[nodiscard]] int64_t stored_bytes_read() const override;

  // The size of a last line without end that is no whole frame: left unread, as the file may still be growing.
  [[nodiscard]] int64_t unread_tail_bytes() const { return unread_tail_bytes_; }
  [[nodiscard]] Compression compression() const { return compression_; }

 private:
  RecordingReader(const exchange::Exchange& exchange, const RecordingOptions& options);

  void OnTrade(const trade::Trade& trade) override;
  void OnReject(trade::RejectReason reason, std::string_view detail) override;
  void OnOtherChannel(std::string_view name) override;

  Result<bool> LearnKey();
  Status ReadLines(const source::ReadLimits& limits, source::RawBatch& batch);
  Status TakeLine(const Line& line);
  Result<bool> TakeEnd(const Line& line);  // false: wait for more
  void AddMessage(std::string_view key, bool has_key, int64_t receive_us);
  Status CheckNotShorter() const;

  Result<int64_t> FindLineStart(int64_t end_byte) const;
  Result<int64_t> FindSeekStart(const table::SourcePosition& position) const;
  Status ReadUpTo(const table::SourcePosition& position, bool from_start);
  [[nodiscard]] std::unexpected<Error> Mismatch(const table::SourcePosition& position, std::string_view what) const;

  const exchange::Exchange& exchange_;
  RecordingOptions options_;
  std::unique_ptr<exchange::FrameParser> parser_;
  StoredFile file_;
  LineReader lines_;
  Compression compression_ = Compression::kNone;
  table::SourceKey key_;
  table::SourcePosition position_;
  source::SourceCounts counts_;
  uint64_t line_hash_ = 0;
  bool at_end_ = false;
  bool expect_line_end_ = false;  // the last line was taken without its end, which follows if the file has grown
  int64_t unread_tail_bytes_ = 0;
  int64_t last_receive_us_ = 0;
  bool told_bad_time_ = false;
  std::optional<Error> failure_;  // to be told by the next Read, behind what came before it

  // While a line is taken:
  source::RawBatch* batch_ = nullptr;
  std::string_view frame_;
  int64_t receive_us_ = 0;
};

}  // namespace k2::recording
