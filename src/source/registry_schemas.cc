// The questions to a registry for schemas: by id, with the schemas that they refer to, many at a time.
#include <algorithm>
#include <atomic>
#include <set>
#include <system_error>
#include <thread>

#include "avro/references.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/time.h"
#include "source/registry_client.h"

namespace k2 {
namespace {

constexpr int64_t kReferredSubjectNotFound = 40401;
constexpr int64_t kReferredVersionNotFound = 40402;
constexpr int64_t kSchemaNotFound = 40403;

// Of the references of one schema. A registry takes any number; no schema of messages comes near these.
constexpr int kReferenceDepthMax = 32;
constexpr size_t kReferencesMax = 256;
constexpr size_t kReferenceBytesMax = size_t{4} << 20;
constexpr size_t kReferredRemembered = 1'000;

constexpr size_t kRequestsAtOnce = 16;  // as many idle connections an HttpClient keeps

}  // namespace

// The references of one schema, as far as they were fetched.
struct RegistryClient::Resolving {
  std::string what;
  std::vector<std::string> texts;  // each after those it refers to
  std::set<std::pair<std::string, int32_t>> done;
  std::set<std::pair<std::string, int32_t>> open;  // on the way from the schema to the reference that is looked at
  size_t bytes = 0;
};

// An answer that is a schema. Error kNotFound: one that says by its code that it is missing.
Result<SchemaAnswer> RegistryClient::FetchAnswer(const std::string& path, int64_t missing_code,
                                                 const std::string& what) {
  K2_ASSIGN(const Answer answer, Ask("GET", path));
  const bool missing = answer.error_code == missing_code ||
                       (missing_code == kReferredSubjectNotFound && answer.error_code == kReferredVersionNotFound);
  if (answer.status == 404 && missing) {
    return Fail(ErrorKind::kNotFound, "schema registry {}: there is no {}", Address(), what);
  }
  if (answer.status != 200) return Refused(answer, what);
  Result<SchemaAnswer> parsed = ParseSchemaAnswer(answer.body);
  if (!parsed) {
    return Fail(ErrorKind::kUnavailable, "schema registry {}: {}: {}", Address(), what, parsed.error().message);
  }
  if (parsed->type != "AVRO") {
    return Fail(ErrorKind::kUnsupported, "schema registry {}: {} is of type {}, only Avro is read", Address(), what,
                parsed->type);
  }
  return parsed;
}

Result<std::string> RegistryClient::Fetch(int32_t id) {
  if (id < 0) return Fail(ErrorKind::kNotFound, "schema registry {}: {} is no id", Address(), id);
  Resolving resolving{.what = fmt::format("schema with id {}", id)};
  K2_ASSIGN(SchemaAnswer answer, FetchAnswer(fmt::format("/schemas/ids/{}", id), kSchemaNotFound, resolving.what));
  if (answer.references.empty()) return std::move(answer.schema);
  K2_TRY(Resolve(answer.references, 1, resolving));
  Result<std::string> whole = avro::InlineReferences(answer.schema, resolving.texts);
  if (whole) return whole;
  return Fail(ErrorKind::kUnsupported, "schema registry {}: {}: {}", Address(), resolving.what, whole.error().message);
}

Status RegistryClient::Resolve(const std::vector<SchemaReference>& references, int depth, Resolving& resolving) {
  const auto unsupported = [&](std::string_view why) {
    return Fail(ErrorKind::kUnsupported, "schema registry {}: {}: {}", Address(), resolving.what, why);
  };
  if (depth > kReferenceDepthMax) {
    return unsupported(fmt::format("its references nest more than {} levels", kReferenceDepthMax));
  }
  for (const SchemaReference& reference : references) {
    const std::pair key(reference.subject, reference.version);
    const std::string shown = fmt::format("version {} of subject {}", reference.version, reference.subject);
    if (resolving.open.contains(key)) return unsupported(fmt::format("{} refers to itself", shown));
    if (resolving.done.contains(key)) continue;
    if (resolving.done.size() >= kReferencesMax) {
      return unsupported(fmt::format("it has more than {} references", kReferencesMax));
    }
    Result<SchemaAnswer> answer = FetchReference(reference);
    if (!answer && (answer.error().kind == ErrorKind::kNotFound || answer.error().kind == ErrorKind::kUnsupported)) {
      return unsupported(fmt::format("it refers to {}, which cannot be had: {}", shown, answer.error().message));
    }
    if (!answer) return std::unexpected(answer.error());
    resolving.bytes += answer->schema.size();
    if (resolving.bytes > kReferenceBytesMax) {
      return unsupported(fmt::format("its references have more than {} bytes", kReferenceBytesMax));
    }
    resolving.open.insert(key);
    K2_TRY(Resolve(answer->references, depth + 1, resolving));
    resolving.open.erase(key);
    resolving.done.insert(key);
    resolving.texts.push_back(std::move(answer->schema));
  }
  return {};
}

// A version that was deleted since is still what the schema was written against.
Result<SchemaAnswer> RegistryClient::FetchReference(const SchemaReference& reference) {
  const std::pair key(reference.subject, reference.version);
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = referred_.find(key); found != referred_.end()) return found->second;
  }
  const std::string path =
      fmt::format("/subjects/{}/versions/{}?deleted=true", UrlEncode(reference.subject), reference.version);
  K2_ASSIGN(SchemaAnswer answer,
            FetchAnswer(path, kReferredSubjectNotFound,
                        fmt::format("version {} of subject {}", reference.version, reference.subject)));
  const std::lock_guard lock(mutex_);
  if (referred_.size() >= kReferredRemembered) referred_.clear();
  return referred_.insert_or_assign(key, std::move(answer)).first->second;
}

size_t RegistryClient::AskFor(std::span<const int32_t> ids, int64_t time_us_max) {
  const int64_t end_us = MonotonicMicros() + time_us_max;
  std::atomic<size_t> next{0};
  std::atomic<bool> away{false};
  const auto work = [&] {
    while (!away && MonotonicMicros() < end_us) {
      const size_t i = next++;
      if (i >= ids.size()) return;
      const Result<std::string> schema = SchemaJson(ids[i]);
      const bool known =
          schema || schema.error().kind == ErrorKind::kNotFound || schema.error().kind == ErrorKind::kUnsupported;
      if (!known) away = true;
    }
  };
  {
    std::vector<std::jthread> others;
    try {
      for (size_t i = 1; i < std::min(ids.size(), kRequestsAtOnce); ++i) {
        others.emplace_back([&work] { GuardedOrLogged("asking the schema registry", work); });
      }
    } catch (const std::system_error& error) {  // no more threads to be had: fewer do it
      log::Warn("the schema registry is asked by fewer threads",
                {{"threads", others.size() + 1}, {"error", error.what()}});
    }
    GuardedOrLogged("asking the schema registry", work);
  }
  return std::min(next.load(), ids.size());
}

}  // namespace k2
