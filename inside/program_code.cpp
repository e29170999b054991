// SPDX-License-Identifier: Apache-2.0
#include "inside/program_code.hpp"

#include <string.h>
#include <sys/mman.h>

#include <algorithm>

#include "arch/code.hpp"
#include "base/os.hpp"
#include "elf/loaded_objects.hpp"
#include "inside/take_over.hpp"

namespace mallard::inside {
bool ProgramCode::refuse(std::string_view why, std::string_view next) noexcept {
  plan_.why.clear();
  plan_.why.add(why);
  plan_.next.clear();
  plan_.next.add(next);
  return false;
}

bool ProgramCode::refuse_denied(std::string_view what) noexcept {
  plan_.why.clear();
  plan_.why.add("the system does not let ").add(what).add(" (MemoryDenyWriteExecute, SELinux)");
  plan_.next.clear();
  plan_.next.add("allow it for this process, for instance MemoryDenyWriteExecute=no");
  return false;
}

unsigned char* ProgramCode::at(std::uint64_t address) const noexcept {
  return reinterpret_cast<unsigned char*>(elf::first_object()->l_addr + address);
}

ProgramCode::Piece ProgramCode::piece(std::size_t number) const noexcept {
  if (number < plan_.count) {
    const TakeoverEntry& e = plan_.entries[number];
    return {e.address, e.displaced, e.bytes};
  }
  const InnerBranch& b = plan_.inner[number - plan_.count];
  return {b.distance_at, sizeof b.distance, reinterpret_cast<const unsigned char*>(&b.distance)};
}

bool ProgramCode::is_as_planned() noexcept {
  const link_map* first = elf::find_definer(elf::first_object(), "malloc");
  const link_map* own = elf::own_object();
  if (!own || (first && first != own && first != elf::first_object()))
    return refuse("malloc belongs to a library that is preloaded before mallard",
                  "put libmallard.so first in LD_PRELOAD");
  if (os::thread_count() != 1) return refuse("a thread runs already, or /proc cannot be read");
  std::uintptr_t begin, end;
  if (!elf::text_range(elf::first_object(), &begin, &end))
    return refuse("its program headers cannot be read");
  lowest_ = ~std::uintptr_t{0};
  for (std::size_t i = 0; i < count(); ++i) {
    const Piece p = piece(i);
    const std::uintptr_t where = address_of(at(p.address));
    if (where < begin || where > end - p.bytes) return refuse("its file is not the program that runs");
    if (memcmp(at(p.address), p.planned, p.bytes) != 0)
      return refuse("its code in memory differs from its file: a debugger or another tool has changed it");
    lowest_ = std::min(lowest_, where);
    highest_ = std::max(highest_, where + p.bytes);
  }
  const char* why = nullptr;
  return has_not_run(&why) || refuse(view_of(why));
}

bool ProgramCode::protect(std::size_t number, int protection) noexcept {
  const Piece p = piece(number);
  if (p.bytes == 0) return true;
  const std::uintptr_t begin = address_of(at(p.address));
  const std::uintptr_t page = begin & ~(kPageBytes - 1);
  return os::protect(reinterpret_cast<void*>(page), begin + p.bytes - page, protection);
}

bool ProgramCode::open() noexcept {
  for (std::size_t i = 0; i < count(); ++i) {
    if (protect(i, PROT_READ | PROT_WRITE | PROT_EXEC)) continue;
    while (i-- > 0) protect(i, PROT_READ | PROT_EXEC);
    return refuse_denied("its code be changed");
  }
  return true;
}

void ProgramCode::write_jump(const TakeoverEntry& entry, std::uintptr_t to) noexcept {
  arch::write_jump(at(entry.address), address_of(at(entry.address)), to);
}

void ProgramCode::lead(const InnerBranch& branch, std::uintptr_t to) noexcept {
  unsigned char* const distance_at = at(branch.distance_at);
  const auto distance = static_cast<std::uint32_t>(to - (address_of(distance_at) + sizeof branch.distance));
  memcpy(distance_at, &distance, sizeof distance);
}

void ProgramCode::close() noexcept {
  for (std::size_t i = 0; i < count(); ++i) protect(i, PROT_READ | PROT_EXEC);
}

bool NewCode::map(ProgramCode& program, std::size_t bytes) noexcept {
  bytes_ = align_up(bytes, kPageBytes);
  begin_ = static_cast<unsigned char*>(os::map_near(program.lowest(), program.highest(), bytes_));
  return begin_ || program.refuse("there is no free memory within 1 GiB of its code");
}

bool NewCode::close(ProgramCode& program) noexcept {
  return os::protect(begin_, bytes_, PROT_READ | PROT_EXEC) || program.refuse_denied("code be made");
}

void NewCode::drop() noexcept { os::unmap(begin_, bytes_); }

}  // namespace mallard::inside
