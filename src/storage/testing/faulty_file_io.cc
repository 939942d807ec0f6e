#include "storage/testing/faulty_file_io.h"

#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <thread>

#include "storage/local_file_io.h"
#include "storage/testing/power_loss_disk.h"

namespace k2::storage {
namespace {

// The faults that wait, shared by both levels.
class FaultList {
 public:
  void Add(Fault fault) {
    const std::lock_guard lock(mutex_);
    faults_.push_back(std::move(fault));
  }
  void Clear() {
    const std::lock_guard lock(mutex_);
    faults_.clear();
  }
  void SetHook(std::function<void(std::string_view, const std::string&)> hook) {
    const std::lock_guard lock(mutex_);
    hook_ = std::move(hook);
  }
  [[nodiscard]] int64_t operations() const { return operations_; }

  // Runs the hook and the delay, and returns the negative errno of the fault that hits, or 0.
  int Pass(std::string_view operation, const std::string& location) {
    ++operations_;
    int result = 0;
    int64_t delay_us = 0;
    std::function<void(std::string_view, const std::string&)> hook;
    {
      const std::lock_guard lock(mutex_);
      hook = hook_;
      for (Fault& fault : faults_) {
        if (!Matches(fault, operation, location) || --fault.first > 0 || fault.times == 0) continue;
        if (fault.times > 0) --fault.times;
        delay_us += fault.delay_us;
        if (result == 0) result = -fault.errno_value;
      }
    }
    if (hook) hook(operation, location);
    if (delay_us > 0) std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    return result;
  }

 private:
  static bool Matches(const Fault& fault, std::string_view operation, const std::string& location) {
    const bool named = fault.operation.empty() || fault.operation == operation ||
                       (fault.operation.ends_with('.') && operation.starts_with(fault.operation));
    return named && location.find(fault.location_contains) != std::string::npos;
  }

  std::mutex mutex_;
  std::vector<Fault> faults_;
  std::function<void(std::string_view, const std::string&)> hook_;
  std::atomic<int64_t> operations_{0};
};

class FaultyFileIoImpl : public FaultyFileIo {
 public:
  FaultyFileIoImpl(std::shared_ptr<FaultList> faults, std::shared_ptr<FileIo> base, std::shared_ptr<PowerLossDisk> disk)
      : faults_(std::move(faults)), base_(std::move(base)), disk_(std::move(disk)) {}

  void Inject(Fault fault) override { faults_->Add(std::move(fault)); }
  void ClearFaults() override { faults_->Clear(); }
  void OnOperation(std::function<void(std::string_view, const std::string&)> hook) override {
    faults_->SetHook(std::move(hook));
  }
  [[nodiscard]] int64_t operations() const override { return faults_->operations(); }
  Status PowerLoss(uint64_t seed) override {
    if (!disk_) return Fail(ErrorKind::kUnsupported, "power loss is modelled over a local disk only");
    off_ = true;
    return disk_->PowerLoss(seed);
  }

  Result<std::string> Read(const std::string& location, int64_t max_bytes) override {
    K2_TRY(Pass("read", location));
    return base_->Read(location, max_bytes);
  }
  Status WriteNew(const std::string& location, std::string_view bytes) override {
    K2_TRY(Pass("write-new", location));
    return base_->WriteNew(location, bytes);
  }
  Result<std::shared_ptr<arrow::io::OutputStream>> Create(const std::string& location) override {
    K2_TRY(Pass("create", location));
    return base_->Create(location);
  }
  Status Sync(const std::string& location) override {
    K2_TRY(Pass("sync", location));
    return base_->Sync(location);
  }
  Result<std::shared_ptr<arrow::io::RandomAccessFile>> Open(const std::string& location) override {
    K2_TRY(Pass("open", location));
    return base_->Open(location);
  }
  Result<int64_t> Size(const std::string& location) override {
    K2_TRY(Pass("size", location));
    return base_->Size(location);
  }
  Result<std::vector<FileInfo>> List(const std::string& folder) override {
    K2_TRY(Pass("list", folder));
    return base_->List(folder);
  }
  Status Delete(const std::string& location) override {
    K2_TRY(Pass("delete", location));
    return base_->Delete(location);
  }

 private:
  Status Pass(std::string_view operation, const std::string& location) {
    if (off_) return Fail(ErrorKind::kIo, "cannot {} {}: the power is off", operation, location);
    const int result = faults_->Pass(operation, location);
    if (result < 0) return std::unexpected(ErrnoError(-result, operation, location));
    return {};
  }

  std::shared_ptr<FaultList> faults_;
  std::shared_ptr<FileIo> base_;
  std::shared_ptr<PowerLossDisk> disk_;
  std::atomic<bool> off_{false};
};

}  // namespace

std::shared_ptr<FaultyFileIo> FaultyFileIo::OverLocalDisk() {
  auto faults = std::make_shared<FaultList>();
  auto disk = std::make_shared<PowerLossDisk>(
      [faults](std::string_view operation, const std::string& path) { return faults->Pass(operation, path); });
  return std::make_shared<FaultyFileIoImpl>(faults, MakeLocalFileIo(disk), disk);
}

std::shared_ptr<FaultyFileIo> FaultyFileIo::Over(std::shared_ptr<FileIo> base) {
  return std::make_shared<FaultyFileIoImpl>(std::make_shared<FaultList>(), std::move(base), nullptr);
}

}  // namespace k2::storage
