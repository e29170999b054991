// SPDX-License-Identifier: Apache-2.0
#include "report/facts/cgroup.hpp"

#include <fcntl.h>
#include <string.h>

#include <algorithm>
#include <initializer_list>
#include <optional>

#include "base/os.hpp"
#include "base/text.hpp"
#include "report/facts/proc_fields.hpp"

namespace mallard::report {
namespace {

using Path = FixedText<4096>;

constexpr std::size_t kStatBytes = 16384;

/// A file of lines "name value".
class Fields {
 public:
  Fields(char* room, std::string_view folder, const char* file) noexcept {
    Path path;
    path.add(folder).add('/').add(view_of(file));
    const long n = os::read_file(path.c_str(), room, kStatBytes);
    text_ = {room, n > 0 ? static_cast<std::size_t>(n) : 0};
  }
  std::optional<std::uint64_t> find(std::string_view name) const noexcept {
    return find_field(text_, name, ' ');
  }
  std::uint64_t get(std::string_view name) const noexcept { return find(name).value_or(0); }

 private:
  std::string_view text_;
};

/// \return nothing if it has no number: "max"
std::optional<std::uint64_t> read_number(std::string_view folder, const char* file) noexcept {
  Path path;
  path.add(folder).add('/').add(view_of(file));
  char text[64];
  const long n = os::read_file(path.c_str(), text, sizeof text);
  if (n <= 0 || text[0] < '0' || text[0] > '9') return {};
  return leading_number(view_of(text));
}

/// Which hierarchy has the process's memory, and where in it the process is: a line of /proc/PID/cgroup.
struct Place {
  int version;
  std::string_view path;
};

Place place_in(std::string_view lines) noexcept {
  Place place{0, {}};
  while (!lines.empty()) {
    const std::string_view line = part_of(lines, 0, lines.find('\n'));
    lines = part_of(lines, line.size() + 1);
    const std::size_t first = line.find(':'), second = line.find(':', std::min(first, line.size() - 1) + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string_view controllers = part_of(line, first + 1, second - first - 1);
    const std::string_view path = part_of(line, second + 1);
    if (controllers == "memory") return {1, path};
    if (controllers.empty()) place = {2, path};
  }
  return place;
}

/// How many processes are in a cgroup. \return 0 if `id` is not among them
std::uint32_t count_processes(std::string_view folder, std::uint64_t id) noexcept {
  Path path;
  path.add(folder).add("/cgroup.procs");
  const long fd = os::open(path.c_str(), O_RDONLY);
  if (fd < 0) return 0;
  std::uint32_t count = 0;
  std::uint64_t number = 0;
  bool is_in = false;
  char text[4096];
  for (long n; (n = os::call(SYS_read, fd, os::arg(text), sizeof text)) > 0;)
    for (long i = 0; i < n; ++i) {
      if (text[i] != '\n') {
        number = 10 * number + static_cast<std::uint64_t>(text[i] - '0');
        continue;
      }
      is_in = is_in || number == id;
      ++count;
      number = 0;
    }
  os::close(static_cast<int>(fd));
  return is_in ? count : 0;
}

void read_parts_of_2(char* room, std::string_view folder, CgroupCharge* out) noexcept {
  const Fields stat(room, folder, "memory.stat");
  out->anonymous = stat.get("anon");
  out->shared_memory = stat.get("shmem");
  out->page_cache = stat.get("file") - std::min(stat.get("file"), out->shared_memory);
  out->page_tables = stat.get("pagetables") + stat.get("sec_pagetables");
  out->kernel_stacks = stat.get("kernel_stack");
  // "kernel" is their sum since Linux 5.18.
  const std::uint64_t kernel = stat.find("kernel").value_or(out->page_tables + out->kernel_stacks +
                                                           stat.get("slab") + stat.get("percpu"));
  out->other_kernel =
      kernel - std::min(kernel, out->page_tables + out->kernel_stacks) + stat.get("sock");
  out->is_alone = true;
}

/// Version 1 tells the kernel's part as one sum, page tables and stacks included: of a process that is alone
/// its own page tables are theirs. \return whether something lies below
void read_parts_of_1(char* room, std::string_view folder, const ProcessMemory& process,
                     CgroupCharge* out) noexcept {
  const Fields stat(room, folder, "memory.stat");
  out->anonymous = stat.get("rss");
  out->shared_memory = stat.get("shmem");
  out->page_cache = stat.get("cache") - std::min(stat.get("cache"), out->shared_memory);
  out->is_alone = stat.get("total_rss") == stat.get("rss") && stat.get("total_cache") == stat.get("cache");
  const std::uint64_t kernel = read_number(folder, "memory.kmem.usage_in_bytes").value_or(0);
  out->page_tables = std::min(kernel, 1024 * field(StatusFile(process).text(), "VmPTE"));
  out->other_kernel = kernel - out->page_tables;
}

/// Version 2: whether cgroups below have memory of their own, which the sums contain.
bool has_cgroups_below(char* room, std::string_view folder) noexcept {
  return Fields(room, folder, "cgroup.stat").get("nr_descendants") > 0;
}

/// \return false if the process is not in that cgroup
bool read_at(Arena& arena, const ProcessMemory& process, std::string_view folder, CgroupCharge* out) noexcept {
  const bool is_2 = out->version == 2;
  const auto charged = read_number(folder, is_2 ? "memory.current" : "memory.usage_in_bytes");
  if (!charged) return false;
  out->processes = count_processes(folder, field(StatusFile(process).text(), "Pid"));
  if (out->processes == 0) return false;
  out->charged = *charged;
  // What version 1 calls no limit is the largest number of whole pages.
  constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 62;
  const auto limit = read_number(folder, is_2 ? "memory.max" : "memory.limit_in_bytes");
  out->has_limit = limit && *limit < kNoLimit;
  out->limit = out->has_limit ? *limit : 0;
  out->known = true;
  char* room = arena.array<char>(kStatBytes);
  if (out->processes > 1 || !room || (is_2 && has_cgroups_below(room, folder))) return true;
  if (is_2) read_parts_of_2(room, folder, out);
  else read_parts_of_1(room, folder, process, out);
  return true;
}

}  // namespace

CgroupCharge read_cgroup(Arena& arena, const ProcessMemory& process, std::string_view mount) noexcept {
  CgroupCharge out{};
  char* lines = arena.array<char>(kStatBytes);
  const long n = lines ? process.read_file("cgroup", lines, kStatBytes) : 0;
  const Place place = place_in({lines, n > 0 ? static_cast<std::size_t>(n) : 0});
  if (place.version == 0) return out;
  out.version = place.version;
  out.path = place.path;
  // In a container without a namespace for cgroups the path is the host's, and the mount its own.
  for (const std::string_view path : {place.path, std::string_view("/")}) {
    Path folder;
    folder.add(mount).add(place.version == 1 ? "/memory" : "").add(path == "/" ? "" : path);
    if (path.find("/..") == path.npos && read_at(arena, process, folder.view(), &out)) return out;
  }
  return CgroupCharge{};
}

}  // namespace mallard::report
