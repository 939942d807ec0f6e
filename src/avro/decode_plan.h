// Reading messages of one schema as another: Avro's schema resolution, worked out once and then run per message.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "avro/binary.h"
#include "base/result.h"

namespace k2::avro {

class Schema;
struct Node;

// How reading one message went.
enum class Outcome : uint8_t {
  kOk,
  kTruncated,     // the bytes end before the message does
  kTrailing,      // the message ends before the bytes do
  kMalformed,     // no writer makes such bytes: a negative length, an index out of range
  kUnresolvable,  // a union branch or enum symbol that the reader's schema does not have
};

struct RunResult {
  Outcome outcome = Outcome::kOk;
  uint16_t slot = 0;  // where in the reader's schema it stopped (DecodePlan::SlotName)
  size_t offset = 0;  // byte of the message at which it stopped
  explicit operator bool() const { return outcome == Outcome::kOk; }
};

inline constexpr size_t kMaxPlanLoops = 16;  // arrays and maps within one another

enum class Op : uint8_t {
  kNull,
  kBoolean,
  kInt,
  kLong,
  kFloat,
  kDouble,
  kLongAsFloat,
  kLongAsDouble,
  kBytes,         // bytes or string
  kFixed,         // arg: size
  kEnum,          // arg: place in tables of the count of the writer's symbols, then the reader's index of each or -1
  kOptional,      // a union of null and one type. arg: the null branch's index; target: behind the other's code
  kUnion,         // arg: place in tables of the count of branches, then the code of each
  kJump,          // target
  kBeginItems,    // an array's or map's start
  kNextItem,      // target: behind the loop
  kNextEntry,     // target: behind the loop
  kBytesItems,    // an array of bytes or strings, whole. arg: slot of the items
  kBytesEntries,  // a map of bytes or strings, whole. arg: slot of the values
  kSkipLong,
  kSkipBytes,
  kSkipFixed,  // arg: size
  kSkipNode,   // arg: index of a type in skipped
  kConstant,   // a default. arg: place in constants, target: its size; the code up to kEndConstant reads it
  kEndConstant,
  kUnresolvable,
  kEnd,
};

struct Instruction {
  Op op;
  uint16_t slot;  // of the reader's schema
  uint32_t arg;
  uint32_t target;
};

// Compiled from a writer's and a reader's schema by the rules of the specification ("Schema Resolution"), and stricter
// where following them would misread a number: a decimal needs a decimal of the same scale (its bytes may be fixed or
// not, its precision another), unless the sink rescales, and of two time types the units must be the same.
//
// Values go to the slots of the reader's schema: the root record's fields are slots 0, 1, ... in their order; what is
// nested in them has the slots after. A union shares its slot with its branches.
class DecodePlan {
 public:
  enum class Decimals : uint8_t {
    kSameScale,
    kRescaled,  // of a smaller scale too: what the sink gets are units of WriterScale()
  };
  // Error kInvalidData: the reader's schema cannot read what the writer's writes, or contains itself.
  static Result<DecodePlan> Compile(const Schema& writer, const Schema& reader,
                                    Decimals decimals = Decimals::kSameScale);

  [[nodiscard]] size_t slot_count() const { return slot_names_.size(); }
  // Of a decimal's slot: the scale of its values in the writer's messages. Nothing: they hold none.
  [[nodiscard]] std::optional<int> WriterScale(uint16_t slot) const;
  [[nodiscard]] const std::string& SlotName(size_t slot) const { return slot_names_[slot]; }  // a.b.c

 private:
  friend class PlanCompiler;
  template <typename Sink>
  friend RunResult Run(const DecodePlan& plan, std::string_view message, Sink& sink);

