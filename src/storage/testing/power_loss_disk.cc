#include "storage/testing/power_loss_disk.h"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

namespace k2::storage {
namespace {

namespace fs = std::filesystem;

std::string ParentOf(const std::string& path) { return fs::path(path).parent_path().string(); }

int64_t SizeOf(const std::string& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  return error ? 0 : static_cast<int64_t>(size);
}

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

int PowerLossDisk::Enter(std::string_view operation, const std::string& path) {
  {
    const std::lock_guard lock(mutex_);
    if (off_) return -EIO;
  }
  return gate_ ? gate_(operation, path) : 0;
}

int PowerLossDisk::OpenNew(const std::string& path) {
  if (const int fault = Enter("disk.open-new", path); fault < 0) return fault;
  const int descriptor = Disk::OpenNew(path);
  if (descriptor < 0) return descriptor;
  const std::lock_guard lock(mutex_);
  synced_bytes_[path] = 0;
  unsynced_entries_.insert(path);
  return descriptor;
}

int PowerLossDisk::Write(int descriptor, const std::string& path, const void* bytes, size_t size) {
  if (const int fault = Enter("disk.write", path); fault < 0) {
    // A full disk takes a part of it.
    Disk::Write(descriptor, path, bytes, size / 2);
    return fault;
  }
  return Disk::Write(descriptor, path, bytes, size);
}

int PowerLossDisk::Close(int descriptor) {
  const int fault = Enter("disk.close", "");
  const int result = Disk::Close(descriptor);
  return fault < 0 ? fault : result;
}

int PowerLossDisk::SyncFile(const std::string& path) {
  if (const int fault = Enter("disk.sync-file", path); fault < 0) return fault;
  if (const int result = Disk::SyncFile(path); result < 0) return result;
  const std::lock_guard lock(mutex_);
  if (const auto found = synced_bytes_.find(path); found != synced_bytes_.end()) found->second = SizeOf(path);
  return 0;
}

int PowerLossDisk::SyncFolder(const std::string& path) {
  if (const int fault = Enter("disk.sync-folder", path); fault < 0) return fault;
  const std::lock_guard lock(mutex_);
  std::erase_if(unsynced_entries_, [&](const std::string& entry) { return ParentOf(entry) == path; });
  std::erase_if(unsynced_removals_, [&](const auto& entry) { return ParentOf(entry.first) == path; });
  return 0;
}

int PowerLossDisk::MakeFolder(const std::string& path) {
  if (const int fault = Enter("disk.make-folder", path); fault < 0) return fault;
  const int result = Disk::MakeFolder(path);
  if (result == 0) {
    const std::lock_guard lock(mutex_);
    unsynced_entries_.insert(path);
  }
  return result;
}

int PowerLossDisk::Remove(const std::string& path) {
  if (const int fault = Enter("disk.remove", path); fault < 0) return fault;
  const std::lock_guard lock(mutex_);
  std::string held = Contents(path);
  const int result = Disk::Remove(path);
  if (result < 0) return result;
  if (const auto found = synced_bytes_.find(path); found != synced_bytes_.end()) {
    held.resize(std::min(held.size(), static_cast<size_t>(found->second)));
    synced_bytes_.erase(found);
  }
  // A file whose entry never reached the disk does not come back.
  if (unsynced_entries_.erase(path) == 0) unsynced_removals_[path] = std::move(held);
  return 0;
}

Status PowerLossDisk::PowerLoss(uint64_t seed) {
  const std::lock_guard lock(mutex_);
  off_ = true;
  std::mt19937_64 random(seed);
  const auto happens = [&] { return seed == 0 || random() % 2 == 0; };
  std::error_code error;
  for (const auto& [path, synced] : synced_bytes_) {
    const int64_t size = SizeOf(path);
    if (size <= synced || !happens()) continue;
    const int64_t kept = seed == 0 ? synced : synced + static_cast<int64_t>(random() % (size - synced));
    fs::resize_file(path, static_cast<uintmax_t>(kept), error);
    if (error) return Fail(ErrorKind::kIo, "power loss: cannot cut {}: {}", path, error.message());
  }
  for (const auto& [path, held] : unsynced_removals_) {
    if (!happens() || !fs::exists(ParentOf(path)) || fs::exists(path)) continue;
    std::ofstream(path, std::ios::binary) << held;
  }
  for (const std::string& path : unsynced_entries_) {
    if (!happens()) continue;
    fs::remove_all(path, error);
    if (error) return Fail(ErrorKind::kIo, "power loss: cannot remove {}: {}", path, error.message());
  }
  return {};
}

}  // namespace k2::storage
