// Where files lie that were moved or copied as a whole: names under one folder are now names under another one.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace k2::storage {

// A location without what may be spelt in several ways: file:///a, file:/a and /a are "/a"; s3://b/k and s3a://b/k are
// "b/k". No slash at the end.
std::string_view BareLocation(std::string_view location);

class LocationMap {
 public:
  // Both name folders, as paths or URIs. kInvalidArgument: no locations, or the same one.
  static Result<LocationMap> Create(std::string from, std::string to);

  // The present name of what lay under `from`; nullopt for anything else, and for what is under `to` already (where one
  // of the two lies within the other, the longer one decides). Keeps the spelling of the scheme where it can.
  [[nodiscard]] std::optional<std::string> Apply(std::string_view location) const;
  [[nodiscard]] std::string ApplyOrKeep(std::string_view location) const {
    return Apply(location).value_or(std::string(location));
  }

  [[nodiscard]] const std::string& from() const { return from_; }
  [[nodiscard]] const std::string& to() const { return to_; }

 private:
  LocationMap(std::string from, std::string to) : from_(std::move(from)), to_(std::move(to)) {}
  std::string from_;
  std::string to_;
};

// Whether a location is the folder or lies in it, by their names.
bool LiesUnder(std::string_view location, std::string_view folder);

}  // namespace k2::storage
