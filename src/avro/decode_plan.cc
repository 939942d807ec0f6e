#include "avro/decode_plan.h"

#include <algorithm>
#include <limits>

#include "avro/generic.h"
#include "avro/schema.h"

namespace k2::avro {
namespace {

constexpr size_t kMaxInstructions = 1 << 14;
constexpr int kMaxAttempts = 1 << 15;  // unions in unions of the reader's are tried branch by branch
constexpr int kMaxReaderDepth = 32;

std::string_view SimpleName(std::string_view full) {
  const size_t dot = full.rfind('.');
  return dot == std::string_view::npos ? full : full.substr(dot + 1);
}

// Named types match by their unqualified name, or by that of an alias of the reader's.
bool NamesMatch(const Node& writer, const Node& reader) {
  const std::string_view name = SimpleName(writer.name);
  return name == SimpleName(reader.name) || std::ranges::find(reader.aliases, name, [](const std::string& alias) {
                                              return SimpleName(alias);
                                            }) != reader.aliases.end();
}

bool IsBytes(Type type) { return type == Type::kBytes || type == Type::kString; }

bool IsTime(LogicalType logical) { return logical >= LogicalType::kDate && logical <= LogicalType::kTimestampNanos; }

std::string Describe(const Node& node) {
  return node.name.empty() ? std::string(ToString(node.type)) : fmt::format("{} {}", ToString(node.type), node.name);
}

// A place in the reader's schema, with its slot. The same named type may stand in several places.
struct Place {
  const Node* node;
  uint16_t slot;
  std::vector<Place> children;  // record: fields; array, map: the item; union: branches
};

}  // namespace

class PlanCompiler {
 public:
  explicit PlanCompiler(DecodePlan::Decimals decimals) : decimals_(decimals) {}

  Result<DecodePlan> Compile(const Schema& writer, const Schema& reader) {
    plan_.writer_ = std::make_shared<const Schema>(writer);
    Place root{&reader.root(), 0, {}};
    root_ = &reader.root();
    if (root.node->type != Type::kRecord) plan_.slot_names_.emplace_back("value");
    K2_TRY(AddChildren(root, "", 0));
    K2_TRY(Emit(writer.root(), root));
    Add(Op::kEnd, 0);
    if (plan_.slot_names_.empty()) plan_.slot_names_.emplace_back("value");
    return std::move(plan_);
  }

 private:
  Result<uint16_t> NewSlot(std::string name) {
    if (plan_.slot_names_.size() >= std::numeric_limits<uint16_t>::max()) {
      return Fail(ErrorKind::kInvalidData, "Avro schema resolution: the reader's schema is too large");
    }
    plan_.slot_names_.push_back(std::move(name));
    return static_cast<uint16_t>(plan_.slot_names_.size() - 1);
  }

  // Gives slots to what is directly inside a place, then to what is inside that.
  Status AddChildren(Place& place, const std::string& prefix, int depth) {
    if (depth > kMaxReaderDepth) {
      return Fail(ErrorKind::kInvalidData, "Avro schema resolution: the reader's schema contains itself or nests deep");
    }
    const Node& node = *place.node;
    std::vector<std::string> names;
    if (node.type == Type::kRecord) {
      for (const Field& field : node.fields) {
        names.push_back(prefix + field.name);
        K2_ASSIGN(const uint16_t slot, NewSlot(names.back()));
        place.children.push_back({field.type, slot, {}});
      }
    } else if (node.type == Type::kArray || node.type == Type::kMap) {
      names.push_back(prefix + (node.type == Type::kArray ? "element" : "value"));
      K2_ASSIGN(const uint16_t slot, NewSlot(names.back()));
      place.children.push_back({node.items, slot, {}});
    } else if (node.type == Type::kUnion) {
      for (const Node* branch : node.branches) place.children.push_back({branch, place.slot, {}});
    }
    for (size_t i = 0; i < place.children.size(); ++i) {
      K2_TRY(AddChildren(place.children[i], names.empty() ? prefix : names[i] + ".", depth + 1));
    }
    return {};
  }

  uint32_t Position() const { return static_cast<uint32_t>(plan_.code_.size()); }

