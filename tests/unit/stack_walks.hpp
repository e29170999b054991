// SPDX-License-Identifier: Apache-2.0
// Walks of stacks for the tests: functions of every shape in which a stack is captured and, at the same call,
// walked by libunwind; threads and children to run them in.
#pragma once

#include <pthread.h>
#include <setjmp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "unwind/stacks.hpp"
#include "unwind/unwinder.hpp"

#define NOINLINE __attribute__((noinline, noclone))

namespace stack_walks {

using namespace mallard::unwind;

inline volatile int g_sink;
inline void after_call() { g_sink = g_sink + 1; }  // keeps calls from becoming jumps
inline void after_loop(volatile int* i) { *i = *i + 1; }

struct Stack {
  int n = 0;
  std::uintptr_t pcs[kMaxDepth];

  bool has(const void* function) const {
    for (int i = 0; i < n; ++i)
      if (in(i, function)) return true;
    return false;
  }
  /// Whether frame `i` returns into `function`, taken to be less than 512 bytes long.
  bool in(int i, const void* function) const {
    return i < n && pcs[i] - reinterpret_cast<std::uintptr_t>(function) < 512;
  }
  bool operator==(const Stack& other) const { return n == other.n && std::equal(pcs, pcs + n, other.pcs); }
};

struct Pair {
  Stack captured, unwound;
  bool operator()() const { return captured == unwound; }
};

inline void init() {
  static const bool done = (stacks_init(), true);
  (void)done;
}

// The two walks start at one call, as malloc would.
inline NOINLINE void take(Pair* pair) {
  const Caller caller = MALLARD_CALLER();
  pair->captured.n = capture_stack(caller, pair->captured.pcs, kMaxDepth);
  StackReader reader(caller.return_slot);
  bool truncated;
  pair->unwound.n = unwind_fully(caller, reader, pair->unwound.pcs, kMaxDepth, &truncated);
  after_call();
}
inline NOINLINE int capture(Stack* stack, int max = kMaxDepth) {
  stack->n = capture_stack(MALLARD_CALLER(), stack->pcs, max);
  after_call();
  return stack->n;
}

__attribute__((optimize("omit-frame-pointer"))) inline NOINLINE void without_frame_pointer(Pair* p) {
  take(p);
  after_call();
}
__attribute__((optimize("no-omit-frame-pointer"))) inline NOINLINE void with_frame_pointer(Pair* p) {
  without_frame_pointer(p);
  after_call();
}
// The call is the last instruction: what follows it belongs to another function.
[[noreturn]] inline NOINLINE void never_returns(Pair* p, jmp_buf* back) {
  without_frame_pointer(p);
  longjmp(*back, 1);
}
[[noreturn]] inline NOINLINE void ends_in_a_call(Pair* p, jmp_buf* back) {
  volatile char space[300];
  space[0] = 1;
  g_sink = space[0];
  never_returns(p, back);
}
inline NOINLINE void with_alloca(Pair* p, int n) {
  volatile char* space = static_cast<char*>(__builtin_alloca(static_cast<std::size_t>(n)));
  space[0] = 1;
  with_frame_pointer(p);
  after_call();
}
inline NOINLINE void realigned(Pair* p) {
  alignas(128) volatile char space[256];
  space[0] = 1;
  g_sink = space[0];
  with_alloca(p, 1000);
  after_call();
}
inline NOINLINE void realigned_with_alloca(Pair* p, int n) {
  alignas(64) volatile char space[128];
  volatile char* more = static_cast<char*>(__builtin_alloca(static_cast<std::size_t>(n)));
  space[0] = 1;
  more[0] = space[0];
  realigned(p);
  after_call();
}

/// Runs `f` in a child that must end well, and not hang. \return its wait status
template <typename F>
int in_child(F f, unsigned seconds = 120) {
  const pid_t pid = fork();
  if (pid == 0) {
    alarm(seconds);
    _exit(f() ? 0 : 1);
  }
  int status = -1;
  waitpid(pid, &status, 0);
  return status;
}

struct Thread {
  template <typename F>
  explicit Thread(F f, std::size_t stack_bytes = 0) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    if (stack_bytes) pthread_attr_setstacksize(&attributes, stack_bytes);
    created = pthread_create(
                  &id, &attributes,
                  [](void* p) -> void* {
                    F body = *static_cast<F*>(p);
                    body();
                    return nullptr;
                  },
                  new F(f)) == 0;
  }
  ~Thread() {
    if (created) pthread_join(id, nullptr);
  }
  pthread_t id{};
  bool created;
};

inline void wait_for(const std::atomic<bool>& flag) {
  while (!flag.load()) usleep(100);
}

}  // namespace stack_walks
