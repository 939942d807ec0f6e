// The questions to a registry for schemas: as messages name them, with the schemas that they refer to, many at a time.
#include <algorithm>
#include <atomic>
#include <set>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>

#include "avro/references.h"
#include "base/guard.h"
#include "base/log.h"
#include "base/time.h"
#include "registry/registry_client.h"

namespace k2::registry {
namespace {

constexpr int64_t kReferredSubjectNotFound = 40401;
constexpr int64_t kReferredVersionNotFound = 40402;
constexpr int64_t kSchemaNotFound = 40403;

// Of the references of one schema. A registry takes any number; no schema of messages comes near these.
constexpr int kReferenceDepthMax = 32;
constexpr size_t kReferencesMax = 256;
constexpr size_t kReferenceBytesMax = size_t{4} << 20;
constexpr size_t kReferredRemembered = 1'000;

// Of Apicurio, before which its API of Confluent's kind stands, and behind which its own.
constexpr std::string_view kApicurioMark = "/apis/ccompat/";

constexpr size_t kRequestsAtOnce = 16;  // as many idle connections an HttpClient keeps

}  // namespace

// The references of one schema, as far as they were fetched.
struct RegistryClient::Resolving {
  std::string what;
  std::vector<std::string> texts;  // each after those it refers to
  std::set<std::tuple<std::string, std::string, std::string>> done;
  std::set<std::tuple<std::string, std::string, std::string>>
      open;  // on the way from the schema to the reference that is looked at
  size_t bytes = 0;
};

// An answer that is a schema. Error kNotFound: one that says by its code that it is missing.
Result<SchemaAnswer> RegistryClient::FetchAnswer(const std::string& path, int64_t missing_code,
                                                 const std::string& what) {
  K2_ASSIGN(const Answer answer, Ask("GET", options_.url + path));
  return ReadAnswer(answer, missing_code, what);
}

Result<SchemaAnswer> RegistryClient::ReadAnswer(const Answer& answer, int64_t missing_code,
                                                const std::string& what) const {
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
    return Fail(ErrorKind::kUnsupported, "schema registry {}: {} is of type {}; K2 reads only Avro", Address(), what,
                parsed->type);
  }
  return parsed;
}

Result<std::string> RegistryClient::Fetch(const trade::SchemaRef& ref) {
  if (ref.id < 0) {
    return Fail(ErrorKind::kNotFound, "schema registry {}: there is no schema with {}", Address(), ToString(ref));
  }
  Resolving resolving{.what = "schema with " + ToString(ref)};
  K2_ASSIGN(SchemaAnswer answer, FetchFirst(ref, resolving.what));
  if (answer.references.empty()) return std::move(answer.schema);
  K2_TRY(Resolve(answer.references, 1, resolving));
  Result<std::string> whole = avro::InlineReferences(answer.schema, resolving.texts);
  if (whole) return whole;
  return Fail(ErrorKind::kUnsupported, "schema registry {}: {}: {}", Address(), resolving.what, whole.error().message);
}

Result<SchemaAnswer> RegistryClient::FetchFirst(const trade::SchemaRef& ref, const std::string& what) {
  if (ref.kind == trade::SchemaRef::Kind::kId) {
    return FetchAnswer(fmt::format("/schemas/ids/{}", ref.id), kSchemaNotFound, what);
  }
  {
    const std::lock_guard lock(mutex_);
    if (MonotonicMicros() < unanswered_until_us_[static_cast<size_t>(ref.kind)]) {
      return Fail(ErrorKind::kNotFound, "schema registry {}: there is no {}", Address(), what);
    }
  }
  return ref.kind == trade::SchemaRef::Kind::kGuid ? FetchByGuid(ref, what) : FetchArtifact(ref, what);
}

