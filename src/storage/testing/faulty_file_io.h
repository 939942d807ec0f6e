// The fault-injecting twin of FileIo, for tests: fails or delays chosen operations, and loses power.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "storage/file_io.h"

namespace k2::storage {

// What goes wrong, where, how often. Operations of FileIo: "read", "write-new", "create", "sync", "open", "size",
// "list", "delete". Below them, over a local disk: "disk.open-new", "disk.write", "disk.close", "disk.sync-file",
// "disk.sync-folder", "disk.make-folder", "disk.remove".
struct Fault {
  std::string operation;          // exact name, or a prefix that ends in '.'; empty: any
  std::string location_contains;  // empty: any
  int64_t first = 1;              // the first matching operation that is hit, counted from now
  int64_t times = 1;              // how many in a row; -1: for ever
  int errno_value = 0;            // 0: no error, the delay alone
  int64_t delay_us = 0;
};

class FaultyFileIo : public FileIo {
 public:
  // Real files below, with the model of an unsynced disk between.
  static std::shared_ptr<FaultyFileIo> OverLocalDisk();
  // Any other FileIo; PowerLoss() is kUnsupported then.
  static std::shared_ptr<FaultyFileIo> Over(std::shared_ptr<FileIo> base);

  virtual void Inject(Fault fault) = 0;
  virtual void ClearFaults() = 0;
  // Called before each operation, for tests that act between steps. Not while another one is set up.
  virtual void OnOperation(std::function<void(std::string_view operation, const std::string& location)> hook) = 0;
  [[nodiscard]] virtual int64_t operations() const = 0;  // so far, of both levels

  // The power goes off: from now on every operation fails, and the real folder is brought to what a disk may hold
  // then: unsynced bytes are cut off; files and folders whose entry was not synced vanish; deleted files whose removal
  // was not synced are back. With a seed, each of these happens or not by its draw (0: all of them). Open the real
  // folder with a fresh FileIo afterwards. Files that others wrote (a catalog database) are left alone.
  virtual Status PowerLoss(uint64_t seed = 0) = 0;
};

}  // namespace k2::storage