  uint32_t Add(Op op, uint16_t slot, uint32_t arg = 0, uint32_t target = 0) {
    plan_.code_.push_back({op, slot, arg, target});
    return Position() - 1;
  }

  std::unexpected<Error> Unresolvable(const Node& writer, const Place& reader) const {
    return Fail(ErrorKind::kInvalidData, "Avro schema resolution: the writer's {} cannot be read as {} ({})",
                Describe(writer), reader.node == root_ ? "the message" : plan_.slot_names_[reader.slot],
                Describe(*reader.node));
  }

  // What a failed attempt has added is taken back.
  struct Mark {
    size_t code, tables, constants, skipped, scales;
  };
  [[nodiscard]] Mark Here() const {
    return {plan_.code_.size(), plan_.tables_.size(), plan_.constants_.size(), plan_.skipped_.size(),
            plan_.scales_.size()};
  }
  void Return(const Mark& mark) {
    plan_.code_.resize(mark.code, Instruction{});
    plan_.tables_.resize(mark.tables);
    plan_.constants_.resize(mark.constants);
    plan_.skipped_.resize(mark.skipped);
    plan_.scales_.resize(mark.scales);
  }

  Status Emit(const Node& writer, const Place& reader) {
    if (++attempts_ > kMaxAttempts || plan_.code_.size() > kMaxInstructions) {
      return Fail(ErrorKind::kInvalidData, "Avro schema resolution: the schemas are too large or nest without end");
    }
    if (writer.type == Type::kUnion) return EmitWriterUnion(writer, reader);
    if (reader.node->type == Type::kUnion) return EmitReaderUnion(writer, reader);
    switch (reader.node->type) {
      case Type::kRecord: return EmitRecord(writer, reader);
      case Type::kEnum: return EmitEnum(writer, reader);
      case Type::kArray:
      case Type::kMap: return EmitItems(writer, reader);
      default: return EmitPlain(writer, reader);
    }
  }

  Status EmitPlain(const Node& writer, const Place& reader) {
    const Node& target = *reader.node;
    if (writer.logical == LogicalType::kDecimal || target.logical == LogicalType::kDecimal) {
      return EmitDecimal(writer, reader);
    }
    if (IsTime(writer.logical) && IsTime(target.logical) && writer.logical != target.logical) {
      return Unresolvable(writer, reader);  // milliseconds are not microseconds
    }
    const bool from_integer = writer.type == Type::kInt || writer.type == Type::kLong;
    if (target.type == Type::kFixed) {
      if (writer.type != Type::kFixed || writer.size != target.size || !NamesMatch(writer, target)) {
        return Unresolvable(writer, reader);
      }
      Add(Op::kFixed, reader.slot, static_cast<uint32_t>(writer.size));
    } else if (writer.type == Type::kNull && target.type == Type::kNull) {
      Add(Op::kNull, reader.slot);
    } else if (writer.type == Type::kBoolean && target.type == Type::kBoolean) {
      Add(Op::kBoolean, reader.slot);
    } else if (writer.type == Type::kInt && (target.type == Type::kInt || target.type == Type::kLong)) {
      Add(Op::kInt, reader.slot);
    } else if (writer.type == Type::kLong && target.type == Type::kLong) {
      Add(Op::kLong, reader.slot);
    } else if (from_integer && target.type == Type::kFloat) {
      Add(Op::kLongAsFloat, reader.slot);
    } else if (from_integer && target.type == Type::kDouble) {
      Add(Op::kLongAsDouble, reader.slot);
    } else if (writer.type == Type::kFloat && (target.type == Type::kFloat || target.type == Type::kDouble)) {
      Add(Op::kFloat, reader.slot);
    } else if (writer.type == Type::kDouble && target.type == Type::kDouble) {
      Add(Op::kDouble, reader.slot);
    } else if (IsBytes(writer.type) && IsBytes(target.type)) {
      Add(Op::kBytes, reader.slot);
    } else {
      return Unresolvable(writer, reader);
    }
    return {};
  }

