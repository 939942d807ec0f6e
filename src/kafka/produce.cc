#include "kafka/produce.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <set>
#include <thread>

#include "base/time.h"
#include "kafka/kafka_producer.h"
#include "recording/frame_messages.h"
#include "recording/recording.h"
#include "recording/recording_line.h"

namespace k2::kafka {
namespace {

constexpr int64_t kBatchMessages = 8'192;
constexpr int64_t kPacedMessages = 512;
constexpr int64_t kBatchBytes = int64_t{8} << 20;
constexpr int64_t kReportTickUs = 2'000;
constexpr int64_t kFlushSliceUs = 200'000;
constexpr int64_t kStopPatienceUs = 10'000'000;
constexpr int64_t kLiveTradesPerSecond = 1'000'000;  // the wall clock paces the session

// One input: batches of messages in order.
class Feed {
 public:
  virtual ~Feed() = default;
  // Empty: it has ended.
  virtual Result<source::RawBatch> Next(int64_t messages) = 0;
  [[nodiscard]] virtual int64_t done() const = 0;
  [[nodiscard]] virtual int64_t total() const = 0;
};

class RecordingFeed final : public Feed {
 public:
  explicit RecordingFeed(std::unique_ptr<recording::RecordingReader> reader) : reader_(std::move(reader)) {}
  Result<source::RawBatch> Next(int64_t messages) override {
    for (;;) {
      K2_ASSIGN(source::RawBatch batch, reader_->Read({.max_messages = messages, .max_bytes = kBatchBytes}));
      if (batch.size() > 0 || reader_->AtEnd()) return batch;
    }
  }
  [[nodiscard]] int64_t done() const override { return reader_->stored_bytes_read(); }
  [[nodiscard]] int64_t total() const override { return reader_->stored_bytes(); }

 private:
  std::unique_ptr<recording::RecordingReader> reader_;
};

class SessionFeed final : public Feed {
 public:
  SessionFeed(recording::Simulator simulator, const recording::SimulatorOptions& session, const ProduceOptions& options)
      : simulator_(std::move(simulator)),
        messages_(*session.exchange, options.trade_schema_id, options.rejected_schema_id),
        trades_(session.trades),
        live_(options.live) {}

  Result<source::RawBatch> Next(int64_t messages) override {
    source::RawBatch batch;
    batch.end.next_offset = next_offset_;
    while (static_cast<int64_t>(batch.size()) < messages) {
      if (live_) simulator_.SetClock(NowMicros());
      line_.clear();
      if (!simulator_.NextLine(line_)) break;
      const recording::RecordingLine parts =
          recording::SplitRecordingLine(std::string_view(line_).substr(0, line_.size() - 1));
      messages_.Append(parts.frame, parts.receive_us, batch);
    }
    next_offset_ = batch.end.next_offset;
    return batch;
  }
  [[nodiscard]] int64_t done() const override { return simulator_.counts().trades; }
  [[nodiscard]] int64_t total() const override { return trades_; }

 private:
  recording::Simulator simulator_;
  recording::FrameMessages messages_;
  int64_t trades_;
  bool live_;
  int64_t next_offset_ = 0;
  std::string line_;
};

// A feed with the batch it is in.
struct Lane {
  std::unique_ptr<Feed> feed;
  std::string topic;
  KafkaProducer::Batch* batch = nullptr;
  size_t next = 0;
  size_t size = 0;
  bool ended = false;

  [[nodiscard]] int64_t time_us() const { return KafkaProducer::MessagesOf(*batch).ingestion_timestamps_us[next]; }
};

class Session {
 public:
  Session(const ProduceOptions& options, const std::atomic<bool>& stop, ProduceProgress& progress)
      : options_(options), stop_(stop), progress_(progress) {}
  ~Session() {
    for (Lane& line : lines_) Leave(line);
  }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  Status Open();
  Result<ProduceReport> Run();

 private:
  Status OpenTopics();
  Result<std::unique_ptr<Feed>> OpenFeed(const ProduceInput& input) const;
  Status Refill(Lane& line);
  Lane* Choose();
  [[nodiscard]] size_t Allowed(const Lane& line) const;
  void Finish();
  static void Leave(Lane& line) {
    if (line.batch != nullptr) KafkaProducer::Drop(line.batch, line.next);
    line.batch = nullptr;
  }

