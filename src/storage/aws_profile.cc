#include "storage/aws_profile.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <tuple>

#include "base/secret.h"

namespace k2::storage {
namespace {

std::string_view Trimmed(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") + 1 - begin);
}

std::string FileNamed(const Environment& environment, const char* variable, const char* name) {
  if (std::string named = environment(variable); !named.empty()) return named;
  const std::string home = environment("HOME");
  return home.empty() ? "" : home + "/.aws/" + name;
}

// "[default]", "[profile NAME]" in config; "[NAME]" in credentials. Other sections (sso-session, services) are none.
std::string ProfileOf(std::string_view section, bool is_config) {
  section = Trimmed(section);
  if (is_config && section != "default") {
    if (!section.starts_with("profile ") && !section.starts_with("profile\t")) return {};
    section = Trimmed(section.substr(8));
  }
  return std::string(section);
}

void AddProfiles(std::string_view text, bool is_config, AwsProfiles& profiles) {
  AwsProfile* current = nullptr;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view raw = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view line = Trimmed(raw);
    if (line.empty() || line.front() == '#' || line.front() == ';') continue;
    if (line.front() == '[') {
      const std::string name = ProfileOf(line.substr(1, line.find(']') - 1), is_config);
      current = name.empty() ? nullptr : &profiles.by_name[name];
      continue;
    }
    const size_t equals = line.find('=');
    const bool nested = raw.front() == ' ' || raw.front() == '\t';  // below "s3 =" and the like
    if (current == nullptr || equals == std::string_view::npos || nested) continue;
    std::string_view value = line.substr(equals + 1);
    // A comment begins behind a space.
    for (const std::string_view mark : {" #", " ;", "\t#", "\t;"}) value = value.substr(0, value.find(mark));
    (*current)[std::string(Trimmed(line.substr(0, equals)))] = Trimmed(value);
  }
}

constexpr int64_t kNanos = 1'000'000'000;

int64_t MixStamp(int64_t stamp, int64_t part) {
  return static_cast<int64_t>(static_cast<uint64_t>(stamp) * 31 + static_cast<uint64_t>(part));
}

}  // namespace

std::string ProcessEnvironment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string ValueOf(const AwsProfile& profile, std::string_view name) {
  const auto found = profile.find(name);
  return found == profile.end() ? std::string() : found->second;
}

const AwsProfile* AwsProfiles::Find(std::string_view name) const {
  const auto found = by_name.find(name);
  return found == by_name.end() ? nullptr : &found->second;
}

Result<AwsProfiles> ReadAwsProfiles(const Environment& environment) {
  AwsProfiles profiles;
  for (const auto& [variable, name, is_config] : {std::tuple{"AWS_CONFIG_FILE", "config", true},
                                                  std::tuple{"AWS_SHARED_CREDENTIALS_FILE", "credentials", false}}) {
    const std::string path = FileNamed(environment, variable, name);
    if (path.empty()) continue;
    const Result<std::string> text = ReadSecretFile(path);
    if (!text && text.error().kind == ErrorKind::kPermission) return std::unexpected(text.error());
    if (text) AddProfiles(*text, is_config, profiles);
  }
  return profiles;
}

int64_t StampOfAwsFiles(const Environment& environment) {
  int64_t stamp = 0;
  for (const auto& [variable, name] :
       {std::pair{"AWS_CONFIG_FILE", "config"}, std::pair{"AWS_SHARED_CREDENTIALS_FILE", "credentials"}}) {
    struct stat info{};
    const std::string path = FileNamed(environment, variable, name);
    if (path.empty() || ::stat(path.c_str(), &info) != 0) continue;
    stamp = MixStamp(stamp, info.st_mtim.tv_sec * kNanos + info.st_mtim.tv_nsec);
    stamp = MixStamp(MixStamp(stamp, static_cast<int64_t>(info.st_ino)), info.st_size);
  }
  return stamp;
}

}  // namespace k2::storage
