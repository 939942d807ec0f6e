#include "exchange/json.h"

#include <simdjson.h>

#include <array>

namespace k2::exchange::json {
namespace {

constexpr bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Bytes that end a plain run inside a string: the quote, the backslash, and controls, which JSON forbids there.
constexpr std::array<bool, 256> MakeStringStops() {
  std::array<bool, 256> stops{};
  for (size_t i = 0; i < 0x20; ++i) stops[i] = true;
  stops['"'] = stops['\\'] = true;
  return stops;
}
constexpr std::array<bool, 256> kStringStops = MakeStringStops();

void AppendUtf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

constexpr char SimpleEscape(char c) {
  switch (c) {
    case '"':
    case '\\':
    case '/': return c;
    case 'b': return '\b';
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    default: return '\0';
  }
}

}  // namespace

Kind Cursor::PeekKind() {
  SkipSpace();
  if (at_ == end_) return Kind::kMissing;
  switch (*at_) {
    case '"': return Kind::kString;
    case '{': return Kind::kObject;
    case '[': return Kind::kArray;
    case 't':
    case 'f': return Kind::kBoolean;
    case 'n': return Kind::kNull;
    default: return *at_ == '-' || IsDigit(*at_) ? Kind::kNumber : Kind::kMissing;
  }
}

bool Cursor::Enter(char open) {
  SkipSpace();
  if (at_ == end_ || *at_ != open) return false;
  ++at_;
  first_ = true;
  return true;
}

bool Cursor::Next(char close) {
  SkipSpace();
  if (at_ == end_) {
    Fail();
    return false;
  }
  const bool first = first_;
  first_ = false;
  if (*at_ == close) {
    ++at_;
    return false;
  }
  if (first) return true;
  if (*at_ != ',') {
    Fail();
    return false;
  }
  ++at_;
  return true;
}

bool Cursor::NextField(std::string_view& key) {
  if (!Next('}')) return false;
  SkipSpace();
  if (at_ == end_ || *at_ != '"' || !ReadString(key)) {
    Fail();
    return false;
  }
  SkipSpace();
  if (at_ == end_ || *at_ != ':') {
    Fail();
    return false;
  }
  ++at_;
  return true;
}

// At a quote: reads to behind the closing one.
bool Cursor::ReadString(std::string_view& contents) {
  const char* const from = ++at_;
  while (at_ != end_ && !kStringStops[static_cast<uint8_t>(*at_)]) ++at_;
  if (at_ != end_ && *at_ == '"') {
    contents = {from, static_cast<size_t>(at_ - from)};
    ++at_;
    return true;
  }
  return at_ != end_ && *at_ == '\\' && Unescape(from, contents);
}

// At the first backslash of a string that began at `from`.
bool Cursor::Unescape(const char* from, std::string_view& contents) {
  std::string& out = scratch_->emplace_back(from, at_);
  while (at_ != end_) {
    const char c = *at_++;
    if (c == '"') {
      contents = out;
      return true;
    }
    if (static_cast<uint8_t>(c) < 0x20) return false;
    if (c != '\\') {
      out += c;
      continue;
    }
    if (at_ == end_) return false;
    const char escape = *at_++;
    if (escape == 'u') {
      if (!ReadEscapedUnicode(out)) return false;
    } else {
      const char plain = SimpleEscape(escape);
      if (plain == '\0') return false;
      out += plain;
    }
  }
  return false;
}

bool Cursor::ReadHex4(uint32_t& code) {
  if (end_ - at_ < 4) return false;
  code = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = *at_++;
    const char lower = static_cast<char>(c | 0x20);
    if (IsDigit(c)) {
      code = code << 4 | static_cast<uint32_t>(c - '0');
    } else if (lower >= 'a' && lower <= 'f') {
      code = code << 4 | static_cast<uint32_t>(lower - 'a' + 10);
    } else {
      return false;
    }
  }
  return true;
}

