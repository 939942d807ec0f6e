#include "task/known_schemas.h"

#include <algorithm>

#include "base/time.h"

namespace k2 {

void KnownSchemas::AskFor(const std::vector<int32_t>& ids, const MessageDecoder& decoder, bool limited) {
  std::vector<int32_t> fresh;
  std::set<int32_t> seen;
  for (const int32_t id : ids) {
    const bool known = decoder.HasSchema(id) || unknown_ids_.contains(id) || waiting_.contains(id);
    if (!known && seen.insert(id).second) fresh.push_back(id);
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
        fresh[i], Error{ErrorKind::kUnavailable,
                        fmt::format("schema id {} is asked for in the next step: this one has met {} unknown ids and "
                                    "asked for them for {} ms",
                                    fresh[i], asked_, asked_us_ / 1000)});
  }
}

Status KnownSchemas::Learn(std::string_view payload, MessageDecoder& decoder) {
  const std::optional<int32_t> id = MessageDecoder::SchemaIdOf(payload);
  if (!id || decoder.HasSchema(*id)) return {};
  if (unknown_ids_.contains(*id)) return {};
  if (const auto waiting = waiting_.find(*id); waiting != waiting_.end()) return std::unexpected(waiting->second);
  const Result<std::string> schema = source_->SchemaJson(*id);
  if (schema) {
    // A schema that does not resolve is known by its id: its messages are rejected with that reason.
    (void)decoder.AddSchema(*id, *schema);
    return {};
  }
  switch (schema.error().kind) {
    case ErrorKind::kNotFound: unknown_ids_.insert(*id); return {};
    // It is there and can never be read: JSON Schema, references that form a cycle.
    case ErrorKind::kUnsupported:
    case ErrorKind::kInvalidData: (void)decoder.AddSchema(*id, schema.error().message); return {};
    default: waiting_.emplace(*id, schema.error()); return std::unexpected(schema.error());
  }
}

}  // namespace k2
