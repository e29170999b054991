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

#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/lock.hpp"
#include "base/parts.hpp"
#include "outside/other_process.hpp"
#include "tests/unit/catch.hpp"

/// In a function that returns int: leaves it with the number of the line if the condition does not hold.
#define EXPECT(condition) \
  do {                    \
    if (!(condition)) return __LINE__; \
  } while (0)

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
