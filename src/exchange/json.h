// A strict JSON reader for frames (RFC 8259): it walks a text of a few hundred bytes once, hands out what it finds as
// views into it, and never makes a number of its own, so no digit is lost. What it has passed is valid JSON.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace k2::exchange::json {

enum class Kind : uint8_t { kMissing, kString, kNumber, kBoolean, kNull, kObject, kArray };

// A value: of a string its contents, of other scalars the token; of containers nothing.
struct Value {
  Kind kind = Kind::kMissing;
  std::string_view text;
};

inline constexpr int kMaxDepth = 64;

// Where in the text the reader is. Cheap to copy: a copy is a bookmark. Every function is a no-op once it has failed.
//
//   if (cursor.EnterObject()) {
//     for (std::string_view key; cursor.NextField(key);) value = cursor.Read();
//   }
//   if (cursor.failed()) ...
class Cursor {
 public:
  // Strings with escapes are unescaped into `scratch`, which outlives the cursor and what it handed out. The text is
  // UTF-8 (checked by the caller).
  Cursor(std::string_view text, std::deque<std::string>& scratch)
      : begin_(text.data()), at_(text.data()), end_(text.data() + text.size()), scratch_(&scratch) {}

  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] size_t position() const { return static_cast<size_t>(at_ - begin_); }

  // What comes next: kMissing at the end of the text, or where no value can start.
  Kind PeekKind();

  // Steps into a container; false, without moving, when the next value is none of this kind.
  bool EnterObject() { return Enter('{'); }
  bool EnterArray() { return Enter('['); }
  // The next key of the object, or the next element of the array: then the value is to be read, passed or entered.
  // False at the end of the container, which is then left, and after a failure.
  bool NextField(std::string_view& key);
  bool NextElement() { return Next(']'); }

  // Reads a scalar. A container is passed, and only its kind told.
  Value Read();
  // Passes a value of any kind.
  void Pass() { Pass(0); }

  // True when the text was read to its end without a failure.
  bool Finished();

 private:
  void SkipSpace() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }
  void Fail() {
    failed_ = true;
    end_ = at_;
  }
  bool Enter(char open);
  bool Next(char close);
  bool ReadString(std::string_view& contents);
  bool Unescape(const char* from, std::string_view& contents);
  bool ReadHex4(uint32_t& code);
  bool ReadEscapedUnicode(std::string& out);
  void PassDigits();
  Value ReadNumber();
  Value ReadWord(std::string_view word, Kind kind);
  void Pass(int depth);

  const char* begin_;
  const char* at_;
  const char* end_;
  std::deque<std::string>* scratch_;
  bool first_ = false;  // just inside a container, before its first field or element
  bool failed_ = false;
};

// True when the text is one whole object or array, in valid UTF-8.
bool IsWholeContainer(std::string_view text);

bool IsValidUtf8(std::string_view text);

// Digits of an integer of 0 to 2^63-1, as the JSON grammar writes it.
bool ParseUnsigned(std::string_view digits, int64_t& value);

// At most 64 bytes of `text` in quotes, with `?` for everything but printable ASCII: safe in a reject's detail.
std::string Quoted(std::string_view text);

}  // namespace k2::exchange::json