  Status EmitDecimal(const Node& writer, const Place& reader) {
    const int lacks = reader.node->scale - writer.scale;
    if (writer.logical != reader.node->logical || lacks < 0 ||
        (lacks > 0 && decimals_ != DecodePlan::Decimals::kRescaled)) {
      return Unresolvable(writer, reader);
    }
    // Branches of a union would need to say which of them a value is of.
    const std::optional<int> other = plan_.WriterScale(reader.slot);
    if (other && *other != writer.scale) return Unresolvable(writer, reader);
    if (!other) plan_.scales_.emplace_back(reader.slot, writer.scale);
    if (writer.type == Type::kFixed) {
      Add(Op::kFixed, reader.slot, static_cast<uint32_t>(writer.size));
    } else {
      Add(Op::kBytes, reader.slot);
    }
    return {};
  }

  Status EmitEnum(const Node& writer, const Place& reader) {
    const Node& target = *reader.node;
    if (writer.type != Type::kEnum || !NamesMatch(writer, target)) return Unresolvable(writer, reader);
    const auto index = [&](const std::string& symbol) -> int32_t {
      const auto it = std::ranges::find(target.symbols, symbol);
      return it == target.symbols.end() ? -1 : static_cast<int32_t>(it - target.symbols.begin());
    };
    const int32_t absent = target.default_symbol ? index(*target.default_symbol) : -1;
    Add(Op::kEnum, reader.slot, static_cast<uint32_t>(plan_.tables_.size()));
    plan_.tables_.push_back(static_cast<int32_t>(writer.symbols.size()));
    for (const std::string& symbol : writer.symbols) {
      const int32_t found = index(symbol);
      plan_.tables_.push_back(found < 0 ? absent : found);
    }
    return {};
  }

  Status EmitItems(const Node& writer, const Place& reader) {
    if (writer.type != reader.node->type) return Unresolvable(writer, reader);
    const Place& item = reader.children[0];
    const bool map = writer.type == Type::kMap;
    if (IsBytes(writer.items->type) && IsBytes(item.node->type) && writer.items->logical != LogicalType::kDecimal &&
        item.node->logical != LogicalType::kDecimal) {
      Add(map ? Op::kBytesEntries : Op::kBytesItems, reader.slot, item.slot);
      return {};
    }
    if (loops_ >= kMaxPlanLoops) {
      return Fail(ErrorKind::kInvalidData, "Avro schema resolution: more than {} arrays within one another",
                  kMaxPlanLoops);
    }
    Add(Op::kBeginItems, reader.slot);
    const uint32_t next = Add(map ? Op::kNextEntry : Op::kNextItem, reader.slot);
    ++loops_;
    const Status status = Emit(*writer.items, item);
    --loops_;
    K2_TRY(status);
    Add(Op::kJump, reader.slot, 0, next);
    plan_.code_[next].target = Position();
    return {};
  }

  Status EmitRecord(const Node& writer, const Place& reader) {
    const Node& target = *reader.node;
    if (writer.type != Type::kRecord || !NamesMatch(writer, target)) return Unresolvable(writer, reader);
    // Which of the reader's fields takes each of the writer's: by name, else by the reader's alias.
    std::vector<int> taken_by(writer.fields.size(), -1);
    std::vector<bool> found(target.fields.size(), false);
    const auto match = [&](size_t field, std::string_view name) {
      const int index = writer.FieldIndex(name);
      if (index < 0 || taken_by[static_cast<size_t>(index)] >= 0) return;
      taken_by[static_cast<size_t>(index)] = static_cast<int>(field);
      found[field] = true;
    };
    for (size_t i = 0; i < target.fields.size(); ++i) match(i, target.fields[i].name);
    for (size_t i = 0; i < target.fields.size(); ++i) {
      for (const std::string& alias : target.fields[i].aliases) {
        if (!found[i]) match(i, alias);
      }
    }
    for (size_t i = 0; i < writer.fields.size(); ++i) {
      if (taken_by[i] < 0) {
        EmitSkip(*writer.fields[i].type, reader.slot);
      } else {
        K2_TRY(Emit(*writer.fields[i].type, reader.children[static_cast<size_t>(taken_by[i])]));
      }
    }
    for (size_t i = 0; i < target.fields.size(); ++i) {
      if (!found[i]) K2_TRY(EmitDefault(target.fields[i], reader.children[i]));
    }
    return {};
  }

