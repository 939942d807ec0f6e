// Any bytes as a container file: read to its end, or refused, without a crash or a giant allocation.
#include "avro/container.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace k2::avro;  // NOLINT(google-build-using-namespace)
  auto reader = ContainerReader::Open(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!reader) return 0;
  Value value;
  while (true) {
    const auto more = reader->Next(value);
    if (!more || !*more) return 0;
    std::string bytes;
    (void)Encode(reader->schema().root(), value, bytes);
  }
}
