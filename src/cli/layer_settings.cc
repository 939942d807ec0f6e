#include "cli/layer_settings.h"

#include <algorithm>
#include <charconv>
#include <regex>
#include <string>
#include <tuple>
#include <vector>

#include "base/time.h"
#include "cli/kafka_settings.h"
#include "exchange/registry.h"

namespace k2::cli {
namespace {

// "3", "0-5": the partitions of each topic that are this process's work.
Status ParsePartitions(const std::string& text, pipeline::KafkaFeed& feed) {
  if (text.empty()) return {};
  int32_t first = 0;
  const char* const end = text.data() + text.size();
  const auto [after_first, bad_first] = std::from_chars(text.data(), end, first);
  int32_t last = first;
  bool ok = bad_first == std::errc() && first >= 0;
  if (ok && after_first != end) {
    const auto [after_last, bad_last] = std::from_chars(after_first + 1, end, last);
    ok = *after_first == '-' && bad_last == std::errc() && after_last == end && last >= first;
  }
  if (!ok) return Fail(ErrorKind::kInvalidArgument, "partitions = '{}': a number, or two with a dash: 0-5", text);
  feed.first_partition = first;
  feed.last_partition = last;
  return {};
}

// Whether a topic is among names and patterns.
bool Matches(const std::vector<std::string>& topics, std::string_view topic) {
  return std::ranges::any_of(topics, [&](const std::string& one) {
    if (!one.starts_with('^')) return one == topic;
    return std::regex_search(topic.begin(), topic.end(), std::regex(one, std::regex::extended));
  });
}

}  // namespace

void AddLayerSettings(Program& program) {
  program.settings.BeginGroup("kafka");
  const SettingText texts[] = {
      {"topics", "TOPICS", exchange::DefaultTopics(),
       "Topics to read: comma-separated names, or patterns that begin with ^; a topic's name ends in .EXCHANGE"},
      {"partitions", "RANGE", "",
       "Read only these partitions of each topic: 3 or 0-5; other processes read the others"},
      {"start", "WHERE", "earliest",
       "Start here in topics with no committed offset: earliest, latest or a time (RFC 3339)"},
  };
  for (const SettingText& text : texts) program.settings.Add(program.app, text);
  program.settings.BeginGroup("pipeline");
  program.settings.Add(program.app,
                       {"dedup-memory", "SIZE", "128MB", "Limit on the trade ids that Gold holds in memory"});
}

Result<pipeline::KafkaFeed> KafkaFeedOf(const Settings& settings) {
  pipeline::KafkaFeed feed;
  K2_ASSIGN(feed.options, KafkaOptionsOf(settings));
  feed.topics = settings.List("topics");
  // The default names a topic for each exchange; a cluster need not have all of them.
  feed.options.topics_may_be_missing = settings.Text("topics") == exchange::DefaultTopics();
  if (feed.topics.empty()) return Fail(ErrorKind::kInvalidArgument, "--topics names no topic");
  for (const std::string& topic : feed.topics) {
    try {
      if (topic.starts_with('^')) (void)std::regex(topic, std::regex::extended);
    } catch (const std::regex_error& error) {
      return Fail(ErrorKind::kInvalidArgument, "--topics {}: not a regular expression: {}", topic, error.what());
    }
  }
  K2_TRY(ParsePartitions(settings.Text("partitions"), feed));
  K2_ASSIGN(feed.start, kafka::ParseKafkaStart(settings.Text("start")));
  return feed;
}

std::function<bool(std::string_view topic, int32_t partition)> OwnedBy(const pipeline::KafkaFeed& feed) {
  return [topics = feed.topics, first = feed.first_partition, last = feed.last_partition](std::string_view topic,
                                                                                          int32_t partition) {
    return partition >= first && partition <= last && Matches(topics, topic);
  };
}

Result<pipeline::LayerId> LayerOfFlag(std::string_view text, std::string_view names) {
  const Result<pipeline::LayerId> layer = pipeline::LayerNamed(text);
  if (layer && *layer != pipeline::LayerId::kCompaction) return layer;
  return WithHint(Fail(ErrorKind::kInvalidArgument, "unknown layer '{}' (--layer)", text), std::string(names));
}

Result<pipeline::DayRange> DaysOf(const std::string& from, const std::string& to) {
  pipeline::DayRange days;
  for (const auto& [name, text, day] :
       {std::tuple{"--from", &from, &days.first}, std::tuple{"--to", &to, &days.last}}) {
    if (text->empty()) continue;
    const Result<int32_t> parsed = ParseDate(*text);
    if (!parsed) return Fail(ErrorKind::kInvalidArgument, "{}: {}", name, parsed.error().message);
    *day = *parsed;
  }
  if (days.first <= days.last) return days;
  return Fail(ErrorKind::kInvalidArgument, "--from {} is after --to {}", from, to);
}

}  // namespace k2::cli