Result<SchemaAnswer> RegistryClient::FetchByGuid(const trade::SchemaRef& ref, const std::string& what) {
  const std::string path = "/schemas/guids/" + trade::GuidText(ref);
  K2_ASSIGN(const Answer answer, Ask("GET", options_.url + path));
  if (answer.status == 404 && answer.error_code != kSchemaNotFound) {
    return std::unexpected(Unanswered(ref.kind, what));
  }
  return ReadAnswer(answer, kSchemaNotFound, what);
}

// A 404 that is not about the schema may be a proxy's while the registry is away. Only one that answers another
// question is known not to answer this one; then its kind is not asked for again for a while.
Error RegistryClient::Unanswered(trade::SchemaRef::Kind kind, const std::string& what) {
  const Result<Answer> types = Ask("GET", options_.url + "/schemas/types");
  if (!types) return types.error();
  if (types->status != 200 || !IsListAnswer(types->body)) return Refused(*types, what).error();
  const int64_t until_us = MonotonicMicros() + options_.missing_us;
  const std::lock_guard lock(mutex_);
  if (std::exchange(unanswered_until_us_[static_cast<size_t>(kind)], until_us) == 0) {
    log::Warn("the schema registry does not support the kind of schema reference in a message; rejecting such messages",
              {{"registry", Address()}, {"first", what}});
  }
  return {ErrorKind::kNotFound, fmt::format("schema registry {}: there is no {}", Address(), what)};
}

// Apicurio's own ids, which its API of Confluent's kind does not know: by its own, of version 3 or 2.
Result<SchemaAnswer> RegistryClient::FetchArtifact(const trade::SchemaRef& ref, const std::string& what) {
  const size_t mark = options_.url.find(kApicurioMark);
  if (mark == std::string::npos) return std::unexpected(Unanswered(ref.kind, what));
  std::string known;
  {
    const std::lock_guard lock(mutex_);
    known = apicurio_version_;
  }
  const char* const ids = ref.kind == trade::SchemaRef::Kind::kGlobalId ? "globalIds" : "contentIds";
  for (const char* version : {"v3", "v2"}) {
    if (!known.empty() && known != version) continue;
    const std::string url =
        fmt::format("{}/apis/registry/{}/ids/{}/{}", options_.url.substr(0, mark), version, ids, ref.id);
    auto answer = FetchText(url, url + "/references", what);
    const bool asked_for = answer ? answer->has_value() : answer.error().kind == ErrorKind::kNotFound;
    if (asked_for && known.empty()) {
      const std::lock_guard lock(mutex_);
      apicurio_version_ = version;
    }
    if (!answer) return std::unexpected(answer.error());
    if (asked_for) return **std::move(answer);
  }
  return std::unexpected(Unanswered(ref.kind, what));
}

// A schema's text and references by Apicurio's own API; nothing: there is no such API. Error kNotFound: it says that
// there is no such schema.
Result<std::optional<SchemaAnswer>> RegistryClient::FetchText(const std::string& text_url,
                                                              const std::string& references_url,
                                                              const std::string& what) {
  K2_ASSIGN(Answer text, Ask("GET", text_url));
  if (text.status == 404) {
    // ArtifactNotFoundException, ContentNotFoundException, VersionNotFoundException; of a path it is the last word
    // alone.
    constexpr std::string_view kNotFoundName = "NotFoundException";
    if (text.error_name.ends_with(kNotFoundName) && text.error_name != kNotFoundName) {
      return Fail(ErrorKind::kNotFound, "schema registry {}: there is no {}", Address(), what);
    }
    return std::nullopt;
  }
  if (text.status != 200) return Refused(text, what);
  K2_ASSIGN(const Answer listed, Ask("GET", references_url));
  if (listed.status != 200) return Refused(listed, "references of " + what);
  auto references = ParseArtifactReferences(listed.body);
  if (!references) {
    return Fail(ErrorKind::kUnavailable, "schema registry {}: {}: {}", Address(), what, references.error().message);
  }
  return SchemaAnswer{.schema = std::move(text.body), .type = "AVRO", .references = *std::move(references)};
}

