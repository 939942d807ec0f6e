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

namespace {

// SHA-1 (FIPS 180-4) of a namespace and a name that fit into one or two blocks together: the padding is laid out by
// hand, which takes half the time of the general interface.
constexpr size_t kShaBlock = 64;
constexpr size_t kShaTail = 9;  // the 0x80 byte and the length in bits

void ShortSha1(const Uuid& name_space, std::string_view name, uint8_t* digest) {
  uint8_t blocks[2 * kShaBlock];
  const size_t size = name_space.bytes.size() + name.size();
  const size_t padded = size + kShaTail <= kShaBlock ? kShaBlock : 2 * kShaBlock;
  std::memcpy(blocks, name_space.bytes.data(), name_space.bytes.size());
  std::memcpy(blocks + name_space.bytes.size(), name.data(), name.size());
  blocks[size] = 0x80;
  std::memset(blocks + size + 1, 0, padded - size - 3);
  blocks[padded - 2] = static_cast<uint8_t>(size * 8 >> 8);
  blocks[padded - 1] = static_cast<uint8_t>(size * 8);
  SHA_CTX context;
  SHA1_Init(&context);
  for (size_t at = 0; at < padded; at += kShaBlock) SHA1_Transform(&context, blocks + at);
  const uint32_t words[] = {context.h0, context.h1, context.h2, context.h3};
  for (size_t i = 0; i < 4; ++i) {
    for (size_t j = 0; j < 4; ++j) digest[4 * i + j] = static_cast<uint8_t>(words[i] >> (24 - 8 * j));
  }
}

void LongSha1(const Uuid& name_space, std::string_view name, uint8_t* digest) {
  SHA_CTX context;
  SHA1_Init(&context);
  SHA1_Update(&context, name_space.bytes.data(), name_space.bytes.size());
  SHA1_Update(&context, name.data(), name.size());
  SHA1_Final(digest, &context);
}

}  // namespace

Uuid NameUuid(const Uuid& name_space, std::string_view name) {
  uint8_t digest[SHA_DIGEST_LENGTH];
  const bool is_short = name_space.bytes.size() + name.size() + kShaTail <= 2 * kShaBlock;
  is_short ? ShortSha1(name_space, name, digest) : LongSha1(name_space, name, digest);
  Uuid uuid;
  std::memcpy(uuid.bytes.data(), digest, uuid.bytes.size());
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
