// safetensors: the strokes network's weights written to and read from a temporary file (the page cache, not the disk;
// writing syncs).
#include <support.h>

#include <filesystem>
#include <system_error>

#include <unistd.h>

#include <graft/core/io/safetensors.h>
#include <graft/models/models.h>

namespace graft::bench {
namespace {

struct File {
  std::string path =
      (std::filesystem::temp_directory_path() / ("graft_bench_" + std::to_string(getpid()) + ".safetensors")).string();
  ~File() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
};

}  // namespace

void add_io() {
  double size = 0;
  for (const auto& [name, tensor] : models::strokes_net()->state_dict()) size += bytes(tensor);
  add("safetensors/write/strokes_net", {.bytes = size}, [] {
    auto file = std::make_shared<File>();
    const NamedTensors state = models::strokes_net()->state_dict();
    return [=] { io::write_safetensors(file->path, state); };
  });
  add("safetensors/read/strokes_net", {.bytes = size}, [] {
    auto file = std::make_shared<File>();
    io::write_safetensors(file->path, models::strokes_net()->state_dict());
    return [=] { io::read_safetensors(file->path); };
  });
}

}  // namespace graft::bench