  std::vector<Instruction> code_;
  std::vector<int32_t> tables_;
  std::string constants_;
  std::vector<const Node*> skipped_;
  std::vector<std::pair<uint16_t, int>> scales_;  // by slot of a decimal
  std::shared_ptr<const Schema> writer_;          // keeps skipped_ alive
  std::vector<std::string> slot_names_;
};

// Moves behind one value of any type. Depth and steps are bounded.
Outcome SkipValue(const Node& node, BinaryReader& reader);

namespace plan_internal {

// Why ReadLong was false: it does not move then.
inline Outcome LongFailure(const BinaryReader& reader) {
  return reader.remaining() >= kMaxVarintSize ? Outcome::kMalformed : Outcome::kTruncated;
}

[[gnu::always_inline]] inline Outcome ReadBytes(BinaryReader& reader, std::string_view& value) {
  int64_t size = 0;
  if (!reader.ReadLong(size)) [[unlikely]]
    return LongFailure(reader);
  if (!reader.ReadFixed(size, value)) [[unlikely]]
    return size < 0 ? Outcome::kMalformed : Outcome::kTruncated;
  return Outcome::kOk;
}

// Items that take no bytes are legal, but not more of them than this beyond the bytes that are there.
inline constexpr size_t kMaxEmptyItems = 64;

inline Outcome ReadBlock(BinaryReader& reader, int64_t& count, int64_t& byte_size) {
  if (!reader.ReadBlock(count, byte_size)) [[unlikely]] {
    return count < 0 || byte_size < -1 ? Outcome::kMalformed : Outcome::kTruncated;
  }
  if (static_cast<uint64_t>(count) > reader.remaining() + kMaxEmptyItems) [[unlikely]]
    return Outcome::kTruncated;
  return Outcome::kOk;
}
inline Outcome ReadBlock(BinaryReader& reader, int64_t& count) {
  int64_t byte_size = 0;
  return ReadBlock(reader, count, byte_size);
}

// Where a run stands; one function an instruction that reads.
template <typename Sink>
class Runner {
 public:
  Runner(std::string_view message, const int32_t* tables, Sink& sink) : reader(message), tables_(tables), sink_(sink) {}

  BinaryReader reader;

  [[gnu::always_inline]] Outcome Long(int64_t& value) {
    if (reader.ReadLong(value)) [[likely]]
      return Outcome::kOk;
    return LongFailure(reader);
  }
  [[gnu::always_inline]] Outcome Long(uint16_t slot) {
    int64_t value = 0;
    const Outcome outcome = Long(value);
    if (outcome == Outcome::kOk) [[likely]]
      sink_.Long(slot, value);
    return outcome;
  }
  [[gnu::always_inline]] Outcome Bytes(uint16_t slot) {
    std::string_view value;
    const Outcome outcome = ReadBytes(reader, value);
    if (outcome == Outcome::kOk) [[likely]]
      sink_.Bytes(slot, value);
    return outcome;
  }
  [[gnu::always_inline]] Outcome Enum(const Instruction& at) {
    int64_t index = 0;
    if (const Outcome outcome = Long(index); outcome != Outcome::kOk) [[unlikely]]
      return outcome;
    const int32_t* table = tables_ + at.arg;
    if (index < 0 || index >= table[0]) [[unlikely]]
      return Outcome::kMalformed;
    if (table[index + 1] < 0) [[unlikely]]
      return Outcome::kUnresolvable;
    sink_.Symbol(at.slot, table[index + 1]);
    return Outcome::kOk;
  }
  // Whether it is null.
  [[gnu::always_inline]] Outcome Optional(const Instruction& at, bool& null) {
    int64_t index = 0;
    if (const Outcome outcome = Long(index); outcome != Outcome::kOk) [[unlikely]]
      return outcome;
    if (static_cast<uint64_t>(index) > 1) [[unlikely]]
      return Outcome::kMalformed;
    null = index == at.arg;
    if (null) sink_.Null(at.slot);
    return Outcome::kOk;
  }

