// What in a setting's value is secret, and how the value may be shown: in doctor, in errors, in the process list.
#pragma once

#include <sys/resource.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "cli/settings.h"

namespace k2::cli {

// Whether all of a setting's value is secret: passwords, tokens, credentials. Of others a part may be.
bool IsSecretName(std::string_view name);
// Whether a value may hold secrets, wholly or among others: it can be in a file of its own (NAME-file).
bool HoldsSecrets(std::string_view name);
// The same of a setting of librdkafka.
bool IsSecretKafkaName(std::string_view name);

// The value with *** for all that is or may be secret: of a credential what follows the first colon, of an address
// whatever stands before the host and behind a question mark, of kafka-set the values of passwords and keys.
std::string Shown(std::string_view name, const std::string& value);

// Entries name=value, separated by commas or line breaks, as in kafka-set. A value may be quoted with double quotes; ""
// within quotes is one quote. Error kInvalidArgument says where it is wrong, and shows nothing of what may be a value.
Result<std::vector<std::pair<std::string, std::string>>> ParseNameValues(std::string_view setting,
                                                                         std::string_view text);

// Settings of a file that was not named (./k2.toml) may not say where secrets go that come from elsewhere: whoever puts
// a file into a folder would be sent them. Error kInvalidArgument names the address, the secret, and the way on.
Status CheckImplicitFile(const Settings& settings);

// A core dump would hold the secrets of a process: after this none is written, whatever limit the process was
// started with; Allow() goes back to that limit.
class NoCoreDumps {
 public:
  NoCoreDumps();
  void Allow() const;

 private:
  rlimit started_with_{};
};

// Puts stars over the secrets of a command line where the system shows it (ps): call it with copies of the arguments
// already taken. `settings`: the names of all.
void HideArguments(std::span<char*> arguments, const std::vector<std::string>& settings);

}  // namespace k2::cli
