#include "task/known_schemas.h"

#include <algorithm>

#include "base/time.h"

namespace k2::task {

void KnownSchemas::AskFor(const std::vector<trade::SchemaRef>& refs, const trade::MessageDecoder& decoder,
                          bool limited) {
  std::vector<trade::SchemaRef> fresh;
  std::set<trade::SchemaRef> seen;
  for (const trade::SchemaRef& ref : refs) {
    const bool known = decoder.HasSchema(ref) || unknown_.contains(ref) || waiting_.contains(ref);
    if (!known && seen.insert(ref).second) fresh.push_back(ref);
  }
  if (fresh.empty()) return;
  const size_t count =
      limited ? std::min(fresh.size(), kSchemasAskedForMax - std::min(asked_, kSchemasAskedForMax)) : fresh.size();
  const int64_t time_us = limited ? std::max<int64_t>(0, kSchemasAskedForUsMax - asked_us_) : INT64_MAX / 2;
  const int64_t begin_us = MonotonicMicros();
  const size_t asked = source_->AskFor(std::span(fresh).first(count), time_us);
  asked_us_ += MonotonicMicros() - begin_us;
  asked_ += asked;
  if (!limited) return;
  for (size_t i = asked; i < fresh.size(); ++i) {
    waiting_.emplace(
        fresh[i], Error{ErrorKind::kUnavailable, fmt::format("the schema with {} will be requested in the next step: "
                                                             "this step has requested {} unknown schemas in {} ms",
                                                             ToString(fresh[i]), asked_, asked_us_ / 1000)});
  }
}

Status KnownSchemas::Learn(const trade::SchemaRef& ref, trade::MessageDecoder& decoder) {
  if (decoder.HasSchema(ref) || unknown_.contains(ref)) return {};
  if (const auto waiting = waiting_.find(ref); waiting != waiting_.end()) return std::unexpected(waiting->second);
  const Result<std::string> schema = source_->SchemaJson(ref);
  if (schema) {
    // A schema that does not resolve is known by its name: its messages are rejected with that reason.
    (void)decoder.AddSchema(ref, *schema);
    return {};
  }
  switch (schema.error().kind) {
    case ErrorKind::kNotFound: unknown_.insert(ref); return {};
    // It is there and can never be read: JSON Schema, references that form a cycle.
    case ErrorKind::kUnsupported:
    case ErrorKind::kInvalidData: (void)decoder.AddSchema(ref, schema.error().message); return {};
    default: waiting_.emplace(ref, schema.error()); return std::unexpected(schema.error());
  }
}

}  // namespace k2::task
