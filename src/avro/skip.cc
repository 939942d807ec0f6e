// Moving behind values that the reader's schema does not have.
#include <utility>

#include "avro/decode_plan.h"
#include "avro/schema.h"

namespace k2::avro {
namespace {

constexpr int kMaxSkipDepth = 128;

class Skipper {
 public:
  explicit Skipper(BinaryReader& reader)
      : reader_(reader), steps_left_((int64_t{1} << 16) + 4 * static_cast<int64_t>(reader.remaining())) {}

  Outcome Skip(const Node& node, int depth) {
    if (depth > kMaxSkipDepth || --steps_left_ < 0) return Outcome::kMalformed;
    switch (node.type) {
      case Type::kNull: return Outcome::kOk;
      case Type::kBoolean: return Fixed(1);
      case Type::kFloat: return Fixed(sizeof(float));
      case Type::kDouble: return Fixed(sizeof(double));
      case Type::kFixed: return Fixed(node.size);
      case Type::kInt:
      case Type::kLong:
      case Type::kEnum: {
        int64_t number = 0;
        return Long(number);
      }
      case Type::kBytes:
      case Type::kString: return Bytes();
      case Type::kRecord: return Record(node, depth);
      case Type::kArray:
      case Type::kMap: return Items(node, depth);
      case Type::kUnion: return Union(node, depth);
    }
    return Outcome::kMalformed;
  }

 private:
  Outcome Fixed(int64_t size) { return reader_.Skip(size) ? Outcome::kOk : Outcome::kTruncated; }
  Outcome Long(int64_t& value) { return reader_.ReadLong(value) ? Outcome::kOk : plan_internal::LongFailure(reader_); }
  Outcome Bytes() {
    std::string_view value;
    return plan_internal::ReadBytes(reader_, value);
  }

  Outcome Record(const Node& node, int depth) {
    for (const Field& field : node.fields) {
      if (const Outcome outcome = Skip(*field.type, depth + 1); outcome != Outcome::kOk) return outcome;
    }
    return Outcome::kOk;
  }

  Outcome Union(const Node& node, int depth) {
    int64_t branch = 0;
    if (const Outcome outcome = Long(branch); outcome != Outcome::kOk) return outcome;
    if (branch < 0 || std::cmp_greater_equal(branch, node.branches.size())) return Outcome::kMalformed;
    return Skip(*node.branches[static_cast<size_t>(branch)], depth + 1);
  }

  Outcome Items(const Node& node, int depth) {
    while (true) {
      int64_t count = 0;
      int64_t byte_size = 0;
      if (const Outcome outcome = plan_internal::ReadBlock(reader_, count, byte_size); outcome != Outcome::kOk) {
        return outcome;
      }
      if (count == 0) return Outcome::kOk;
      if (byte_size >= 0) {
        (void)reader_.Skip(byte_size);  // ReadBlock has checked it
        continue;
      }
      for (; count > 0; --count) {
        if (node.type == Type::kMap) {
          if (const Outcome outcome = Bytes(); outcome != Outcome::kOk) return outcome;
        }
        if (const Outcome outcome = Skip(*node.items, depth + 1); outcome != Outcome::kOk) return outcome;
      }
    }
  }

  BinaryReader& reader_;
  int64_t steps_left_;  // values that take no bytes must not multiply without end
};

}  // namespace

Outcome SkipValue(const Node& node, BinaryReader& reader) { return Skipper(reader).Skip(node, 0); }

}  // namespace k2::avro
