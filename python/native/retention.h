#pragma once

#include <nanobind/nanobind.h>

namespace k2::python {

// The functions of retention, and its default limits.
void AddRetention(nanobind::module_& module);

}  // namespace k2::python
