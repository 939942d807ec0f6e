// Any bytes as a registry's answers: read or refused, and what is read makes one schema with the texts it refers to.
#include <cstdlib>

#include "avro/references.h"
#include "avro/schema.h"
#include "registry/registry_answer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  (void)k2::registry::ParseErrorAnswer(rest);
  if (const auto references = k2::registry::ParseArtifactReferences(rest)) {
    for (const k2::registry::SchemaReference& one : *references) {
      if (one.subject.empty() || one.version.empty() || one.group.empty()) std::abort();
    }
    if (!k2::registry::IsListAnswer(rest)) std::abort();
  }
  // Zero bytes part the answers: the schema's, then those to its references.
  std::vector<k2::registry::SchemaAnswer> answers;
  std::vector<std::string> references;
  while (answers.size() < 8) {
    const size_t cut = rest.find('\0');
    auto answer = k2::registry::ParseSchemaAnswer(rest.substr(0, cut));
    if (!answer && answer.error().message.empty()) std::abort();
    if (answer) {
      for (const k2::registry::SchemaReference& one : answer->references) {
        if (one.subject.empty() || one.version.empty() || !one.group.empty()) std::abort();
      }
      if (!answers.empty()) references.push_back(answer->schema);
      answers.push_back(*std::move(answer));
    }
    if (cut == std::string_view::npos) break;
    rest.remove_prefix(cut + 1);
  }
  if (answers.empty()) return 0;
  const auto text = k2::avro::InlineReferences(answers[0].schema, references);
  if (!text) return 0;
  const auto schema = k2::avro::Schema::Parse(*text);
  // Without references it means what it meant before.
  if (!references.empty()) return 0;
  const auto plain = k2::avro::Schema::Parse(answers[0].schema);
  if (plain && schema && plain->CanonicalForm() != schema->CanonicalForm()) std::abort();
  if (plain && !schema && text->size() <= answers[0].schema.size()) std::abort();
  return 0;
}
