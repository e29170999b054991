// SPDX-License-Identifier: Apache-2.0
#include "outside/other_process.hpp"

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>

#include "base/os.hpp"
#include "base/pagemap.hpp"

namespace mallard::outside {
namespace {

/// \return bytes that were copied, or a negated errno
long copy_from(int pid, void* to, std::size_t bytes, const iovec* from, std::size_t pieces) noexcept {
  const iovec here{to, bytes};
  return os::call(SYS_process_vm_readv, pid, os::arg(&here), 1, os::arg(from), static_cast<long>(pieces), 0);
}

iovec remote(std::uintptr_t at, std::size_t bytes) noexcept { return {reinterpret_cast<void*>(at), bytes}; }

}  // namespace

constexpr ProcessMemory::Access OtherProcess::kAccess = {
    .in_place = false,
    .copy =
        [](const ProcessMemory& self, void* to, std::uintptr_t from, std::size_t bytes) noexcept {
          const iovec there = remote(from, bytes);
          return copy_from(static_cast<const OtherProcess&>(self).pid_, to, bytes, &there, 1) ==
                 static_cast<long>(bytes);
        },
    .copy_pieces =
        [](const ProcessMemory& self, void* to, const std::uintptr_t* from, std::size_t count,
           std::size_t bytes) noexcept {
          iovec there[os::kMaxPieces];
          count = std::min(count, os::kMaxPieces);
          for (std::size_t i = 0; i < count; ++i) there[i] = remote(from[i], bytes);
          const long copied =
              copy_from(static_cast<const OtherProcess&>(self).pid_, to, count * bytes, there, count);
          return copied > 0 ? static_cast<std::size_t>(copied) / bytes : 0;
        },
    .pages_present =
        [](const ProcessMemory& self, std::uintptr_t begin, std::size_t pages,
           unsigned char* present) noexcept {
          const long fd = static_cast<const OtherProcess&>(self).pagemap_;
          return fd >= 0 && pagemap::read_presence(fd, begin, pages, present);
        },
    .add_path =
        [](const ProcessMemory& self, std::string_view name, TextBuffer& to) noexcept {
          const auto pid = static_cast<std::uint64_t>(static_cast<const OtherProcess&>(self).pid_);
          to.add("/proc/").add_unsigned(pid).add('/').add(name);
        },
};

OtherProcess::OtherProcess(int pid) noexcept
    : ProcessMemory(kAccess), pid_(pid), pagemap_(os::open(Path(*this, "pagemap").c_str(), O_RDONLY)) {}

OtherProcess::~OtherProcess() {
  if (pagemap_ >= 0) os::close(static_cast<int>(pagemap_));
}

int OtherProcess::why_not_copied() const noexcept {
  char byte;
  const iovec nothing_there = remote(kPageBytes - 1, sizeof byte);  // EFAULT, where copying is permitted
  const long result = copy_from(pid_, &byte, sizeof byte, &nothing_there, 1);
  return result < 0 && result != -EFAULT ? static_cast<int>(-result) : 0;
}

bool OtherProcess::is_still_there() const noexcept {
  // It tells nothing of memory that is gone, and of nothing else.
  std::uint64_t entry;
  return pagemap_ < 0 || pagemap::read_entries(pagemap_, 0, 1, &entry) == 1;
}

}  // namespace mallard::outside
