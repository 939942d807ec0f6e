// Whole numbers of 128 bits: unscaled decimals.
#pragma once

namespace k2 {

__extension__ typedef __int128 Int128;            // NOLINT(modernize-use-using): a using cannot carry __extension__
__extension__ typedef unsigned __int128 UInt128;  // NOLINT(modernize-use-using)

}  // namespace k2
