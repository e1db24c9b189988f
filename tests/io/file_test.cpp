#include <graft/core/io/file.h>

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <graft/core/io/safetensors.h>

#include "support/temporary_folder.h"

namespace graft::io {
namespace {

using test::get_file;
using test::put_file;
using test::TemporaryFolder;

using Names = std::vector<std::string>;

/// No file may grow over `bytes` while it lives: a disk that is full, without filling one.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  sighandler_t handler_;
};

TEST(ReadFile, ReadsAllBytes) {
  const TemporaryFolder folder;
  const std::string bytes("a\0b\xff\n", 5);
  put_file(folder / "f", bytes);
  const std::vector<std::uint8_t> read = read_file(folder / "f");
  EXPECT_EQ(std::string(read.begin(), read.end()), bytes);
}

TEST(ReadFile, EmptyFile) {
  const TemporaryFolder folder;
  put_file(folder / "f", "");
  EXPECT_TRUE(read_file(folder / "f").empty());
}

TEST(ReadFile, MissingFileNamesPathAndReason) {
  const TemporaryFolder folder;
  EXPECT_ERROR(read_file(folder / "nothing"), folder / "nothing");
  EXPECT_ERROR(read_file(folder / "nothing"), "No such file");
}

TEST(ReadFile, FolderIsRefused) {
  const TemporaryFolder folder;
  EXPECT_ERROR(read_file(folder.path()), "it is a folder");
}

TEST(ReadFile, PipeIsRefusedWithoutWaitingForAWriter) {
  const TemporaryFolder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_ERROR(read_file(folder / "pipe"), "not a regular file");
}

TEST(InputFile, ReadsAtOffsetsAndRefusesToPassTheEnd) {
  const TemporaryFolder folder;
  put_file(folder / "f", "0123456789");
  const InputFile file(folder / "f");
  EXPECT_EQ(file.size(), 10u);
  char text[4] = {};
  file.read(6, text, 4);
  EXPECT_EQ(std::string(text, 4), "6789");
  EXPECT_ERROR(file.read(7, text, 4), "it ends at byte 10");
}

TEST(AtomicFile, CommitMakesTheFileAndNothingElse) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "f");
  file.write("one ");
  file.write("two");
  EXPECT_FALSE(std::filesystem::exists(folder / "f"));
  file.commit();
  EXPECT_EQ(get_file(folder / "f"), "one two");
  EXPECT_EQ(folder.names(), Names{"f"});
}

TEST(AtomicFile, WithoutCommitTheOldFileStays) {
  const TemporaryFolder folder;
  put_file(folder / "f", "old");
  {
    AtomicFile file(folder / "f");
    file.write("new");
  }
  EXPECT_EQ(get_file(folder / "f"), "old");
  EXPECT_EQ(folder.names(), Names{"f"});
}

TEST(AtomicFile, CommitReplacesTheOldFile) {
  const TemporaryFolder folder;
  put_file(folder / "f", "a longer old file");
  AtomicFile file(folder / "f");
  file.write("new");
  file.commit();
  EXPECT_EQ(get_file(folder / "f"), "new");
}

TEST(AtomicFile, PermissionsAreThoseOfANewFile) {
  const TemporaryFolder folder;
  const mode_t before = umask(022);
  AtomicFile file(folder / "f");
  file.commit();
  umask(before);
  struct stat status {};
  ASSERT_EQ(stat((folder / "f").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0644u);
}

TEST(AtomicFile, TwoWritersOfOnePathDoNotMix) {
  const TemporaryFolder folder;
  AtomicFile a(folder / "f"), b(folder / "f");
  a.write("a");
  b.write("b");
  b.commit();
  a.commit();
  EXPECT_EQ(get_file(folder / "f"), "a");
  EXPECT_EQ(folder.names(), Names{"f"});
}

TEST(AtomicFile, NothingAfterCommit) {
  const TemporaryFolder folder;
  AtomicFile file(folder / "f");
  file.commit();
  EXPECT_ERROR(file.write("more"), "already committed");
  EXPECT_ERROR(file.commit(), "already committed");
}

TEST(AtomicFile, MissingFolderNamesThePath) {
  const TemporaryFolder folder;
  EXPECT_ERROR(AtomicFile(folder / "no/f"), folder / "no/f");
  EXPECT_ERROR(AtomicFile(folder / "no/f"), "No such file");
}

TEST(AtomicFile, ParentThatIsAFile) {
  const TemporaryFolder folder;
  put_file(folder / "f", "x");
  EXPECT_ERROR(AtomicFile(folder / "f/g"), "Not a directory");
}

TEST(AtomicFile, TargetThatIsAFolder) {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "d");
  {
    AtomicFile file(folder / "d");
    file.write("x");
    EXPECT_ERROR(file.commit(), "cannot replace");
  }
  EXPECT_EQ(folder.names(), Names{"d"});
}

TEST(AtomicFile, FailedWriteLeavesTheOldFileAndNoOther) {
  const TemporaryFolder folder;
  put_file(folder / "f", "old");
  {
    const FileSizeLimit limit(1000);
    AtomicFile file(folder / "f");
    EXPECT_ERROR(file.write(std::string(5000, 'x')), "File too large");
  }
  EXPECT_EQ(get_file(folder / "f"), "old");
  EXPECT_EQ(folder.names(), Names{"f"});
}

TEST(WriteSafetensors, FailedWriteLeavesTheOldFileAndNoOther) {
  const TemporaryFolder folder;
  write_safetensors(folder / "w", {{"a", Tensor::ones({2})}});
  const std::string before = get_file(folder / "w");
  {
    const FileSizeLimit limit(1000);
    EXPECT_ERROR(write_safetensors(folder / "w", {{"a", Tensor::ones({5000})}}), "File too large");
  }
  EXPECT_EQ(get_file(folder / "w"), before);
  EXPECT_EQ(folder.names(), Names{"w"});
}

TEST(WriteSafetensors, RefusedContentLeavesTheOldFileAndNoOther) {
  const TemporaryFolder folder;
  put_file(folder / "w", "old");
  EXPECT_ERROR(write_safetensors(folder / "w", {{"a", Tensor::ones({2})}, {"a", Tensor::ones({2})}}),
               "duplicate name 'a'");
  EXPECT_EQ(get_file(folder / "w"), "old");
  EXPECT_EQ(folder.names(), Names{"w"});
}

TEST(WriteSafetensors, UnwritableFolder) {
  const TemporaryFolder folder;
  EXPECT_ERROR(write_safetensors(folder / "no/w", {{"a", Tensor::ones({2})}}), "No such file");
  EXPECT_TRUE(folder.names().empty());
}

}  // namespace
}  // namespace graft::io