  const ProduceOptions& options_;
  const std::atomic<bool>& stop_;
  ProduceProgress& progress_;
  std::unique_ptr<KafkaProducer> producer_;
  std::vector<Lane> lines_;
  size_t turn_ = 0;
  int64_t started_us_ = 0;
  std::optional<int64_t> first_time_us_;  // of all messages, as received
  ProduceReport report_;
};

Result<std::unique_ptr<Feed>> Session::OpenFeed(const ProduceInput& input) const {
  if (!input.recording.empty()) {
    recording::RecordingOptions recording;
    recording.trade_schema_id = options_.trade_schema_id;
    recording.rejected_schema_id = options_.rejected_schema_id;
    K2_ASSIGN(auto reader, recording::RecordingReader::Open(*input.exchange, input.recording, recording));
    return std::make_unique<RecordingFeed>(std::move(reader));
  }
  recording::SimulatorOptions session = input.simulator;
  session.exchange = input.exchange;
  if (options_.live) {
    session.trades_per_second = kLiveTradesPerSecond;
    session.first_id = NowMicros();
  }
  K2_ASSIGN(recording::Simulator simulator, recording::Simulator::Create(session));
  return std::make_unique<SessionFeed>(std::move(simulator), session, options_);
}

Status Session::OpenTopics() {
  std::set<std::string> names;
  for (const Lane& line : lines_) names.insert(line.topic);
  const std::vector<std::string> wanted(names.begin(), names.end());
  K2_ASSIGN(const auto admin, KafkaAdmin::Create(options_.kafka));
  K2_ASSIGN(KafkaTopics found, admin->Describe(wanted));
  for (const std::string& name : found.missing) {
    if (options_.create_partitions <= 0) {
      return Fail(ErrorKind::kNotFound, "there is no Kafka topic {} at {}: create it with --create-topics PARTITIONS",
                  name, options_.kafka.brokers);
    }
    const Status made = admin->CreateTopic(name, options_.create_partitions, options_.replication);
    if (!made && made.error().kind != ErrorKind::kAlreadyExists) return made;
  }
  // Brokers learn of a new topic one by one.
  const int64_t deadline = MonotonicMicros() + options_.kafka.request_timeout_us;
  while (!found.missing.empty()) {
    K2_ASSIGN(found, admin->Describe(wanted));
    if (found.missing.empty()) break;
    if (MonotonicMicros() >= deadline) {
      return Fail(ErrorKind::kUnavailable, "Kafka topic {} was created but is not visible yet", found.missing.front());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return {};
}

Status Session::Open() {
  for (const ProduceInput& input : options_.inputs) {
    Lane line;
    K2_ASSIGN(line.feed, OpenFeed(input));
    line.topic = options_.topic_prefix + std::string(input.exchange->name);
    lines_.push_back(std::move(line));
  }
  K2_TRY(CheckKafkaOptions(options_.kafka));
  K2_TRY(OpenTopics());
  K2_ASSIGN(producer_, KafkaProducer::Create(options_.kafka));
  return {};
}

Status Session::Refill(Lane& line) {
  if (line.batch != nullptr || line.ended) return {};
  const bool paced = options_.messages_per_second > 0 || options_.speed > 0;
  int64_t messages = paced ? kPacedMessages : kBatchMessages;
  // What happens now is not made up ahead of its time.
  if (options_.live && options_.messages_per_second > 0) {
    messages = std::clamp<int64_t>(options_.messages_per_second / 500, 1, kPacedMessages);
  }
  K2_ASSIGN(source::RawBatch batch, line.feed->Next(messages));
  line.next = 0;
  line.size = batch.size();
  line.batch = KafkaProducer::Keep(std::move(batch));
  line.ended = line.batch == nullptr;
  return {};
}

// Whose messages come next: in the order of their times where that matters, else in turn.
Lane* Session::Choose() {
  Lane* chosen = nullptr;
  for (size_t i = 0; i < lines_.size(); ++i) {
    Lane& line = lines_[(turn_ + i) % lines_.size()];
    if (line.batch == nullptr) continue;
    if (chosen == nullptr || (options_.speed > 0 && line.time_us() < chosen->time_us())) chosen = &line;
  }
  ++turn_;
  return chosen;
}

// How many of its messages may go now.
size_t Session::Allowed(const Lane& line) const {
  const int64_t elapsed_us = MonotonicMicros() - started_us_;
  size_t allowed = line.size - line.next;
  if (options_.messages_per_second > 0) {
    const auto due = static_cast<int64_t>(static_cast<double>(elapsed_us) / static_cast<double>(kMicrosPerSecond) *
                                          static_cast<double>(options_.messages_per_second));
    allowed = std::min(allowed, static_cast<size_t>(std::max<int64_t>(due - report_.sent, 0)));
  }
  if (options_.speed > 0) {
    const auto passed_us = static_cast<int64_t>(static_cast<double>(elapsed_us) * options_.speed);
    const auto& times = KafkaProducer::MessagesOf(*line.batch).ingestion_timestamps_us;
    size_t due = 0;
    while (due < allowed && times[line.next + due] - *first_time_us_ <= passed_us) ++due;
    allowed = due;
  }
  return allowed;
}

Result<ProduceReport> Session::Run() {
  started_us_ = MonotonicMicros();
  std::optional<Error> failure;
  while (!stop_ && !failure) {
    for (Lane& line : lines_) {
      if (const Status filled = Refill(line); !filled && !failure) failure = filled.error();
    }
    if (failure) break;
    Lane* line = Choose();
    if (line == nullptr) break;
    if (!first_time_us_) first_time_us_ = line->time_us();
    const size_t allowed = Allowed(*line);
    if (allowed == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(kReportTickUs));
      continue;
    }
    const source::RawBatch& messages = KafkaProducer::MessagesOf(*line->batch);
    for (size_t i = line->next; i < line->next + allowed; ++i) {
      report_.bytes += static_cast<int64_t>(messages.keys[i].size() + messages.payloads[i].size());
    }
    KafkaProducer::Batch* const batch = line->batch;
    const size_t from = line->next;
    line->next += allowed;
    if (line->next == line->size) line->batch = nullptr;
    producer_->Send(line->topic, batch, from, from + allowed);
    report_.sent += static_cast<int64_t>(allowed);
    progress_.sent = report_.sent;
    int64_t done = 0;
    int64_t total = 0;
    for (const Lane& each : lines_) {
      done += each.feed->done();
      total += each.feed->total();
    }
    progress_.done = done;
    progress_.total = total;
  }
  Finish();
  // What was read before a recording breaks is delivered all the same.
  if (failure) return std::unexpected(*failure);
  return report_;
}

// Waits for deliveries; after a stop only for a while.
void Session::Finish() {
  for (Lane& line : lines_) Leave(line);
  int64_t stopped_us = 0;
  while (!producer_->Flush(kFlushSliceUs)) {
    if (!stop_) continue;
    const int64_t now_us = MonotonicMicros();
    if (stopped_us == 0) stopped_us = now_us;
    if (now_us - stopped_us >= kStopPatienceUs) break;
  }
  report_.elapsed_us = MonotonicMicros() - started_us_;
  const KafkaHealth health = producer_->health();
  const DeliveryCounts counts = producer_->counts();
  report_.delivered = counts.delivered;
  report_.failed = report_.sent - counts.delivered;
  report_.first_failure = counts.first_failure;
  if (report_.failed > 0 && report_.first_failure.empty()) report_.first_failure = "stopped before delivery";
  if (report_.failed > 0 && !health.ok) report_.first_failure += "; " + health.last_error;
}

}  // namespace

Result<ProduceReport> Produce(const ProduceOptions& options, const std::atomic<bool>& stop, ProduceProgress& progress) {
  if (options.inputs.empty()) return Fail(ErrorKind::kInvalidArgument, "nothing to produce");
  if (options.messages_per_second < 0 || options.speed < 0) {
    return Fail(ErrorKind::kInvalidArgument, "cannot produce at a negative rate");
  }
  Session session(options, stop, progress);
  K2_TRY(session.Open());
  return session.Run();
}

}  // namespace k2::kafka
