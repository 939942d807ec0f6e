// Parsing Canonical Form and fingerprints of schemas.
#include <openssl/sha.h>

#include <set>

#include "avro/schema.h"

namespace k2::avro {
namespace {

constexpr uint64_t kEmptyFingerprint = 0xc15d213aa4d7a795;  // specification, "Schema Fingerprints"

constexpr std::array<uint64_t, 256> MakeFingerprintTable() {
  std::array<uint64_t, 256> table{};
  for (size_t i = 0; i < 256; ++i) {
    uint64_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (kEmptyFingerprint & (0 - (value & 1)));
    table[i] = value;
  }
  return table;
}
constexpr auto kFingerprintTable = MakeFingerprintTable();

// Strings of the canonical form are UTF-8 with nothing escaped but what JSON demands.
void AppendString(std::string& out, const std::string& text) {
  out += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void AppendNode(std::string& out, const Node& node, std::set<const Node*>& defined);

void AppendRecord(std::string& out, const Node& node, std::set<const Node*>& defined) {
  out += ",\"type\":\"record\",\"fields\":[";
  for (size_t i = 0; i < node.fields.size(); ++i) {
    out += i == 0 ? "{\"name\":" : ",{\"name\":";
    AppendString(out, node.fields[i].name);
    out += ",\"type\":";
    AppendNode(out, *node.fields[i].type, defined);
    out += '}';
  }
  out += "]}";
}

void AppendEnum(std::string& out, const Node& node) {
  out += ",\"type\":\"enum\",\"symbols\":[";
  for (size_t i = 0; i < node.symbols.size(); ++i) {
    if (i > 0) out += ',';
    AppendString(out, node.symbols[i]);
  }
  out += "]}";
}

void AppendNamed(std::string& out, const Node& node, std::set<const Node*>& defined) {
  if (!defined.insert(&node).second) return AppendString(out, node.name);
  out += "{\"name\":";
  AppendString(out, node.name);
  if (node.type == Type::kRecord) return AppendRecord(out, node, defined);
  if (node.type == Type::kEnum) return AppendEnum(out, node);
  out += fmt::format(",\"type\":\"fixed\",\"size\":{}}}", node.size);
}

void AppendNode(std::string& out, const Node& node, std::set<const Node*>& defined) {
  switch (node.type) {
    case Type::kRecord:
    case Type::kEnum:
    case Type::kFixed: return AppendNamed(out, node, defined);
    case Type::kArray:
    case Type::kMap:
      out += node.type == Type::kArray ? "{\"type\":\"array\",\"items\":" : "{\"type\":\"map\",\"values\":";
      AppendNode(out, *node.items, defined);
      out += '}';
      return;
    case Type::kUnion:
      out += '[';
      for (size_t i = 0; i < node.branches.size(); ++i) {
        if (i > 0) out += ',';
        AppendNode(out, *node.branches[i], defined);
      }
      out += ']';
      return;
    default: out += fmt::format("\"{}\"", ToString(node.type));
  }
}

}  // namespace

std::string Schema::CanonicalForm() const {
  std::string out;
  std::set<const Node*> defined;
  AppendNode(out, *root_, defined);
  return out;
}

uint64_t Crc64Avro(std::string_view bytes) {
  uint64_t value = kEmptyFingerprint;
  for (const char c : bytes) value = (value >> 8) ^ kFingerprintTable[(value ^ static_cast<uint8_t>(c)) & 0xff];
  return value;
}

uint64_t Schema::Fingerprint() const { return Crc64Avro(CanonicalForm()); }

std::array<uint8_t, 32> Schema::Sha256() const {
  const std::string text = CanonicalForm();
  std::array<uint8_t, 32> digest{};
  SHA256(reinterpret_cast<const uint8_t*>(text.data()), text.size(), digest.data());
  return digest;
}

}  // namespace k2::avro
