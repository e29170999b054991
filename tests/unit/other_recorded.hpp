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

/// Another process that is gone after it has been copied from so often.
class EndingProcess : public mallard::ProcessMemory {
  const mallard::ProcessMemory& under_;
  const std::uint64_t most_;
  mutable std::uint64_t copies_ = 0;

  static const EndingProcess& of(const mallard::ProcessMemory& self) { return static_cast<const EndingProcess&>(self); }
  bool is_gone() const { return copies_++ >= most_; }
  static constexpr Access kAccess = {
      .in_place = false,
      .copy = [](const mallard::ProcessMemory& self, void* to, std::uintptr_t from, std::size_t bytes) noexcept {
        return !of(self).is_gone() && of(self).under_.copy(to, from, bytes);
      },
      .copy_pieces = [](const mallard::ProcessMemory& self, void* to, const std::uintptr_t* from, std::size_t count,
                        std::size_t bytes) noexcept {
        return of(self).is_gone() ? std::size_t{0} : of(self).under_.copy_pieces(to, from, count, bytes);
      },
      .pages_present = [](const mallard::ProcessMemory& self, std::uintptr_t begin, std::size_t pages,
                          unsigned char* present) noexcept { return of(self).under_.pages_present(begin, pages, present); },
      .add_path = [](const mallard::ProcessMemory& self, std::string_view name,
                     mallard::TextBuffer& to) noexcept { to.add(Path(of(self).under_, name).view()); },
  };

 public:
  EndingProcess(const mallard::ProcessMemory& under, std::uint64_t most)
      : ProcessMemory(kAccess), under_(under), most_(most) {}
  std::uint64_t copies() const { return copies_; }
};

/// Whether `adopt` says no of a process that ends at any moment before all has been copied, and yes after.
/// \return 0, or a line of EXPECT
template <class Adopt>
int is_refused_unless_whole(const mallard::OtherParts& parts, Adopt adopt) {
  const mallard::OwnParts own = mallard::own_parts();
  const auto adopted = [&](std::uint64_t most, std::uint64_t* copies) {
    const EndingProcess process(parts.process(), most + 1);  // the first copy is that of the table of parts
    const mallard::OtherParts ending(process, mallard::address_of(own.begin),
                                     static_cast<std::uint64_t>(own.end - own.begin));
    const bool done = adopt(ending);
    if (copies) *copies = process.copies() - 1;
    return done;
  };
  std::uint64_t needed = 0;
  EXPECT(adopted(~std::uint64_t{0} - 1, &needed));
  for (std::uint64_t most = 0; most < needed; ++most) EXPECT(!adopted(most, nullptr));
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