  Status EmitDefault(const Field& field, const Place& place) {
    if (!field.has_default) {
      return Fail(ErrorKind::kInvalidData, "Avro schema resolution: the writer has no field {}, which has no default",
                  plan_.slot_names_[place.slot]);
    }
    K2_ASSIGN(const Value value, FromDefault(*field.type, field.default_value));
    std::string bytes;
    K2_TRY(Encode(*field.type, value, bytes));
    Add(Op::kConstant, place.slot, static_cast<uint32_t>(plan_.constants_.size()), static_cast<uint32_t>(bytes.size()));
    plan_.constants_ += bytes;
    K2_TRY(Emit(*field.type, place));
    Add(Op::kEndConstant, place.slot);
    return {};
  }

  void EmitSkip(const Node& node, uint16_t slot) {
    switch (node.type) {
      case Type::kNull: return;
      case Type::kInt:
      case Type::kLong: Add(Op::kSkipLong, slot); return;
      case Type::kFloat: Add(Op::kSkipFixed, slot, sizeof(float)); return;
      case Type::kDouble: Add(Op::kSkipFixed, slot, sizeof(double)); return;
      case Type::kFixed: Add(Op::kSkipFixed, slot, static_cast<uint32_t>(node.size)); return;
      case Type::kBytes:
      case Type::kString: Add(Op::kSkipBytes, slot); return;
      default: Add(Op::kSkipNode, slot, static_cast<uint32_t>(plan_.skipped_.size())); plan_.skipped_.push_back(&node);
    }
  }

  // The reader's first branch of the same type and name, else the first that can read it.
  Status EmitReaderUnion(const Node& writer, const Place& reader) {
    const Mark mark = Here();
    for (const bool exact : {true, false}) {
      for (const Place& branch : reader.children) {
        if (exact && (branch.node->type != writer.type || branch.node->name != writer.name)) continue;
        if (Emit(writer, branch)) return {};
        Return(mark);
      }
    }
    return Unresolvable(writer, reader);
  }

  Status EmitWriterUnion(const Node& writer, const Place& reader) {
    const size_t count = writer.branches.size();
    const bool reads_null =
        reader.node->type == Type::kNull ||
        (reader.node->type == Type::kUnion &&
         std::ranges::any_of(reader.children, [](const Place& p) { return p.node->type == Type::kNull; }));
    if (count == 2 && reads_null && &writer.NonNull() != &writer) {
      const bool null_first = writer.branches[0]->type == Type::kNull;
      const uint32_t start = Add(Op::kOptional, reader.slot, null_first ? 0 : 1);
      EmitBranch(writer.NonNull(), reader);
      plan_.code_[start].target = Position();
      return {};
    }
    const size_t table = plan_.tables_.size();
    Add(Op::kUnion, reader.slot, static_cast<uint32_t>(table));
    plan_.tables_.resize(table + 1 + count);
    plan_.tables_[table] = static_cast<int32_t>(count);
    std::vector<uint32_t> jumps;
    bool any = false;
    for (size_t i = 0; i < count; ++i) {
      plan_.tables_[table + 1 + i] = static_cast<int32_t>(Position());
      any |= EmitBranch(*writer.branches[i], reader);
      jumps.push_back(Add(Op::kJump, reader.slot));
    }
    for (const uint32_t jump : jumps) plan_.code_[jump].target = Position();
    if (!any) return Unresolvable(writer, reader);
    return {};
  }

  // A branch of the writer's that cannot be read is an error of the messages that have it.
  bool EmitBranch(const Node& branch, const Place& reader) {
    const Mark mark = Here();
    if (Emit(branch, reader)) return true;
    Return(mark);
    Add(Op::kUnresolvable, reader.slot);
    return false;
  }

  const DecodePlan::Decimals decimals_;
  DecodePlan plan_;
  const Node* root_ = nullptr;
  size_t loops_ = 0;
  int attempts_ = 0;
};

Result<DecodePlan> DecodePlan::Compile(const Schema& writer, const Schema& reader, Decimals decimals) {
  return PlanCompiler(decimals).Compile(writer, reader);
}

std::optional<int> DecodePlan::WriterScale(uint16_t slot) const {
  const auto found = std::ranges::find(scales_, slot, &std::pair<uint16_t, int>::first);
  return found == scales_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace k2::avro
