// Reading messages of one schema as another: Avro's schema resolution, worked out once and then run per message.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
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
// not, its precision another), and of two time types the units must be the same.
//
// Values go to the slots of the reader's schema: the root record's fields are slots 0, 1, ... in their order; what is
// nested in them has the slots after. A union shares its slot with its branches.
class DecodePlan {
 public:
  // Error kInvalidData: the reader's schema cannot read what the writer's writes, or contains itself.
  static Result<DecodePlan> Compile(const Schema& writer, const Schema& reader);

  [[nodiscard]] size_t slot_count() const { return slot_names_.size(); }
  [[nodiscard]] const std::string& SlotName(size_t slot) const { return slot_names_[slot]; }  // a.b.c

 private:
  friend class PlanCompiler;
  template <typename Sink>
  friend RunResult Run(const DecodePlan& plan, std::string_view message, Sink& sink);

  std::vector<Instruction> code_;
  std::vector<int32_t> tables_;
  std::string constants_;
  std::vector<const Node*> skipped_;
  std::shared_ptr<const Schema> writer_;  // keeps skipped_ alive
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

template <typename Sink>
Outcome ReadBytesItems(BinaryReader& reader, uint16_t slot, uint16_t item_slot, Sink& sink) {
  sink.BeginItems(slot);
  while (true) {
    int64_t count = 0;
    if (const Outcome outcome = ReadBlock(reader, count); outcome != Outcome::kOk) [[unlikely]]
      return outcome;
    if (count == 0) return Outcome::kOk;
    for (; count > 0; --count) {
      std::string_view item;
      if (const Outcome outcome = ReadBytes(reader, item); outcome != Outcome::kOk) [[unlikely]]
        return outcome;
      sink.Bytes(item_slot, item);
    }
  }
}

template <typename Sink>
Outcome ReadBytesEntries(BinaryReader& reader, uint16_t slot, uint16_t value_slot, Sink& sink) {
  sink.BeginItems(slot);
  while (true) {
    int64_t count = 0;
    if (const Outcome outcome = ReadBlock(reader, count); outcome != Outcome::kOk) [[unlikely]]
      return outcome;
    if (count == 0) return Outcome::kOk;
    for (; count > 0; --count) {
      std::string_view key;
      std::string_view value;
      if (const Outcome outcome = ReadBytes(reader, key); outcome != Outcome::kOk) [[unlikely]]
        return outcome;
      if (const Outcome outcome = ReadBytes(reader, value); outcome != Outcome::kOk) [[unlikely]]
        return outcome;
      if constexpr (requires { sink.Entry(slot, key, value); }) {
        sink.Entry(slot, key, value);
      } else {
        sink.Key(slot, key);
        sink.Bytes(value_slot, value);
      }
    }
  }
}

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
  using namespace plan_internal;  // NOLINT(google-build-using-namespace)
  BinaryReader reader(message);
  BinaryReader suspended;  // the message, while a constant is read
  std::array<int64_t, kMaxPlanLoops> counts;
  size_t loops = 0;
  const Instruction* const code = plan.code_.data();
  const int32_t* const tables = plan.tables_.data();
  const Instruction* at = code;
  Outcome outcome = Outcome::kOk;

  const auto read_long = [&](int64_t& value) __attribute__((always_inline)) {
    if (reader.ReadLong(value)) [[likely]]
      return true;
    outcome = LongFailure(reader);
    return false;
  };
  const auto failed = [&] {
    return RunResult{outcome, at->slot, static_cast<size_t>(reader.position() - message.data())};
  };

