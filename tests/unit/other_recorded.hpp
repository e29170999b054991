// SPDX-License-Identifier: Apache-2.0
// Two processes for tests of what is adopted from another one: one records, and stands still; the other, its
// parent, adopts what it recorded, and says whether that is as expected. Both end with it: the books of the test's
// own process stay as they are.
#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/lock.hpp"
#include "base/parts.hpp"
#include "base/process_memory.hpp"
#include "base/text.hpp"
#include "outside/other_process.hpp"
#include "tests/unit/catch.hpp"

/// In a function that returns int: leaves it with the number of the line if the condition does not hold.
#define EXPECT(condition) \
  do {                    \
    if (!(condition)) return __LINE__; \
  } while (0)

/// Another process whose word at `at` grows with each of the first `changes` times that it is copied.
class ChangingProcess : public mallard::ProcessMemory {
  const mallard::ProcessMemory& under_;
  const std::uintptr_t at_;
  const std::uint64_t changes_;
  mutable std::uint64_t copies_ = 0;

  static const ChangingProcess& of(const mallard::ProcessMemory& self) {
    return static_cast<const ChangingProcess&>(self);
  }
  bool copy_here(void* to, std::uintptr_t from, std::size_t bytes) const {
    if (!under_.copy(to, from, bytes)) return false;
    if (at_ < from || at_ + sizeof(std::uint64_t) > from + bytes) return true;
    char* const word = static_cast<char*>(to) + (at_ - from);
    std::uint64_t value;
    std::memcpy(&value, word, sizeof value);
    value += copies_ < changes_ ? copies_ : changes_;
    ++copies_;
    std::memcpy(word, &value, sizeof value);
    return true;
  }
  static constexpr Access kAccess = {
      .in_place = false,
      .copy = [](const mallard::ProcessMemory& self, void* to, std::uintptr_t from,
                 std::size_t bytes) noexcept { return of(self).copy_here(to, from, bytes); },
      .copy_pieces = [](const mallard::ProcessMemory& self, void* to, const std::uintptr_t* from, std::size_t count,
                        std::size_t bytes) noexcept { return of(self).under_.copy_pieces(to, from, count, bytes); },
      .pages_present = [](const mallard::ProcessMemory& self, std::uintptr_t begin, std::size_t pages,
                          unsigned char* present) noexcept { return of(self).under_.pages_present(begin, pages, present); },
      .add_path = [](const mallard::ProcessMemory& self, std::string_view name,
                     mallard::TextBuffer& to) noexcept { to.add(Path(of(self).under_, name).view()); },
  };

 public:
  ChangingProcess(const mallard::ProcessMemory& under, std::uintptr_t at, std::uint64_t changes)
      : ProcessMemory(kAccess), under_(under), at_(at), changes_(changes) {}
};

/// Another process of which one copy fails, that after so many others.
class FailingProcess : public mallard::ProcessMemory {
  const mallard::ProcessMemory& under_;
  const std::uint64_t before_;
  mutable std::uint64_t copies_ = 0;

  static const FailingProcess& of(const mallard::ProcessMemory& self) { return static_cast<const FailingProcess&>(self); }
  bool fails() const { return copies_++ == before_; }
  static constexpr Access kAccess = {
      .in_place = false,
      .copy = [](const mallard::ProcessMemory& self, void* to, std::uintptr_t from, std::size_t bytes) noexcept {
        return !of(self).fails() && of(self).under_.copy(to, from, bytes);
      },
      .copy_pieces = [](const mallard::ProcessMemory& self, void* to, const std::uintptr_t* from, std::size_t count,
                        std::size_t bytes) noexcept {
        return of(self).fails() ? std::size_t{0} : of(self).under_.copy_pieces(to, from, count, bytes);
      },
      .pages_present = [](const mallard::ProcessMemory& self, std::uintptr_t begin, std::size_t pages,
                          unsigned char* present) noexcept { return of(self).under_.pages_present(begin, pages, present); },
      .add_path = [](const mallard::ProcessMemory& self, std::string_view name,
                     mallard::TextBuffer& to) noexcept { to.add(Path(of(self).under_, name).view()); },
  };

 public:
  FailingProcess(const mallard::ProcessMemory& under, std::uint64_t before)
      : ProcessMemory(kAccess), under_(under), before_(before) {}
  std::uint64_t copies() const { return copies_; }
};

/// Whether `adopt` says no if any of its copies fails, and yes if none does.
/// \return 0, or a line of EXPECT
template <class Adopt>
int is_refused_unless_whole(const mallard::OtherParts& parts, Adopt adopt) {
  const mallard::OwnParts own = mallard::own_parts();
  const auto adopted = [&](std::uint64_t before, std::uint64_t* copies) {
    const FailingProcess process(parts.process(), before + 1);  // the first copy is that of the table of parts
    const mallard::OtherParts failing(process, mallard::address_of(own.begin),
                                     static_cast<std::uint64_t>(own.end - own.begin));
    const bool done = adopt(failing);
    if (copies) *copies = process.copies() - 1;
    return done;
  };
  std::uint64_t needed = 0;
  EXPECT(adopted(~std::uint64_t{0} - 1, &needed));
  for (std::uint64_t before = 0; before < needed; ++before) EXPECT(!adopted(before, nullptr));
  EXPECT(adopted(needed, nullptr));
  return 0;
}

/// A global that is a part, by its name, to be read or damaged.
template <class T>
T& part_of_own(std::string_view name) {
  const mallard::OwnParts own = mallard::own_parts();
  for (const mallard::Part* part = own.begin; part != own.end; ++part)
    if (std::string_view(part->name, strnlen(part->name, sizeof part->name)) == name && part->bytes == sizeof(T))
      return *static_cast<T*>(const_cast<void*>(part->at));
  _exit(255);
}

/// \param record   runs in the process that is adopted from; gets `shared`
/// \param examine  runs in the one that adopts; gets its parts and `shared`. \return 0, or a line of EXPECT
/// \return what `examine` did, or -1 if one of the two crashed
template <class Shared, class Record, class Examine>
int examined_from_outside(Record record, Examine examine) {
  struct Both {
    int result;
    Shared shared;
  };
  void* const memory = mmap(nullptr, sizeof(Both), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return -1;
  int* const result = &static_cast<Both*>(memory)->result;
  Shared* const shared = &static_cast<Both*>(memory)->shared;
  *result = -1;
  int ready[2];
  if (pipe(ready) != 0) return -1;
  const pid_t reader = fork();
  if (reader == 0) {
    const pid_t recorded = fork();
    if (recorded == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      mallard::Lock::after_fork_in_child();
      record(shared);
      if (write(ready[1], "", 1) != 1) _exit(1);
      for (;;) pause();
    }
    close(ready[1]);
    char byte;
    if (read(ready[0], &byte, 1) == 1) {
      mallard::Lock::after_fork_in_child();
      const mallard::outside::OtherProcess process(recorded);
      const mallard::OwnParts own = mallard::own_parts();
      const mallard::OtherParts parts(process, mallard::address_of(own.begin),
                                      static_cast<std::uint64_t>(own.end - own.begin));
      *result = examine(parts, shared);
    }
    kill(recorded, SIGKILL);
    waitpid(recorded, nullptr, 0);
    _exit(0);
  }
  close(ready[0]);
  close(ready[1]);
  waitpid(reader, nullptr, 0);
  const int line = *result;
  munmap(memory, sizeof(Both));
  return line;
}
