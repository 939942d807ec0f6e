// Schemas out of a registry that speaks Confluent's REST API (Confluent, Apicurio under /apis/ccompat/v7, Karapace,
// Redpanda), kept in memory and on disk. Apicurio's own ids are asked for by its own API, beside the other one.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "base/secret.h"
#include "net/http.h"
#include "registry/registry_answer.h"
#include "registry/schema_source.h"

namespace k2::registry {

struct RegistryOptions {
  std::string url;                  // up to before /schemas
  Secret user_info;                 // user:password, for basic authentication
  Secret token;                     // bearer token
  std::string cache_folder;         // empty: in memory only. Ids never change their schema, so files are good for ever
  int64_t missing_us = 30'000'000;  // how long a schema that is not there is not asked for again
  size_t missing_max = 10'000;      // such schemas that are remembered; with more, all are forgotten
  int64_t unavailable_us = 1'000'000;  // how long the registry is left alone after it did not answer
  int64_t timeout_ms = 10'000;
};

// Safe to call from several threads.
class RegistryClient final : public SchemaSource {
 public:
  // Error kInvalidArgument: no http or https URL, or both kinds of credentials.
  static Result<std::shared_ptr<RegistryClient>> Create(const RegistryOptions& options,
                                                        std::shared_ptr<net::HttpClient> http);

  // With the schemas that it refers to, as one text. Errors: kNotFound: the registry says there is no such schema, or
  // has none that are named so; kUnavailable: it did not answer, or something that is no registry did; kPermission;
  // kUnsupported: not Avro, or with references that cannot be resolved (they form a cycle, are missing, or go beyond
  // the limits).
  Result<std::string> SchemaJson(const trade::SchemaRef& ref) override;
  // By a few requests at a time. Ends early when the registry does not answer.
  size_t AskFor(std::span<const trade::SchemaRef> refs, int64_t time_us_max) override;

  // The id of the schema under the subject, new or as it was. Errors also: kInvalidData: not compatible with what is
  // registered; kInvalidArgument: the registry does not take it as a schema.
  Result<int32_t> Register(const std::string& subject, std::string_view json);
  // Whether the subject would take the schema; true for a new subject.
  Result<bool> Compatible(const std::string& subject, std::string_view json);

 private:
  RegistryClient(const RegistryOptions& options, std::shared_ptr<net::HttpClient> http);
  struct Answer {
    int status = 0;
    int64_t error_code = 0;  // the registry's own
    std::string message;
    std::string error_name;  // Apicurio's
    std::string body;
  };
  Result<Answer> Ask(const std::string& method, const std::string& url, std::string body = {});
  [[nodiscard]] std::unexpected<Error> Refused(const Answer& answer, std::string_view what) const;
  Result<std::string> Fetch(const trade::SchemaRef& ref);
  Result<SchemaAnswer> FetchFirst(const trade::SchemaRef& ref, const std::string& what);
  Result<SchemaAnswer> FetchByGuid(const trade::SchemaRef& ref, const std::string& what);
  Result<SchemaAnswer> FetchArtifact(const trade::SchemaRef& ref, const std::string& what);
  Result<SchemaAnswer> FetchAnswer(const std::string& path, int64_t missing_code, const std::string& what);
  Result<SchemaAnswer> ReadAnswer(const Answer& answer, int64_t missing_code, const std::string& what) const;
  Result<std::optional<SchemaAnswer>> FetchText(const std::string& text_url, const std::string& references_url,
                                                const std::string& what);
  Error Unanswered(trade::SchemaRef::Kind kind, const std::string& what);
  struct Resolving;
  Status Resolve(const std::vector<SchemaReference>& references, int depth, Resolving& resolving);
  Result<SchemaAnswer> FetchReference(const SchemaReference& reference, const std::string& shown);
  // As messages may show it.
  [[nodiscard]] std::string Address() const { return net::WithoutSecrets(options_.url); }
  [[nodiscard]] std::string CachePath(const trade::SchemaRef& ref) const;
  [[nodiscard]] std::string ReadCache(const trade::SchemaRef& ref) const;
  void WriteCache(const trade::SchemaRef& ref, const std::string& json);

  const RegistryOptions options_;
  const std::shared_ptr<net::HttpClient> http_;
  std::string cache_folder_;
  std::atomic<bool> cache_fails_{false};
  std::mutex mutex_;
  std::map<trade::SchemaRef, std::string> schemas_;
  std::map<trade::SchemaRef, std::pair<int64_t, Error>> missing_;                       // until when, monotonic
  std::map<std::tuple<std::string, std::string, std::string>, SchemaAnswer> referred_;  // versions, which never change
  std::array<int64_t, trade::kSchemaRefKinds> unanswered_until_us_{};  // kinds that it has no schemas by
  std::string apicurio_version_;  // of its own API: v3, v2; empty while it is not known
  int64_t unavailable_until_us_ = 0;
  Error unavailable_;
};

}  // namespace k2::registry
