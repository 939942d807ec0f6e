#include "kafka/kafka_handle.h"

#include <algorithm>
#include <string_view>

#include "base/guard.h"
#include "base/log.h"
#include "base/time.h"

namespace k2::kafka {
namespace {

// What K2 sets itself, because exactly-once or the memory bound stand on it, and what has a setting of K2's own.
constexpr std::string_view kOwnSettings[] = {
    "bootstrap.servers",
    "metadata.broker.list",
    "client.id",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "auto.commit.enable",
    "auto.offset.reset",
    "enable.partition.eof",
    "check.crcs",
    "queued.max.messages.kbytes",
    "enable.idempotence",
    "transactional.id",
    "acks",
    "request.required.acks",
    "compression.type",
    "compression.codec",
    "plugin.library.paths",
    "opaque",
};

// Both are called by threads of librdkafka, through which no exception can go.
void OnError(rd_kafka_t* handle, int code, const char* reason, void* opaque) {
  auto error = static_cast<rd_kafka_resp_err_t>(code);
  std::array<char, kErrorTextSize> text{};
  if (error == RD_KAFKA_RESP_ERR__FATAL) {
    rd_kafka_fatal_error(handle, text.data(), text.size());
    reason = text.data();
  }
  GuardedOrLogged("a callback of Kafka's client", [&] {
    auto* const events = static_cast<KafkaEvents*>(opaque);
    events->Failed(error, reason);
    if (error == RD_KAFKA_RESP_ERR__AUTHENTICATION) events->GiveNewPassword(handle);
  });
}

void OnTokenWanted(rd_kafka_t* handle, const char* /*config*/, void* opaque) {
  GuardedOrLogged("a callback of Kafka's client", [&] { static_cast<KafkaEvents*>(opaque)->GiveToken(handle); });
}

void OnLog(const rd_kafka_t* /*handle*/, int level, const char* facility, const char* text) {
  constexpr int kSyslogError = 3;
  constexpr int kSyslogWarning = 4;
  // Connections that fail are told once by KafkaEvents; settings that only the other kind of client knows do no harm.
  const std::string_view name = facility;
  const bool repeated = name == "FAIL" || name == "ERROR" || name == "CONFWARN" || name == "MAXPOLL" ||
                        name == "METADATAUPDATE" || name == "GETPID";
  GuardedOrLogged("a callback of Kafka's client", [&] {
    if (repeated || level > kSyslogWarning) {
      log::Debug("kafka client", {{"facility", name}, {"text", text}});
    } else if (level <= kSyslogError) {
      log::Error("kafka client", {{"facility", name}, {"text", text}});
    } else {
      log::Warn("kafka client", {{"facility", name}, {"text", text}});
    }
  });
}

std::pair<std::string, std::string> LoginIn(const KafkaSettings& settings) {
  const auto value = [&](const char* name) {
    const auto found = settings.find(name);
    return found == settings.end() ? std::string() : found->second;
  };
  return {value("sasl.username"), value("sasl.password")};
}

Status Set(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
  std::array<char, kErrorTextSize> text{};
  if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), text.data(), text.size()) == RD_KAFKA_CONF_OK) return {};
  return Fail(ErrorKind::kInvalidArgument, "Kafka setting {}: {}", name, text.data());
}

}  // namespace

ErrorKind KafkaErrorKind(rd_kafka_resp_err_t code) {
  switch (code) {
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID: return ErrorKind::kNotFound;
    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS: return ErrorKind::kAlreadyExists;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED: return ErrorKind::kPermission;
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION: return ErrorKind::kInvalidArgument;
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION: return ErrorKind::kUnsupported;
    default: return ErrorKind::kUnavailable;
  }
}

bool IsKafkaAuthError(rd_kafka_resp_err_t code) {
  return code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED ||
         code == RD_KAFKA_RESP_ERR__SSL;
}

void KafkaEvents::SetOptions(const KafkaOptions& options) {
  brokers_ = options.brokers;
  token_ = options.token;
  newest_settings_ = options.newest_settings;
  login_ = LoginIn(options.settings);
}

