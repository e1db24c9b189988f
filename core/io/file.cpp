#include <graft/core/io/file.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include <graft/kernels/api/error.h>

namespace graft::io {
namespace {

// Linux moves less than 2 GiB a call.
constexpr std::size_t kMostAtOnce = std::size_t{1} << 30;

[[noreturn]] void fail_system(const char* what, const std::string& path) {
  const int reason = errno;
  fail("cannot ", what, " ", path, ": ", std::strerror(reason));
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// The rename itself is safe on disk only when the folder is.
void sync_folder(const std::string& path) {
  const std::string folder = folder_of(path);
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;  // a folder that may be written but not listed
  const int result = ::fsync(descriptor);
  const int reason = errno;
  ::close(descriptor);
  // Some file systems do not sync folders; they say so by EINVAL.
  check(result == 0 || reason == EINVAL || reason == ENOTSUP, "cannot sync folder ", folder, ": ",
        std::strerror(reason));
}

}  // namespace

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  // Without O_NONBLOCK the opening of a pipe waits for a writer.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) fail_system("open", path_);
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    const int reason = errno;
    ::close(descriptor_);
    check(known, "cannot examine ", path_, ": ", std::strerror(reason));
    fail("cannot read ", path_, ": ", S_ISDIR(status.st_mode) ? "it is a folder" : "it is not a regular file");
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::~InputFile() { ::close(descriptor_); }

void InputFile::read(std::uint64_t offset, void* to, std::size_t bytes) const {
  auto* out = static_cast<std::uint8_t*>(to);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, out, std::min(bytes, kMostAtOnce), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_system("read", path_);
    check(got > 0, "cannot read ", path_, ": it ends at byte ", offset, ", ", bytes, " bytes before expected");
    out += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::size_t>(got);
  }
}

std::vector<std::uint8_t> read_file(const std::string& path) {
  const InputFile file(path);
  std::vector<std::uint8_t> bytes(file.size());
  file.read(0, bytes.data(), bytes.size());
  return bytes;
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  static std::atomic<unsigned> counter = 0;
  // mkstemp() would give the file to its owner alone; this way the permissions are those of any new file.
  do {
    temporary_ = cat(path_, ".", static_cast<long>(::getpid()), "-", counter++, ".tmp");
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EEXIST);
  if (descriptor_ < 0) fail_system("create a file beside", path_);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  check(descriptor_ >= 0, "cannot write ", path_, ": it is already committed");
  const auto* from = static_cast<const std::uint8_t*>(data);
  while (bytes > 0) {
    const ssize_t put = ::write(descriptor_, from, std::min(bytes, kMostAtOnce));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail_system("write", path_);
    from += put;
    bytes -= static_cast<std::size_t>(put);
  }
}

void AtomicFile::commit() {
  check(descriptor_ >= 0, "cannot commit ", path_, ": it is already committed");
  if (::fsync(descriptor_) != 0) fail_system("sync", path_);
  // Closed before the rename: a network file system reports a full disk only here.
  const int closed = ::close(std::exchange(descriptor_, -1));
  if (closed != 0) fail_system("close", path_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_system("replace", path_);
  temporary_.clear();
  sync_folder(path_);
}

}  // namespace graft::io