  Outcome Boolean(uint16_t slot) {
    bool value = false;
    if (!reader.ReadBoolean(value)) return reader.AtEnd() ? Outcome::kTruncated : Outcome::kMalformed;
    sink_.Boolean(slot, value);
    return Outcome::kOk;
  }
  Outcome Int(uint16_t slot) {
    int64_t value = 0;
    if (const Outcome outcome = Long(value); outcome != Outcome::kOk) return outcome;
    if (value != static_cast<int32_t>(value)) return Outcome::kMalformed;
    sink_.Long(slot, value);
    return Outcome::kOk;
  }
  Outcome Float(uint16_t slot) {
    float value = 0;
    if (!reader.ReadFloat(value)) return Outcome::kTruncated;
    sink_.Double(slot, static_cast<double>(value));
    return Outcome::kOk;
  }
  Outcome Double(uint16_t slot) {
    double value = 0;
    if (!reader.ReadDouble(value)) return Outcome::kTruncated;
    sink_.Double(slot, value);
    return Outcome::kOk;
  }
  Outcome LongAsDouble(const Instruction& at) {
    int64_t value = 0;
    if (const Outcome outcome = Long(value); outcome != Outcome::kOk) return outcome;
    const bool narrow = at.op == Op::kLongAsFloat;
    sink_.Double(at.slot, narrow ? static_cast<double>(static_cast<float>(value)) : static_cast<double>(value));
    return Outcome::kOk;
  }
  Outcome Fixed(const Instruction& at) {
    std::string_view value;
    if (!reader.ReadFixed(at.arg, value)) return Outcome::kTruncated;
    sink_.Bytes(at.slot, value);
    return Outcome::kOk;
  }
  // The place of the branch's code.
  Outcome Union(const Instruction& at, int32_t& target) {
    int64_t index = 0;
    if (const Outcome outcome = Long(index); outcome != Outcome::kOk) return outcome;
    const int32_t* table = tables_ + at.arg;
    if (index < 0 || index >= table[0]) return Outcome::kMalformed;
    target = table[index + 1];
    return Outcome::kOk;
  }
  void BeginItems(uint16_t slot) {
    sink_.BeginItems(slot);
    counts_[loops_++] = 0;
  }
  // Whether there is another item; its key is read then.
  Outcome NextItem(const Instruction& at, bool& more) {
    int64_t& count = counts_[loops_ - 1];
    if (count == 0) {
      if (const Outcome outcome = ReadBlock(reader, count); outcome != Outcome::kOk) return outcome;
    }
    more = count > 0;
    if (!more) {
      --loops_;
      return Outcome::kOk;
    }
    --count;
    if (at.op == Op::kNextItem) return Outcome::kOk;
    std::string_view key;
    const Outcome outcome = ReadBytes(reader, key);
    if (outcome == Outcome::kOk) sink_.Key(at.slot, key);
    return outcome;
  }
  // A whole array or map of bytes or strings.
  template <bool kMap>
  Outcome BytesItems(const Instruction& at) {
    sink_.BeginItems(at.slot);
    const auto item_slot = static_cast<uint16_t>(at.arg);
    while (true) {
      int64_t count = 0;
      if (const Outcome outcome = ReadBlock(reader, count); outcome != Outcome::kOk) [[unlikely]]
        return outcome;
      if (count == 0) return Outcome::kOk;
      for (; count > 0; --count) {
        std::string_view key;
        std::string_view value;
        if constexpr (kMap) {
          if (const Outcome outcome = ReadBytes(reader, key); outcome != Outcome::kOk) [[unlikely]]
            return outcome;
        }
        if (const Outcome outcome = ReadBytes(reader, value); outcome != Outcome::kOk) [[unlikely]]
          return outcome;
        if constexpr (kMap && requires(Sink& sink) { sink.Entry(at.slot, key, value); }) {
          sink_.Entry(at.slot, key, value);
        } else {
          if constexpr (kMap) sink_.Key(at.slot, key);
          sink_.Bytes(item_slot, value);
        }
      }
    }
  }
  Outcome SkipLong() {
    int64_t value = 0;
    return Long(value);
  }
  Outcome SkipBytes() {
    std::string_view value;
    return ReadBytes(reader, value);
  }

