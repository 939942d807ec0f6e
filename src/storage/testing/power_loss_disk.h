// A disk that remembers what was not synced. For tests.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "storage/disk.h"

namespace k2::storage {

class PowerLossDisk : public Disk {
 public:
  // Called before each operation; a negative errno fails it.
  using Gate = std::function<int(std::string_view operation, const std::string& path)>;
  explicit PowerLossDisk(Gate gate) : gate_(std::move(gate)) {}

  int OpenNew(const std::string& path) override;
  int Write(int descriptor, const std::string& path, const void* bytes, size_t size) override;
  int Close(int descriptor) override;
  int SyncFile(const std::string& path) override;
  int SyncFolder(const std::string& path) override;
  int MakeFolder(const std::string& path) override;
  int Remove(const std::string& path) override;

  Status PowerLoss(uint64_t seed);

 private:
  int Enter(std::string_view operation, const std::string& path);

  Gate gate_;
  std::mutex mutex_;
  bool off_ = false;
  std::map<std::string, int64_t> synced_bytes_;           // of files made through this disk
  std::set<std::string> unsynced_entries_;                // files and folders made, their folder not synced since
  std::map<std::string, std::string> unsynced_removals_;  // what they held on disk
};

}  // namespace k2::storage