Status RegistryClient::Resolve(const std::vector<SchemaReference>& references, int depth, Resolving& resolving) {
  const auto unsupported = [&](std::string_view why) {
    return Fail(ErrorKind::kUnsupported, "schema registry {}: {}: {}", Address(), resolving.what, why);
  };
  if (depth > kReferenceDepthMax) {
    return unsupported(fmt::format("its references nest more than {} levels", kReferenceDepthMax));
  }
  for (const SchemaReference& reference : references) {
    const std::tuple key(reference.group, reference.subject, reference.version);
    const std::string shown = reference.group.empty()
                                  ? fmt::format("version {} of subject {}", reference.version, reference.subject)
                                  : fmt::format("version {} of artifact {} of group {}", reference.version,
                                                reference.subject, reference.group);
    if (resolving.open.contains(key)) return unsupported(fmt::format("{} refers to itself", shown));
    if (resolving.done.contains(key)) continue;
    if (resolving.done.size() >= kReferencesMax) {
      return unsupported(fmt::format("it has more than {} references", kReferencesMax));
    }
    Result<SchemaAnswer> answer = FetchReference(reference, shown);
    if (!answer && (answer.error().kind == ErrorKind::kNotFound || answer.error().kind == ErrorKind::kUnsupported)) {
      return unsupported(fmt::format("it refers to {}, which is not available: {}", shown, answer.error().message));
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
Result<SchemaAnswer> RegistryClient::FetchReference(const SchemaReference& reference, const std::string& shown) {
  const std::tuple key(reference.group, reference.subject, reference.version);
  std::string own_version;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = referred_.find(key); found != referred_.end()) return found->second;
    own_version = apicurio_version_;
  }
  SchemaAnswer answer;
  if (reference.group.empty()) {
    const std::string path =
        fmt::format("/subjects/{}/versions/{}?deleted=true", net::UrlEncode(reference.subject), reference.version);
    K2_ASSIGN(answer, FetchAnswer(path, kReferredSubjectNotFound, shown));
  } else {
    const std::string url = fmt::format("{}/apis/registry/{}/groups/{}/artifacts/{}/versions/{}",
                                        options_.url.substr(0, options_.url.find(kApicurioMark)), own_version,
                                        net::UrlEncode(reference.group), net::UrlEncode(reference.subject),
                                        net::UrlEncode(reference.version));
    K2_ASSIGN(auto found, FetchText(own_version == "v3" ? url + "/content" : url, url + "/references", shown));
    if (!found) return Fail(ErrorKind::kNotFound, "schema registry {}: there is no {}", Address(), shown);
    answer = *std::move(found);
  }
  const std::lock_guard lock(mutex_);
  if (referred_.size() >= kReferredRemembered) referred_.clear();
  return referred_.insert_or_assign(key, std::move(answer)).first->second;
}

size_t RegistryClient::AskFor(std::span<const trade::SchemaRef> refs, int64_t time_us_max) {
  const int64_t end_us = MonotonicMicros() + time_us_max;
  std::atomic<size_t> next{0};
  std::atomic<bool> away{false};
  const auto work = [&] {
    while (!away && MonotonicMicros() < end_us) {
      const size_t i = next++;
      if (i >= refs.size()) return;
      const Result<std::string> schema = SchemaJson(refs[i]);
      const bool known =
          schema || schema.error().kind == ErrorKind::kNotFound || schema.error().kind == ErrorKind::kUnsupported;
      if (!known) away = true;
    }
  };
  {
    std::vector<std::jthread> others;
    try {
      for (size_t i = 1; i < std::min(refs.size(), kRequestsAtOnce); ++i) {
        others.emplace_back([&work] { GuardedOrLogged("querying the schema registry", work); });
      }
    } catch (const std::system_error& error) {  // no more threads to be had: fewer do it
      log::Warn("cannot start all threads; querying the schema registry with fewer",
                {{"threads", others.size() + 1}, {"error", error.what()}});
    }
    GuardedOrLogged("querying the schema registry", work);
  }
  return std::min(next.load(), refs.size());
}

}  // namespace k2::registry
