// Any bytes as a schema: parsed, or refused, without a crash; what is parsed survives its canonical form and a plan.
#include <cstdlib>

#include "avro/decode_plan.h"
#include "avro/generic.h"
#include "avro/schema.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace k2::avro;  // NOLINT(google-build-using-namespace)
  // A zero byte parts a writer's schema from a reader's.
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t cut = text.find('\0');
  const auto writer = Schema::Parse(text.substr(0, cut));
  if (!writer) return 0;
  const std::string canonical = writer->CanonicalForm();
  const auto again = Schema::Parse(canonical);
  if (again && again->CanonicalForm() != canonical) std::abort();
  (void)DecodePlan::Compile(*writer, *writer);
  if (cut == std::string_view::npos) return 0;
  const auto reader = Schema::Parse(text.substr(cut + 1));
  if (reader) (void)DecodePlan::Compile(*writer, *reader);
  return 0;
}
