#include "registry/registry_answer.h"

#include <nlohmann/json.hpp>

namespace k2::registry {
namespace {

using AnswerJson = nlohmann::json;

bool TextOf(const AnswerJson& object, const char* key, std::string& text) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string()) return false;
  text = found->get<std::string>();
  return true;
}

}  // namespace

Result<SchemaAnswer> ParseSchemaAnswer(std::string_view body) {
  const AnswerJson said = AnswerJson::parse(body, nullptr, false);
  SchemaAnswer answer{.schema = {}, .type = "AVRO", .references = {}};
  if (!said.is_object() || !TextOf(said, "schema", answer.schema)) {
    return Fail(ErrorKind::kInvalidData, "the reply is not a schema registry's");
  }
  (void)TextOf(said, "schemaType", answer.type);  // left out where it is Avro
  const auto references = said.find("references");
  if (references == said.end() || references->is_null()) return answer;
  if (!references->is_array()) return Fail(ErrorKind::kInvalidData, "the reply's references are not a list");
  for (const AnswerJson& one : *references) {
    SchemaReference reference;
    const bool named = one.is_object() && TextOf(one, "subject", reference.subject) && !reference.subject.empty();
    const auto version = named ? one.find("version") : one.end();
    if (!named || version == one.end() || !version->is_number_integer() || *version < 1 || *version > INT32_MAX) {
      return Fail(ErrorKind::kInvalidData, "a reference in the reply has no subject and version");
    }
    (void)TextOf(one, "name", reference.name);
    reference.version = fmt::format("{}", version->get<int32_t>());
    answer.references.push_back(std::move(reference));
  }
  return answer;
}

Result<std::vector<SchemaReference>> ParseArtifactReferences(std::string_view body) {
  const AnswerJson said = AnswerJson::parse(body, nullptr, false);
  if (!said.is_array()) return Fail(ErrorKind::kInvalidData, "the reply's references are not a list");
  std::vector<SchemaReference> references;
  for (const AnswerJson& one : said) {
    SchemaReference reference;
    const bool named = one.is_object() && TextOf(one, "artifactId", reference.subject) && !reference.subject.empty() &&
                       TextOf(one, "version", reference.version) && !reference.version.empty();
    if (!named) return Fail(ErrorKind::kInvalidData, "a reference in the reply has no artifact and version");
    (void)TextOf(one, "name", reference.name);
    if (!TextOf(one, "groupId", reference.group) || reference.group.empty()) reference.group = "default";
    references.push_back(std::move(reference));
  }
  return references;
}

bool IsListAnswer(std::string_view body) { return AnswerJson::parse(body, nullptr, false).is_array(); }

ErrorAnswer ParseErrorAnswer(std::string_view body) {
  ErrorAnswer answer;
  const AnswerJson said = AnswerJson::parse(body, nullptr, false);
  if (!said.is_object()) return answer;
  const auto code = said.find("error_code");
  if (code != said.end() && code->is_number_integer()) answer.code = code->get<int64_t>();
  (void)TextOf(said, "message", answer.message);
  (void)TextOf(said, "name", answer.name);
  return answer;
}

}  // namespace k2::registry
