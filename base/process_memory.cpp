// SPDX-License-Identifier: Apache-2.0
#include "base/process_memory.hpp"

#include "base/os.hpp"

namespace mallard {
namespace {

constexpr ProcessMemory::Access kOwnAccess = {
    .in_place = true,
    .copy = [](const ProcessMemory&, void* to, std::uintptr_t from,
               std::size_t bytes) noexcept { return os::copy_if_readable(to, from, bytes); },
    .copy_pieces =
        [](const ProcessMemory&, void* to, const std::uintptr_t* from, std::size_t count,
           std::size_t bytes) noexcept { return os::copy_pieces_if_readable(to, from, count, bytes); },
    .pages_present = [](const ProcessMemory&, std::uintptr_t begin, std::size_t pages,
                        unsigned char* present) noexcept { return os::pages_present(begin, pages, present); },
    .add_path = [](const ProcessMemory&, std::string_view name,
                   TextBuffer& to) noexcept { to.add("/proc/self/").add(name); },
};

class OwnMemory : public ProcessMemory {
 public:
  constexpr OwnMemory() noexcept : ProcessMemory(kOwnAccess) {}
};
constinit const OwnMemory g_own;

}  // namespace

const ProcessMemory& own_process() noexcept { return g_own; }

long ProcessMemory::read_file(std::string_view name, char* to, std::size_t bytes) const noexcept {
  return os::read_file(Path(*this, name).c_str(), to, bytes);
}

}  // namespace mallard
