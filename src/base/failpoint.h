// Named steps at which a test makes the process die, to prove that nothing is lost or doubled whatever is killed.
#pragma once

#include <string_view>

namespace k2 {

// The environment variable K2_TEST_CRASH_AT=<name>[:<n>] makes the nth (from 1) passage of that name end the process by
// SIGKILL; K2_TEST_STOP_AT, in the same way, stops it by SIGSTOP until somebody sends SIGCONT; K2_TEST_THROW_AT makes
// it throw what no code of K2 throws. Without them this costs one load of a flag. Names: "<layer>.<step>", steps as in
// table/table.h and task/task.h.
void Failpoint(std::string_view name);

}  // namespace k2