// Behind `\u`. Half of a surrogate pair alone is no character (RFC 8259 section 8.2), and refused.
bool Cursor::ReadEscapedUnicode(std::string& out) {
  uint32_t code = 0;
  if (!ReadHex4(code) || (code >= 0xDC00 && code < 0xE000)) return false;
  if (code >= 0xD800 && code < 0xDC00) {
    uint32_t low = 0;
    if (end_ - at_ < 2 || at_[0] != '\\' || at_[1] != 'u') return false;
    at_ += 2;
    if (!ReadHex4(low) || low < 0xDC00 || low >= 0xE000) return false;
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  AppendUtf8(out, code);
  return true;
}

void Cursor::PassDigits() {
  if (at_ == end_ || !IsDigit(*at_)) return Fail();
  while (at_ != end_ && IsDigit(*at_)) ++at_;
}

Value Cursor::ReadNumber() {
  const char* const from = at_;
  if (*at_ == '-') ++at_;
  const bool leading_zero = at_ != end_ && *at_ == '0';
  const char* const digits = at_;
  PassDigits();
  if (leading_zero && at_ - digits > 1) Fail();
  if (at_ != end_ && *at_ == '.') {
    ++at_;
    PassDigits();
  }
  if (at_ != end_ && (*at_ == 'e' || *at_ == 'E')) {
    ++at_;
    if (at_ != end_ && (*at_ == '+' || *at_ == '-')) ++at_;
    PassDigits();
  }
  return {.kind = Kind::kNumber, .text = {from, static_cast<size_t>(at_ - from)}};
}

Value Cursor::ReadWord(std::string_view word, Kind kind) {
  if (!std::string_view(at_, static_cast<size_t>(end_ - at_)).starts_with(word)) {
    Fail();
    return {};
  }
  const Value value{.kind = kind, .text = {at_, word.size()}};
  at_ += word.size();
  return value;
}

Value Cursor::Read() {
  Value value{.kind = PeekKind(), .text = {}};
  switch (value.kind) {
    case Kind::kString:
      if (!ReadString(value.text)) Fail();
      return value;
    case Kind::kNumber: return ReadNumber();
    case Kind::kBoolean: return *at_ == 't' ? ReadWord("true", Kind::kBoolean) : ReadWord("false", Kind::kBoolean);
    case Kind::kNull: return ReadWord("null", Kind::kNull);
    case Kind::kObject:
    case Kind::kArray: Pass(0); return value;
    case Kind::kMissing: Fail(); return {};
  }
  return {};
}

void Cursor::Pass(int depth) {
  if (depth >= kMaxDepth) return Fail();
  if (EnterObject()) {
    for (std::string_view key; NextField(key);) Pass(depth + 1);
  } else if (EnterArray()) {
    while (NextElement()) Pass(depth + 1);
  } else {
    Read();
  }
}

bool Cursor::Finished() {
  SkipSpace();
  return !failed_ && at_ == end_;
}

bool IsWholeContainer(std::string_view text) {
  std::deque<std::string> scratch;
  Cursor cursor(text, scratch);
  const Kind kind = cursor.PeekKind();
  if (kind != Kind::kObject && kind != Kind::kArray) return false;
  cursor.Pass();
  return cursor.Finished() && IsValidUtf8(text);
}

bool IsValidUtf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

bool ParseUnsigned(std::string_view digits, int64_t& value) {
  if (digits.empty() || digits.size() > 19 || (digits.size() > 1 && digits[0] == '0')) return false;
  uint64_t sum = 0;
  for (const char c : digits) {
    if (!IsDigit(c)) return false;
    sum = sum * 10 + static_cast<uint64_t>(c - '0');
  }
  if (sum > static_cast<uint64_t>(INT64_MAX)) return false;
  value = static_cast<int64_t>(sum);
  return true;
}

std::string Quoted(std::string_view text) {
  constexpr size_t kMaxShown = 64;
  std::string out = "'";
  for (const char c : text.substr(0, kMaxShown)) out += c >= ' ' && c <= '~' ? c : '?';
  out += text.size() > kMaxShown ? "...'" : "'";
  return out;
}

}  // namespace k2::exchange::json
