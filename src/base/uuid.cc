#include "base/uuid.h"

#define OPENSSL_SUPPRESS_DEPRECATED  // the one-shot EVP interface costs more than the hash of 60 bytes itself
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <cstring>
#include <random>

namespace k2 {
namespace {

constexpr char kHex[] = "0123456789abcdef";

void FillRandom(uint8_t* out, size_t size) {
  if (RAND_bytes(out, static_cast<int>(size)) == 1) return;
  std::random_device device;
  for (size_t i = 0; i < size; ++i) out[i] = static_cast<uint8_t>(device());
}

constexpr std::array<int8_t, 256> MakeHexValues() {
  std::array<int8_t, 256> values{};
  for (auto& value : values) value = -1;
  for (int i = 0; i < 10; ++i) values['0' + i] = static_cast<int8_t>(i);
  for (int i = 0; i < 6; ++i) values['a' + i] = values['A' + i] = static_cast<int8_t>(10 + i);
  return values;
}
constexpr std::array<int8_t, 256> kHexValues = MakeHexValues();

}  // namespace

void Uuid::Format(char* out) const {
  for (size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *out++ = '-';
    *out++ = kHex[bytes[i] >> 4];
    *out++ = kHex[bytes[i] & 15];
  }
}

std::string Uuid::ToString() const {
  std::string text(kTextSize, '\0');
  Format(text.data());
  return text;
}

bool Uuid::Parse(std::string_view text, Uuid& out) {
  if (text.size() != kTextSize) return false;
  if (text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-') return false;
  static constexpr uint8_t kAt[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};
  int bad = 0;
  for (size_t i = 0; i < 16; ++i) {
    const int high = kHexValues[static_cast<uint8_t>(text[kAt[i]])];
    const int low = kHexValues[static_cast<uint8_t>(text[kAt[i] + 1])];
    bad |= high | low;
    out.bytes[i] = static_cast<uint8_t>((high << 4) | (low & 15));
  }
  return bad >= 0;
}

Uuid RandomUuid() {
  Uuid uuid;
  FillRandom(uuid.bytes.data(), uuid.bytes.size());
  uuid.bytes[6] = static_cast<uint8_t>((uuid.bytes[6] & 0x0f) | 0x40);
  uuid.bytes[8] = static_cast<uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
  return uuid;
}

Uuid NameUuid(const Uuid& name_space, std::string_view name) {
  SHA_CTX context;
  SHA1_Init(&context);
  SHA1_Update(&context, name_space.bytes.data(), name_space.bytes.size());
  SHA1_Update(&context, name.data(), name.size());
  uint8_t digest[SHA_DIGEST_LENGTH];
  SHA1_Final(digest, &context);
  Uuid uuid;
  std::memcpy(uuid.bytes.data(), digest, 16);
  uuid.bytes[6] = static_cast<uint8_t>((uuid.bytes[6] & 0x0f) | 0x50);
  uuid.bytes[8] = static_cast<uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
  return uuid;
}

std::string RandomHex64() {
  uint8_t bytes[8];
  FillRandom(bytes, sizeof bytes);
  std::string text;
  for (const uint8_t byte : bytes) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

int64_t RandomPositiveInt64() {
  uint64_t value = 0;
  FillRandom(reinterpret_cast<uint8_t*>(&value), sizeof value);
  return static_cast<int64_t>(value >> 1) | 1;
}

}  // namespace k2