 private:
  const int32_t* tables_;
  Sink& sink_;
  std::array<int64_t, kMaxPlanLoops> counts_;  // items left in the block of each loop
  size_t loops_ = 0;
};

}  // namespace plan_internal

// Reads one message (an Avro body, nothing before or behind it) into the sink. Sink has, each taking the slot first:
//   Null(), Boolean(bool), Long(int64_t) for int and long, Double(double) for float and double,
//   Bytes(std::string_view) for bytes, fixed and string: a view of the message or of the plan; not checked for UTF-8,
//   Symbol(int32_t), the index among the reader's symbols,
//   BeginItems() at the start of an array or map, Key(std::string_view) before each value of a map.
// Items and values come with their own slots. A sink may also have Entry(key, value), for Key and Bytes in one where a
// map's values are bytes or strings. When the result is not kOk the sink has got a part of the message.
template <typename Sink>
RunResult Run(const DecodePlan& plan, std::string_view message, Sink& sink) {
  plan_internal::Runner<Sink> run(message, plan.tables_.data(), sink);
  BinaryReader suspended;  // the message, while a constant is read
  const Instruction* const code = plan.code_.data();
  const Instruction* at = code;
  while (true) {
    Outcome outcome = Outcome::kOk;
    const Instruction* next = at + 1;
    switch (at->op) {
      case Op::kNull: sink.Null(at->slot); break;
      case Op::kBoolean: outcome = run.Boolean(at->slot); break;
      case Op::kInt: outcome = run.Int(at->slot); break;
      case Op::kLong: outcome = run.Long(at->slot); break;
      case Op::kFloat: outcome = run.Float(at->slot); break;
      case Op::kDouble: outcome = run.Double(at->slot); break;
      case Op::kLongAsFloat:
      case Op::kLongAsDouble: outcome = run.LongAsDouble(*at); break;
      case Op::kBytes: outcome = run.Bytes(at->slot); break;
      case Op::kFixed: outcome = run.Fixed(*at); break;
      case Op::kEnum: outcome = run.Enum(*at); break;
      case Op::kOptional: {
        bool null = false;
        outcome = run.Optional(*at, null);
        if (null) next = code + at->target;
        break;
      }
      case Op::kUnion: {
        int32_t target = 0;
        outcome = run.Union(*at, target);
        next = code + target;
        break;
      }
      case Op::kJump: next = code + at->target; break;
      case Op::kBeginItems: run.BeginItems(at->slot); break;
      case Op::kNextItem:
      case Op::kNextEntry: {
        bool more = true;
        outcome = run.NextItem(*at, more);
        if (!more) next = code + at->target;
        break;
      }
      case Op::kBytesItems: outcome = run.template BytesItems<false>(*at); break;
      case Op::kBytesEntries: outcome = run.template BytesItems<true>(*at); break;
      case Op::kSkipLong: outcome = run.SkipLong(); break;
      case Op::kSkipBytes: outcome = run.SkipBytes(); break;
      case Op::kSkipFixed: outcome = run.reader.Skip(at->arg) ? Outcome::kOk : Outcome::kTruncated; break;
      case Op::kSkipNode: outcome = SkipValue(*plan.skipped_[at->arg], run.reader); break;
      case Op::kConstant:
        suspended = run.reader;
        run.reader = BinaryReader(std::string_view(plan.constants_).substr(at->arg, at->target));
        break;
      case Op::kEndConstant: run.reader = suspended; break;
      case Op::kUnresolvable: outcome = Outcome::kUnresolvable; break;
      case Op::kEnd:
        if (run.reader.AtEnd()) return {};
        outcome = Outcome::kTrailing;
        break;
    }
    if (outcome != Outcome::kOk) [[unlikely]] {
      return {outcome, at->slot, static_cast<size_t>(run.reader.position() - message.data())};
    }
    at = next;
  }
}

}  // namespace k2::avro