  while (true) {
    switch (at->op) {
      case Op::kNull: sink.Null(at->slot); break;
      case Op::kBoolean: {
        bool value = false;
        if (!reader.ReadBoolean(value)) {
          outcome = reader.AtEnd() ? Outcome::kTruncated : Outcome::kMalformed;
          return failed();
        }
        sink.Boolean(at->slot, value);
        break;
      }
      case Op::kInt: {
        int64_t value = 0;
        if (!read_long(value)) return failed();
        if (value != static_cast<int32_t>(value)) [[unlikely]] {
          outcome = Outcome::kMalformed;
          return failed();
        }
        sink.Long(at->slot, value);
        break;
      }
      case Op::kLong: {
        int64_t value = 0;
        if (!read_long(value)) [[unlikely]]
          return failed();
        sink.Long(at->slot, value);
        break;
      }
      case Op::kFloat: {
        float value = 0;
        outcome = Outcome::kTruncated;
        if (!reader.ReadFloat(value)) return failed();
        sink.Double(at->slot, static_cast<double>(value));
        break;
      }
      case Op::kDouble: {
        double value = 0;
        outcome = Outcome::kTruncated;
        if (!reader.ReadDouble(value)) return failed();
        sink.Double(at->slot, value);
        break;
      }
      case Op::kLongAsFloat:
      case Op::kLongAsDouble: {
        int64_t value = 0;
        if (!read_long(value)) return failed();
        sink.Double(at->slot, at->op == Op::kLongAsFloat ? static_cast<double>(static_cast<float>(value))
                                                         : static_cast<double>(value));
        break;
      }
      case Op::kBytes: {
        std::string_view value;
        outcome = ReadBytes(reader, value);
        if (outcome != Outcome::kOk) [[unlikely]]
          return failed();
        sink.Bytes(at->slot, value);
        break;
      }
      case Op::kFixed: {
        std::string_view value;
        outcome = Outcome::kTruncated;
        if (!reader.ReadFixed(at->arg, value)) return failed();
        sink.Bytes(at->slot, value);
        break;
      }
      case Op::kEnum: {
        int64_t index = 0;
        if (!read_long(index)) [[unlikely]]
          return failed();
        const int32_t* table = tables + at->arg;
        if (index < 0 || index >= table[0]) [[unlikely]] {
          outcome = Outcome::kMalformed;
          return failed();
        }
        const int32_t symbol = table[index + 1];
        if (symbol < 0) [[unlikely]] {
          outcome = Outcome::kUnresolvable;
          return failed();
        }
        sink.Symbol(at->slot, symbol);
        break;
      }
      case Op::kOptional: {
        int64_t index = 0;
        if (!read_long(index)) [[unlikely]]
          return failed();
        if (static_cast<uint64_t>(index) > 1) [[unlikely]] {
          outcome = Outcome::kMalformed;
          return failed();
        }
        if (index == at->arg) {
          sink.Null(at->slot);
          at = code + at->target;
          continue;
        }
        break;
      }
      case Op::kUnion: {
        int64_t index = 0;
        if (!read_long(index)) return failed();
        const int32_t* table = tables + at->arg;
        if (index < 0 || index >= table[0]) {
          outcome = Outcome::kMalformed;
          return failed();
        }
        at = code + table[index + 1];
        continue;
      }
      case Op::kJump: at = code + at->target; continue;
      case Op::kBeginItems:
        sink.BeginItems(at->slot);
        counts[loops++] = 0;
        break;
      case Op::kNextItem:
      case Op::kNextEntry: {
        int64_t& count = counts[loops - 1];
        if (count == 0) {
          outcome = ReadBlock(reader, count);
          if (outcome != Outcome::kOk) return failed();
          if (count == 0) {
            --loops;
            at = code + at->target;
            continue;
          }
        }
        --count;
        if (at->op == Op::kNextEntry) {
          std::string_view key;
          outcome = ReadBytes(reader, key);
          if (outcome != Outcome::kOk) return failed();
          sink.Key(at->slot, key);
        }
        break;
      }
      case Op::kBytesItems:
        outcome = ReadBytesItems(reader, at->slot, static_cast<uint16_t>(at->arg), sink);
        if (outcome != Outcome::kOk) [[unlikely]]
          return failed();
        break;
      case Op::kBytesEntries:
        outcome = ReadBytesEntries(reader, at->slot, static_cast<uint16_t>(at->arg), sink);
        if (outcome != Outcome::kOk) [[unlikely]]
          return failed();
        break;
      case Op::kSkipLong: {
        int64_t value = 0;
        if (!read_long(value)) return failed();
        break;
      }
      case Op::kSkipBytes: {
        std::string_view value;
        outcome = ReadBytes(reader, value);
        if (outcome != Outcome::kOk) return failed();
        break;
      }
      case Op::kSkipFixed:
        outcome = Outcome::kTruncated;
        if (!reader.Skip(at->arg)) return failed();
        break;
      case Op::kSkipNode:
        outcome = SkipValue(*plan.skipped_[at->arg], reader);
        if (outcome != Outcome::kOk) return failed();
        break;
      case Op::kConstant:
        suspended = reader;
        reader = BinaryReader(std::string_view(plan.constants_).substr(at->arg, at->target));
        break;
      case Op::kEndConstant: reader = suspended; break;
      case Op::kUnresolvable: outcome = Outcome::kUnresolvable; return failed();
      case Op::kEnd: outcome = reader.AtEnd() ? Outcome::kOk : Outcome::kTrailing; return failed();
    }
    ++at;
  }
}

}  // namespace k2::avro
