#include "base/process_figures.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace k2 {
namespace {

// Seconds since 1970 at which the machine was started; -1 where unknown.
double BootTimeSeconds() {
  std::ifstream stat("/proc/stat");
  std::string line;
  while (std::getline(stat, line)) {
    if (line.starts_with("btime ")) return std::stod(line.substr(6));
  }
  return -1;
}

// The group of version 2 ("0::/a"), else of version 1's memory controller ("9:memory:/a").
std::string ControlGroup() {
  std::ifstream groups("/proc/self/cgroup");
  std::string line;
  std::string found = "/";
  while (std::getline(groups, line)) {
    if (line.find(":memory:") != std::string::npos) return line.substr(line.find(":memory:") + 8);
    if (line.starts_with("0::")) found = line.substr(3);
  }
  return found;
}

int64_t MemoryLimitBytes() {
  const int64_t machine = ::sysconf(_SC_PHYS_PAGES) * int64_t{::sysconf(_SC_PAGESIZE)};
  const int64_t group = ControlGroupMemoryBytes("/sys/fs/cgroup", ControlGroup());
  return group < 0 ? machine : std::min(group, machine);
}

}  // namespace

int64_t ControlGroupMemoryBytes(const std::string& root, const std::string& group) {
  int64_t least = -1;
  // A container sees its own group as the root, or (version 1) its path on the host, which is not there: each of the
  // groups on the way up is looked for.
  for (std::filesystem::path at = group;; at = at.parent_path()) {
    const std::string below = at.relative_path().string();
    for (const std::string& file :
         {root + "/" + below + "/memory.max", root + "/memory/" + below + "/memory.limit_in_bytes"}) {
      std::ifstream limit(file);
      int64_t bytes = 0;
      if (limit >> bytes && bytes > 0 && (least < 0 || bytes < least)) least = bytes;  // "max" is no number
    }
    if (!at.has_relative_path()) return least;
  }
}

ProcessFigures ReadProcessFigures() {
  ProcessFigures figures;
  const int64_t page_bytes = ::sysconf(_SC_PAGESIZE);
  std::ifstream statm("/proc/self/statm");
  int64_t total_pages = 0;
  int64_t resident_pages = 0;
  if (statm >> total_pages >> resident_pages) {
    figures.virtual_bytes = total_pages * page_bytes;
    figures.resident_bytes = resident_pages * page_bytes;
  }
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) == 0) {
    const auto seconds = [](const timeval& time) {
      return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    };
    figures.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  }
  // proc(5): the name in brackets may hold spaces; starttime is the 22nd field, the 20th after it.
  std::ifstream stat("/proc/self/stat");
  std::string line;
  if (std::getline(stat, line) && line.rfind(')') != std::string::npos) {
    std::istringstream fields(line.substr(line.rfind(')') + 1));
    std::string field;
    for (int i = 0; i < 20; ++i) fields >> field;
    static const double boot_seconds = BootTimeSeconds();
    if (fields && boot_seconds >= 0) {
      figures.start_time_seconds = boot_seconds + std::stod(field) / static_cast<double>(::sysconf(_SC_CLK_TCK));
    }
  }
  std::error_code error;
  int64_t open = 0;
  for (std::filesystem::directory_iterator at("/proc/self/fd", error), end; !error && at != end; at.increment(error)) {
    ++open;
  }
  if (!error) figures.open_fds = open - 1;  // the listing's own
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) figures.max_fds = static_cast<int64_t>(limit.rlim_cur);
  figures.memory_limit_bytes = MemoryLimitBytes();
  return figures;
}

}  // namespace k2
