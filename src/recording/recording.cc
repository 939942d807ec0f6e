#include "recording/recording.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/time.h"
#include "exchange/json.h"
#include "recording/recording_line.h"
#include "trade/encode.h"

namespace k2::recording {
namespace {

constexpr int64_t kPollIntervalUs = 5'000;
constexpr int64_t kReservedMessages = 1 << 18;
constexpr size_t kReservedKeySize = 10;
constexpr size_t kReservedPayloadSize = 320;

void SleepUntil(int64_t deadline_us) {
  const int64_t wait_us = std::clamp<int64_t>(deadline_us - MonotonicMicros(), 0, kPollIntervalUs);
  std::this_thread::sleep_for(std::chrono::microseconds(wait_us));
}

// Room for what the limits allow, so that filling a batch moves no bytes; pages that stay untouched cost nothing.
void Reserve(const source::ReadLimits& limits, source::RawBatch& batch) {
  const auto messages = static_cast<size_t>(std::clamp<int64_t>(limits.max_messages, 0, kReservedMessages));
  const auto bytes = static_cast<size_t>(std::clamp<int64_t>(limits.max_bytes, 0, source::kMaxBatchBytes));
  batch.offsets.reserve(messages);
  batch.kafka_timestamps_us.reserve(messages);
  batch.ingestion_timestamps_us.reserve(messages);
  batch.keys.ends.reserve(messages);
  batch.keys.data.reserve(messages * kReservedKeySize);
  batch.payloads.ends.reserve(messages);
  batch.payloads.data.reserve(std::min(bytes, messages * kReservedPayloadSize));
}

}  // namespace

RecordingReader::RecordingReader(const exchange::Exchange& exchange, const RecordingOptions& options)
    : exchange_(exchange),
      options_(options),
      parser_(exchange::FrameParser::Create(exchange, options.max_frame_size)),
      lines_(file_, kMaxLineSize) {
  key_.cluster = table::kRecordingCluster;
}

Result<std::unique_ptr<RecordingReader>> RecordingReader::Open(const exchange::Exchange& exchange,
                                                               const std::string& path,
                                                               const RecordingOptions& options) {
  std::unique_ptr<RecordingReader> reader(new RecordingReader(exchange, options));
  K2_TRY(reader->file_.Open(path));
  K2_ASSIGN(const bool known, reader->LearnKey());
  if (known || options.follow) return reader;
  K2_ASSIGN(const int64_t size, reader->file_.Size());
  if (size == 0) return Fail(ErrorKind::kInvalidData, "recording {} is empty", path);
  return Fail(
      ErrorKind::kInvalidData,
      "recording {} does not contain a complete line yet ({} bytes, {}); try again when it has grown, or use --follow",
      path, size, ToString(reader->compression_));
}

// Reads the first line for its hash, and starts again. False: there is none yet.
Result<bool> RecordingReader::LearnKey() {
  if (!key_.topic_id.empty()) return true;
  K2_ASSIGN(const int64_t size, file_.Size());
  if (options_.follow && size < 4) return false;  // too short to be told from a compressed file
  K2_ASSIGN(compression_, ByteStream::Detect(file_));
  lines_.Start(compression_);
  K2_ASSIGN(const Line line, lines_.Next());
  const bool whole_tail = line.state == LineState::kTail && !line.cut_stream && !options_.follow &&
                          exchange::json::IsWholeContainer(SplitRecordingLine(line.text).frame);
  if (line.state != LineState::kLine && !whole_tail) return false;
  key_.topic_id = lines_.Hash128Hex();
  key_.topic = fmt::format("recording/{}/{}", exchange_.name, key_.topic_id);
  lines_.Start(compression_);
  return true;
}

Result<bool> RecordingReader::WaitForKey(int64_t max_wait_us) {
  const int64_t deadline = MonotonicMicros() + max_wait_us;
  for (;;) {
    K2_ASSIGN(const bool known, LearnKey());
    if (known || MonotonicMicros() >= deadline) return known;
    SleepUntil(deadline);
  }
}

Result<source::RawBatch> RecordingReader::Read(const source::ReadLimits& limits) {
  source::RawBatch batch;
  K2_ASSIGN(const bool known, WaitForKey(limits.max_wait_us));
  batch.source = key_;
  batch.begin = batch.end = position_;
  if (!known || at_end_) return batch;
  if (failure_) return std::unexpected(*failure_);
  Reserve(limits, batch);
  batch_ = &batch;
  if (const Status status = ReadLines(limits, batch); !status) failure_ = status.error();
  batch_ = nullptr;
  if (position_.next_line > batch.begin.next_line) position_.line_hash = fmt::format("{:016x}", line_hash_);
  if (failure_ && position_ == batch.begin) return std::unexpected(*failure_);
  batch.end = position_;
  counts_.messages += static_cast<int64_t>(batch.size());
  return batch;
}

Status RecordingReader::ReadLines(const source::ReadLimits& limits, source::RawBatch& batch) {
  const int64_t max_bytes = std::min(limits.max_bytes, source::kMaxBatchBytes);
  // A feed may be mostly other things than trades: a call ends also when it has passed many bytes of those.
  const int64_t last_byte = position_.next_byte + std::max<int64_t>(8 * max_bytes, int64_t{1} << 20);
  const int64_t deadline = MonotonicMicros() + limits.max_wait_us;
  while (static_cast<int64_t>(batch.size()) < limits.max_messages && static_cast<int64_t>(batch.bytes()) < max_bytes &&
         position_.next_byte < last_byte) {
    K2_ASSIGN(const Line line, lines_.Next());
    if (line.state == LineState::kLine) {
      K2_TRY(TakeLine(line));
      continue;
    }
    K2_ASSIGN(const bool ended, TakeEnd(line));
    if (ended || batch.size() > 0 || MonotonicMicros() >= deadline) break;
    SleepUntil(deadline);
  }
  return {};
}

// The file holds no further whole line now.
Result<bool> RecordingReader::TakeEnd(const Line& line) {
  if (options_.follow) {
    K2_TRY(CheckNotShorter());
    return false;
  }
  if (line.cut_stream) {
    return Fail(ErrorKind::kInvalidData,
                "recording {} ends in the middle of its {} stream, after {} uncompressed bytes (line {}): it was "
                "truncated, or is still being written. The complete lines were read; run again when the file is "
                "complete to resume from there",
                file_.path(), ToString(compression_), line.end_byte, position_.next_line + 1);
  }
  at_end_ = true;
  if (line.state == LineState::kNothing) return true;
  const RecordingLine parts = SplitRecordingLine(line.text);
  if (parts.has_time && static_cast<size_t>(line.size) == line.text.size() &&
      exchange::json::IsWholeContainer(parts.frame)) {
    K2_TRY(TakeLine(line));
    lines_.TakeTail();
    return true;
  }
  unread_tail_bytes_ = line.size;
  log::Warn("the last line of a recording is incomplete and was not read",
            {{"recording", file_.path()}, {"line", position_.next_line + 1}, {"bytes", line.size}});
  return true;
}

Status RecordingReader::TakeLine(const Line& line) {
  if (expect_line_end_) {
    expect_line_end_ = false;
    if (line.size != 0) return Mismatch(position_, "has grown since it was read without a line end");
    position_.next_byte = line.end_byte;
    return {};
  }
  line_hash_ = lines_.Hash64();
  counts_.frames += 1;
  counts_.bytes += line.end_byte - line.begin_byte;
  const RecordingLine parts = SplitRecordingLine(line.text);
  if (parts.has_time) last_receive_us_ = parts.receive_us;
  receive_us_ = last_receive_us_;
  frame_ = parts.frame;
  if (static_cast<size_t>(line.size) > line.text.size()) {
    OnReject(trade::RejectReason::kFrameOversized,
             fmt::format("a line has {} bytes, of which the first {} are kept", line.size, line.text.size()));
    counts_.frames_rejected += 1;
  } else if (!parts.has_time) {
    const std::string beginning = exchange::json::Quoted(line.text.substr(0, 24));
    OnReject(trade::RejectReason::kFrameBadTime,
             parts.of_other_unit
                 ? fmt::format("the receive time is not in nanoseconds since 1970: read as nanoseconds, it is not "
                               "within the years 2000 to 2199: {}",
                               beginning)
                 : fmt::format("the line does not begin with a receive time in ns and a space: {}", beginning));
    if (!std::exchange(told_bad_time_, true)) {
      log::Warn("a line of a recording has no receive time in nanoseconds; such lines are rejected (frame_bad_time)",
                {{"recording", file_.path()}, {"line", position_.next_line + 1}, {"begins", beginning}});
    }
    counts_.frames_rejected += 1;
  } else {
    const exchange::FrameOutcome outcome = parser_->Parse(frame_, receive_us_, *this);
    if (outcome == exchange::FrameOutcome::kSkipped) counts_.frames_skipped += 1;
    if (outcome == exchange::FrameOutcome::kRejected) counts_.frames_rejected += 1;
  }
  position_.next_line += 1;
  position_.next_byte = line.end_byte;
  return {};
}

void RecordingReader::OnTrade(const trade::Trade& trade) {
  counts_.trades += 1;
  trade::EncodeTrade(trade, options_.trade_schema_id, batch_->payloads.data);
  AddMessage(trade.symbol, true, trade.ingestion_timestamp_us);
}

void RecordingReader::OnReject(trade::RejectReason reason, std::string_view detail) {
  const trade::RejectedFrame rejected{.exchange = exchange_.message_name,
                                      .reason = reason,
                                      .detail = detail,
                                      .frame = frame_,
                                      .receive_timestamp_us = receive_us_};
  trade::EncodeRejectedFrame(rejected, options_.rejected_schema_id, batch_->payloads.data);
  AddMessage({}, false, receive_us_);
}

void RecordingReader::OnOtherChannel(std::string_view name) {
  constexpr size_t kMaxName = 32;
  counts_.frames_other += 1;
  if (counts_.other_channel.empty()) counts_.other_channel = exchange::json::Quoted(name.substr(0, kMaxName));
}

// The payload's bytes are already there.
void RecordingReader::AddMessage(std::string_view key, bool has_key, int64_t receive_us) {
  batch_->payloads.EndValue();
  if (has_key) {
    batch_->keys.Append(key);
  } else {
    batch_->keys.AppendNull();
  }
  batch_->offsets.push_back(position_.next_offset++);
  batch_->kafka_timestamps_us.push_back(receive_us);
  batch_->ingestion_timestamps_us.push_back(receive_us);
}

Status RecordingReader::CheckNotShorter() const {
  K2_ASSIGN(const int64_t size, file_.Size());
  if (size >= file_.position()) return {};
  return Fail(ErrorKind::kOffsetMismatch,
              "recording {} was truncated to {} bytes while it was followed; {} bytes had been read", file_.path(),
              size, file_.position());
}

int64_t RecordingReader::stored_bytes() const { return file_.Size().value_or(-1); }

int64_t RecordingReader::stored_bytes_read() const {
  return compression_ == Compression::kNone ? position_.next_byte : file_.position();
}

}  // namespace k2::recording
