#include "query/spill_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "base/log.h"
#include "base/uuid.h"
#include "storage/disk.h"

namespace k2::query {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSpillPrefix = "k2-query-";
constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;

// The lock of a folder is its process's life: the system gives it back however that ends. Folders of others' users are
// theirs to remove.
void RemoveAbandoned(const std::string& parent) {
  std::error_code failed;
  for (const fs::directory_entry& entry : fs::directory_iterator(parent, failed)) {
    const std::string path = entry.path().string();
    if (!entry.path().filename().string().starts_with(kSpillPrefix)) continue;
    const int folder = ::open(path.c_str(), kFolderFlags);
    if (folder < 0) continue;
    struct ::stat found{};
    if (::fstat(folder, &found) == 0 && found.st_uid == ::geteuid() && ::flock(folder, LOCK_EX | LOCK_NB) == 0) {
      std::error_code error;
      fs::remove_all(path, error);
      if (error) {
        log::Warn("cannot remove the spill files of a killed query", {{"folder", path}, {"error", error.message()}});
      }
    }
    ::close(folder);
  }
}

}  // namespace

Result<std::unique_ptr<SpillFolder>> SpillFolder::Open(const std::string& parent) {
  std::error_code failed;
  fs::create_directories(parent, failed);
  if (failed) return std::unexpected(storage::ErrnoError(failed.value(), "create the spill folder", parent));
  RemoveAbandoned(parent);
  // Between making a folder and locking it another process may take it for abandoned: then a next one is made.
  for (int attempt = 0;; ++attempt) {
    const std::string path = (fs::path(parent) / (std::string(kSpillPrefix) + RandomHex64())).string();
    if (::mkdir(path.c_str(), 0700) != 0) {
      return std::unexpected(storage::ErrnoError(errno, "create the spill folder", path));
    }
    const int folder = ::open(path.c_str(), kFolderFlags);
    if (folder >= 0 && ::flock(folder, LOCK_EX | LOCK_NB) == 0 && fs::exists(path)) {
      return std::unique_ptr<SpillFolder>(new SpillFolder(path, folder));
    }
    const int error = folder < 0 ? errno : EWOULDBLOCK;
    if (folder >= 0) ::close(folder);
    if (attempt >= 8) return std::unexpected(storage::ErrnoError(error, "lock the spill folder", path));
  }
}

SpillFolder::~SpillFolder() {
  std::error_code failed;
  std::filesystem::remove_all(path_, failed);
  if (failed) log::Warn("cannot remove the spill files of queries", {{"folder", path_}, {"error", failed.message()}});
  ::close(lock_);
}

}  // namespace k2::query
