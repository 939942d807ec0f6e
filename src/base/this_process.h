// Which process this is: its name in commits (docs/audit.md) and in claims of maintenance (docs/retention.md).
#pragma once

#include <string>

namespace k2 {

struct ProcessIdentity {
  std::string host;     // as the machine calls itself: of a pod its name
  std::string process;  // <process id>/<8 random hex digits> <command>: "4711/9f0c2a61 maintain retention"
};

const ProcessIdentity& ThisProcess();

// The command that this process runs, such as "maintain retention": its words alone, never its arguments. Before the
// first thread.
void SetCommandOfThisProcess(const std::string& command);

// For tests that compare what is written.
void SetThisProcessForTests(ProcessIdentity identity);

}  // namespace k2
