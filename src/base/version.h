// The version of this build.
#pragma once

#ifndef K2_VERSION
#define K2_VERSION "0.2.0"
#endif

namespace k2 {

inline constexpr char kVersion[] = K2_VERSION;

}  // namespace k2
