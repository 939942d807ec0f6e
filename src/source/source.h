// Where messages come from: one interface for recordings and Kafka.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "table/source_offsets.h"

namespace k2::source {

// Bytes of many values back to back: value i is data[ends[i-1], ends[i]).
struct ByteColumn {
  std::string data;
  std::vector<int32_t> ends;
  std::vector<bool> nulls;  // empty when no value is null, else one flag a value

  [[nodiscard]] size_t size() const { return ends.size(); }
  [[nodiscard]] std::string_view operator[](size_t i) const {
    const auto begin = static_cast<size_t>(i == 0 ? 0 : ends[i - 1]);
    return std::string_view(data).substr(begin, static_cast<size_t>(ends[i]) - begin);
  }
  void Append(std::string_view value) {
    data.append(value);
    EndValue();
  }
  // Closes the value whose bytes were appended to data by hand.
  void EndValue() {
    ends.push_back(static_cast<int32_t>(data.size()));
    if (!nulls.empty()) nulls.push_back(false);
  }
  void AppendNull() {
    if (nulls.empty()) nulls.assign(ends.size(), false);
    ends.push_back(static_cast<int32_t>(data.size()));
    nulls.push_back(true);
  }
};

// The headers of many messages: those of message i are keys and values [ends[i-1], ends[i]). None of `ends` is there as
// long as no message has any. A key may come again, a value may be null.
struct HeaderColumn {
  ByteColumn keys;
  ByteColumn values;
  std::vector<int32_t> ends;

  [[nodiscard]] bool empty() const { return ends.empty(); }
  [[nodiscard]] size_t bytes() const { return keys.data.size() + values.data.size() + keys.size() * 16; }
};

// Consecutive messages of one source partition, as they go to Bronze. All columns have the same length.
struct RawBatch {
  table::SourceKey source;
  table::SourcePosition begin;  // of the first message: what the committed offset must be for this batch to fit
  table::SourcePosition end;    // after the last one
  ByteColumn keys;
  ByteColumn payloads;                           // Confluent-framed Avro, never decoded here
  HeaderColumn headers;                          // of Kafka's messages
  std::vector<int64_t> offsets;                  // of each message
  std::vector<int64_t> kafka_timestamps_us;      // recording: receive time
  std::vector<int64_t> ingestion_timestamps_us;  // when K2 (or the recorder) received it

  [[nodiscard]] size_t size() const { return offsets.size(); }
  [[nodiscard]] size_t bytes() const { return keys.data.size() + payloads.data.size() + headers.bytes() + size() * 32; }
};

// What a source has seen beside messages; added up by the runner's report.
struct SourceCounts {
  int64_t frames = 0;           // lines read
  int64_t frames_skipped = 0;   // not trades: heartbeats, books, subscriptions
  int64_t frames_other = 0;     // of those skipped: market data of other channels, not heartbeats and replies
  int64_t frames_rejected = 0;  // could not be read: sent on as rejected frames
  int64_t messages = 0;
  int64_t trades = 0;         // of the messages of recordings: not rejected frames
  int64_t bytes = 0;          // uncompressed
  std::string other_channel;  // name of the first of frames_other

  SourceCounts& operator+=(const SourceCounts& more) {
    frames += more.frames;
    frames_skipped += more.frames_skipped;
    frames_other += more.frames_other;
    frames_rejected += more.frames_rejected;
    messages += more.messages;
    trades += more.trades;
    bytes += more.bytes;
    if (other_channel.empty()) other_channel = more.other_channel;
    return *this;
  }
  // What came after an earlier count of the same source.
  [[nodiscard]] SourceCounts Since(const SourceCounts& before) const {
    return {.frames = frames - before.frames,
            .frames_skipped = frames_skipped - before.frames_skipped,
            .frames_other = frames_other - before.frames_other,
            .frames_rejected = frames_rejected - before.frames_rejected,
            .messages = messages - before.messages,
            .trades = trades - before.trades,
            .bytes = bytes - before.bytes,
            .other_channel = other_channel};
  }
};

inline constexpr int64_t kMaxBatchBytes = int64_t{1}
                                          << 30;  // ByteColumn counts in 32 bits, and a frame may come on top

struct ReadLimits {
  int64_t max_messages = 0;
  int64_t max_bytes = 0;
  int64_t max_wait_us = 0;  // how long to wait for the first message when there is none yet (0: do not wait)
};

// One source partition, read in order by one thread.
class SourceReader {
 public:
  virtual ~SourceReader() = default;
  [[nodiscard]] virtual const table::SourceKey& key() const = 0;

  // Goes to a committed position. Error kOffsetMismatch: what was read up to there is not what stands there now.
  virtual Status Seek(const table::SourcePosition& position) = 0;

  // The next messages, at most as limited; empty: none now. `end` moves past skipped frames too, so it may move
  // although the batch is empty.
  virtual Result<RawBatch> Read(const ReadLimits& limits) = 0;

  // The error of Read that stays until a Seek.
  [[nodiscard]] virtual std::optional<Error> failure() const { return std::nullopt; }
  // Fetches no more, and lets go what was fetched and not read, until a Seek.
  virtual void Leave() {}

  // Nothing will ever follow what was read (end of a recording that is not being followed).
  [[nodiscard]] virtual bool AtEnd() const = 0;
  // What was read reaches to where the source ended when it was last heard of. More may follow.
  [[nodiscard]] virtual bool CaughtUp() const { return AtEnd(); }
  [[nodiscard]] virtual SourceCounts counts() const = 0;
  // Total bytes of the source as stored, and how many of them were consumed, for progress; -1 where unknown.
  [[nodiscard]] virtual int64_t stored_bytes() const = 0;
  [[nodiscard]] virtual int64_t stored_bytes_read() const = 0;
};

}  // namespace k2::source