void KafkaEvents::GiveToken(rd_kafka_t* handle) const {
  const auto token = token_();
  std::array<char, kErrorTextSize> text{};
  std::string why;
  if (!token) {
    why = token.error().message;
  } else if (rd_kafka_oauthbearer_set_token(handle, token->text.c_str(), token->ends_at_us / 1000, "k2", nullptr, 0,
                                            text.data(), text.size()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    why = text.data();
  }
  if (!why.empty()) rd_kafka_oauthbearer_set_token_failure(handle, why.c_str());  // asks again after 10 s
}

void KafkaEvents::GiveNewPassword(rd_kafka_t* handle) {
  if (!newest_settings_) return;
  const auto settings = newest_settings_();
  if (!settings) return log::Warn("kafka: cannot reload settings", {{"error", settings.error().message}});
  const std::lock_guard lock(mutex_);
  auto login = LoginIn(*settings);
  if (login == login_ || login.first.empty()) return;
  if (RdError(rd_kafka_sasl_set_credentials(handle, login.first.c_str(), login.second.c_str()))) return;
  login_ = std::move(login);
  log::Info("kafka: retrying with a new password", {});
}

void KafkaEvents::Failed(rd_kafka_resp_err_t code, const char* reason) {
  const std::lock_guard lock(mutex_);
  const int64_t now = NowMicros();
  if (health_.ok)
    log::Warn("kafka: request failed; retrying", {{"error", rd_kafka_err2name(code)}, {"reason", reason}});
  if (health_.ok) health_.since_us = now;
  // That all are down is told beside why the last one is.
  const bool why_is_known = code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && !health_.ok;
  health_.ok = false;
  if (!why_is_known) health_.last_error = fmt::format("{}: {}", rd_kafka_err2name(code), reason);
  if (code == RD_KAFKA_RESP_ERR__FATAL) fatal_ = true;
  if (IsKafkaAuthError(code)) {
    if (auth_error_.empty()) auth_since_us_ = MonotonicMicros();
    auth_error_ = reason;
  }
}

void KafkaEvents::Answered() {
  const std::lock_guard lock(mutex_);
  if (health_.ok || fatal_) return;
  log::Info("kafka: available again", {{"last_error", health_.last_error}});
  health_.ok = true;
  auth_error_.clear();
}

KafkaHealth KafkaEvents::health() const {
  const std::lock_guard lock(mutex_);
  return health_;
}

std::optional<Error> KafkaEvents::Lasting(int64_t after_us) const {
  const std::lock_guard lock(mutex_);
  if (fatal_) return Error{ErrorKind::kUnavailable, fmt::format("Kafka client: {}", health_.last_error)};
  if (auth_error_.empty() || MonotonicMicros() - auth_since_us_ < after_us) return std::nullopt;
  return Error{ErrorKind::kPermission,
               fmt::format("no connection to Kafka at {}: {}. Check security.protocol, sasl.* and ssl.* (--kafka-set)",
                           brokers_, auth_error_)};
}

bool IsKafkaSetting(const std::string& name) {
  std::array<char, kErrorTextSize> text{};
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  const auto found = rd_kafka_conf_set(conf, name.c_str(), "", text.data(), text.size());
  rd_kafka_conf_destroy(conf);
  return found != RD_KAFKA_CONF_UNKNOWN;
}

Status CheckKafkaOptions(const KafkaOptions& options) {
  if (options.brokers.empty())
    return Fail(ErrorKind::kInvalidArgument, "no Kafka brokers are given: --kafka HOST:PORT");
  if (options.brokers.find('@') != std::string::npos) {
    return Fail(ErrorKind::kInvalidArgument,
                "Kafka brokers are host:port, comma-separated, without a user: set sasl.username and sasl.password "
                "with kafka-set");
  }
  for (const auto& [name, value] : options.settings) {
    if (std::ranges::find(kOwnSettings, name) == std::end(kOwnSettings)) continue;
    return Fail(ErrorKind::kInvalidArgument, "Kafka setting {} cannot be changed: K2 sets it itself", name);
  }
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  Status status;
  for (const auto& [name, value] : options.settings) {
    if (status) status = Set(conf, name, value);
  }
  if (status) status = Set(conf, "compression.type", options.compression);
  rd_kafka_conf_destroy(conf);
  return status;
}

Result<rd_kafka_t*> MakeKafkaHandle(rd_kafka_type_t type, const KafkaOptions& options, const KafkaSettings& own,
                                    KafkaEvents* events,
                                    void (*on_delivery)(rd_kafka_t*, const rd_kafka_message_t*, void*)) {
  K2_TRY(CheckKafkaOptions(options));
  KafkaSettings settings = {{"socket.keepalive.enable", "true"}, {"reconnect.backoff.max.ms", "2000"}};
  for (const auto& [name, value] : options.settings) settings[name] = value;
  for (const auto& [name, value] : own) settings[name] = value;
  settings["bootstrap.servers"] = options.brokers;
  settings["client.id"] = options.client_id;
  rd_kafka_conf_t* conf = rd_kafka_conf_new();
  for (const auto& [name, value] : settings) {
    if (const Status set = Set(conf, name, value); !set) {
      rd_kafka_conf_destroy(conf);
      return std::unexpected(set.error());
    }
  }
  if (events != nullptr) events->SetOptions(options);
  rd_kafka_conf_set_opaque(conf, events);
  rd_kafka_conf_set_error_cb(conf, OnError);
  rd_kafka_conf_set_log_cb(conf, OnLog);
  if (events != nullptr && options.token) rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, OnTokenWanted);
  // Tokens (OAUTHBEARER) are renewed by a thread of librdkafka, not by who happens to poll.
  rd_kafka_conf_enable_sasl_queue(conf, 1);
  if (on_delivery != nullptr) rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
  std::array<char, kErrorTextSize> text{};
  rd_kafka_t* handle = rd_kafka_new(type, conf, text.data(), text.size());
  if (handle == nullptr) {
    rd_kafka_conf_destroy(conf);
    return Fail(ErrorKind::kInvalidArgument, "Kafka client for {}: {}", options.brokers, text.data());
  }
  RdError(rd_kafka_sasl_background_callbacks_enable(handle));  // fails, harmlessly, where there is no SASL
  return handle;
}

}  // namespace k2::kafka
