// Names of files as Iceberg metadata holds them, and what they mean on this machine.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace k2::storage {

// "file" for file:… URIs and plain absolute paths, else the text before "://". kInvalidArgument for anything else.
Result<std::string> LocationScheme(std::string_view location);

// The absolute path that a plain path or a file URI names: /a, file:///a and file:/a (as Hadoop writes it) are the same
// file. Percent signs stand for themselves: PyIceberg and Java's Hadoop paths don't decode them, and partition folders
// hold names that were encoded once. kInvalidArgument: a host, `?`, `#`, control characters, empty or dot segments,
// which readers take apart in different ways.
Result<std::string> LocalPath(std::string_view location);

// The URI of an absolute path: file:///a/b. Trailing slashes are dropped.
Result<std::string> LocationOfPath(std::string_view absolute_path);

}  // namespace k2::storage
