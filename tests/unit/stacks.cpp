// SPDX-License-Identifier: Apache-2.0
// Call stacks in every situation in which a program may allocate: what is captured must equal what
// libunwind says when it walks the whole stack, and what the test knows; and nothing may hang or fault.
#include "unwind/stacks.hpp"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "arch/thread.hpp"
#include "tests/unit/catch.hpp"
#include "tests/unit/stack_walks.hpp"
#include "unwind/own_stack.hpp"

using namespace mallard::unwind;
using namespace stack_walks;

TEST_CASE("stacks: nested functions of every kind") {
  init();
  Pair pair;
  for (int i = 0; i < 3; ++i) {
    realigned_with_alloca(&pair, 200 + i);
    CHECK(pair());
    CHECK(pair.captured.n > 8);
    CHECK(pair.captured.in(0, reinterpret_cast<void*>(without_frame_pointer)));
    CHECK(pair.captured.in(1, reinterpret_cast<void*>(with_frame_pointer)));
    CHECK(pair.captured.in(2, reinterpret_cast<void*>(with_alloca)));
    CHECK(pair.captured.in(3, reinterpret_cast<void*>(realigned)));
    CHECK(pair.captured.in(4, reinterpret_cast<void*>(realigned_with_alloca)));
  }
  CHECK(stack_stats().rules > 4);
  CHECK(stack_stats().rules_dropped == 0);
}

TEST_CASE("stacks: a function that ends in a call") {
  init();
  static Pair pair;
  jmp_buf back;
  if (setjmp(back) == 0) ends_in_a_call(&pair, &back);
  CHECK(pair());
  CHECK(pair.captured.in(1, reinterpret_cast<void*>(never_returns)));
  CHECK(pair.captured.in(2, reinterpret_cast<void*>(ends_in_a_call)));
  CHECK(pair.captured.n > 5);
}

TEST_CASE("stacks: through libc's own frames, a callback and a thread's root") {
  init();
  static Pair pair;
  int numbers[2] = {2, 1};
  qsort(numbers, 2, sizeof numbers[0], [](const void*, const void*) {
    take(&pair);
    return 0;
  });
  CHECK(pair());
  {
    Thread t([] { with_alloca(&pair, 40); });
  }
  CHECK(pair());
  CHECK(pair.captured.n >= 6);
}

TEST_CASE("stacks: max is kept, deep recursion loses its root end") {
  init();
  struct Recursion {
    static NOINLINE void down(int depth, Pair* p) {
      if (depth) down(depth - 1, p);
      else take(p);
      after_call();
    }
  };
  static Pair pair;
  const std::uint64_t before = stack_stats().truncated;
  Thread t([] { Recursion::down(100'000, &pair); }, std::size_t{64} << 20);
  pthread_join(t.id, nullptr);
  t.created = false;
  CHECK(pair());
  CHECK(pair.captured.n == kMaxDepth);
  CHECK(pair.captured.in(kMaxDepth - 1, reinterpret_cast<void*>(Recursion::down)));
  CHECK(stack_stats().truncated > before);
  Stack three;
  CHECK(capture(&three, 3) == 3);
  CHECK(capture(&three, 1) == 1);
}

namespace {
Pair g_signal_pair;
void on_signal(int) {
  take(&g_signal_pair);
  after_call();
}
NOINLINE void raises() {
  kill(getpid(), SIGUSR1);  // delivered to this thread, the only one that does not block it
  after_call();
}
}  // namespace

TEST_CASE("stacks: signal handlers, on the stack and on one of their own") {
  init();
  static char own[65536];
  const bool alternate = GENERATE(false, true);
  stack_t stack{};
  stack.ss_sp = own;
  stack.ss_size = sizeof own;
  REQUIRE(sigaltstack(&stack, nullptr) == 0);
  struct sigaction action {
  }, old{};
  action.sa_handler = on_signal;
  action.sa_flags = alternate ? SA_ONSTACK : 0;
  sigaction(SIGUSR1, &action, &old);
  g_signal_pair = {};
  raises();
  sigaction(SIGUSR1, &old, nullptr);
  stack.ss_flags = SS_DISABLE;
  sigaltstack(&stack, nullptr);
  CHECK(g_signal_pair());
  // on_signal, the kernel's frame, kill, raises, this test
  CHECK(g_signal_pair.captured.in(0, reinterpret_cast<void*>(on_signal)));
  CHECK(g_signal_pair.captured.has(reinterpret_cast<void*>(raises)));
  CHECK(g_signal_pair.captured.n > 8);
}

namespace {
Pair g_coroutine_pair;
NOINLINE void coroutine() {
  with_alloca(&g_coroutine_pair, 64);
  after_call();
}
}  // namespace

TEST_CASE("stacks: coroutines on allocated stacks") {
  init();
  static ucontext_t main_context, context;
  std::vector<char> stack(65536);
  for (int i = 0; i < 20; ++i) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack.data();
    context.uc_stack.ss_size = stack.size();
    context.uc_link = &main_context;
    makecontext(&context, coroutine, 0);
    swapcontext(&main_context, &context);
    REQUIRE(g_coroutine_pair());
    REQUIRE(g_coroutine_pair.captured.in(3, reinterpret_cast<void*>(coroutine)));
    REQUIRE(g_coroutine_pair.captured.n >= 4);
  }
}

namespace {
std::uintptr_t g_top_there = 1;
void look_there() {
  const char there = 0;
  g_top_there = own_stack_top(mallard::address_of(&there));
}
}  // namespace

namespace {
/// In another process, whose memory the kernel lays out anew. \return whether the case passes there
bool passes_elsewhere(const char* name) {
  constexpr const char* kTries = "STACKS_TRIES";
  const char* tries = getenv(kTries);
  const int count = tries ? atoi(tries) : 0;
  REQUIRE(count < 30);
  const pid_t child = fork();
  if (child == 0) {
    setenv(kTries, std::to_string(count + 1).c_str(), 1);
    execl("/proc/self/exe", "stack_tests", name, static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  return status == 0;
}
}  // namespace

TEST_CASE("stacks: one that borders on the first thread's descriptor is not taken for that thread's") {
  init();
  note_first_thread();
  std::uintptr_t begin, end;
  REQUIRE(find_mapping(mallard::arch::thread_descriptor(), &begin, &end));
  constexpr std::size_t kBytes = 65536;
  auto* below = reinterpret_cast<void*>(begin - kBytes);
  const void* got = mmap(below, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  if (got != MAP_FAILED) REQUIRE(got == below);
  const bool one_mapping = got != MAP_FAILED && find_mapping(mallard::arch::thread_descriptor(), &begin, &end) &&
                           begin == mallard::address_of(below);
  if (!one_mapping) {  // something lies there in one process of twenty, and of a few hundred the kernel keeps two
    if (got != MAP_FAILED) munmap(below, kBytes);
    CHECK(passes_elsewhere("stacks: one that borders*"));
    return;
  }
  t_own_stack = {};
  const char here = 0;
  REQUIRE(own_stack_top(mallard::address_of(&here)) != 0);
  static ucontext_t main_context, context;
  getcontext(&context);
  context.uc_stack.ss_sp = below;
  context.uc_stack.ss_size = kBytes;
  context.uc_link = &main_context;
  makecontext(&context, look_there, 0);
  swapcontext(&main_context, &context);
  munmap(below, kBytes);
  CHECK(g_top_there == 0);
  CHECK(own_stack_top(mallard::address_of(&here)) != 0);
}

namespace {
// Overwrites its own return address (1) or saved rbp (0) while the stack is taken.
__attribute__((optimize("no-omit-frame-pointer"))) NOINLINE void with_damage(int word, std::uintptr_t value,
                                                                             Pair* pair) {
  auto* frame = static_cast<volatile std::uintptr_t*>(__builtin_frame_address(0));
  const std::uintptr_t kept = frame[word];
  frame[word] = value;
  take(pair);
  frame[word] = kept;
}
}  // namespace

TEST_CASE("stacks: damaged frames end a stack, never the program") {
  init();
  void* unreadable = mmap(nullptr, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const std::uintptr_t heap = reinterpret_cast<std::uintptr_t>(malloc(100));
  int local = 0;
  const auto stack = reinterpret_cast<std::uintptr_t>(&local);
  for (const std::uintptr_t value :
       {std::uintptr_t{0x4141414141414141}, std::uintptr_t{0x123456}, std::uintptr_t{0}, heap, heap + 1,
        reinterpret_cast<std::uintptr_t>(unreadable), stack - 64, stack + 3, stack + (8 << 20),
        ~std::uintptr_t{0}, ~std::uintptr_t{7}, reinterpret_cast<std::uintptr_t>(&fork) + 1})
    for (const int word : {0, 1}) {
      const int status = in_child([&] {
        Pair pair;
        with_damage(word, value, &pair);
        return pair.captured.n >= 1 && pair.unwound.n >= 1;
      });
      CHECK(status == 0);
    }
}

TEST_CASE("stacks: generated code without unwind information") {
  init();
  // push rbp; mov rbp, rsp; mov rax, rsi; call rax; pop rbp; ret
  const unsigned char with_frame[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0xf0, 0xff, 0xd0, 0x5d, 0xc3};
  void* code = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(code != MAP_FAILED);
  std::memcpy(code, with_frame, sizeof with_frame);
  Pair pair;
  std::uint64_t rules = 0;
  for (volatile int i = 0; i < 2; after_loop(&i)) {  // volatile: one call, not two
    rules = stack_stats().rules;
    reinterpret_cast<void (*)(Pair*, void (*)(Pair*))>(code)(&pair, without_frame_pointer);
  }
  CHECK(pair());
  CHECK(pair.captured.in(1, code));
  CHECK(pair.captured.n > 4);
  CHECK(stack_stats().rules == rules);  // generated code may change: nothing is kept of it
  munmap(code, 4096);
}

TEST_CASE("stacks: what a capture costs", "[.bench]") {
  init();
  struct Frames {
    static NOINLINE void down(int depth, void (*f)()) {
      if (depth) down(depth - 1, f);
      else f();
      after_call();
    }
  };
  Frames::down(11, [] {
    using clock = std::chrono::steady_clock;
    Stack s;
    constexpr int kWarm = 1'000'000, kCold = 2'000;
    auto start = clock::now();
    for (int i = 0; i < kWarm; ++i) capture(&s);
    auto ns = std::chrono::duration<double, std::nano>(clock::now() - start).count();
    std::printf("warm: %.0f ns per capture of %d frames\n", ns / kWarm, s.n);
    const std::uint64_t rules = stack_stats().rules;
    start = clock::now();
    for (int i = 0; i < kCold; ++i) {
      on_module_unloaded();
      capture(&s);
    }
    ns = std::chrono::duration<double, std::nano>(clock::now() - start).count();
    std::printf("cold: %.2f us per new address\n",
                ns / 1000 / static_cast<double>(stack_stats().rules - rules));
    static Pair pair;
    start = clock::now();
    for (int i = 0; i < kCold; ++i) take(&pair);
    ns = std::chrono::duration<double, std::nano>(clock::now() - start).count();
    std::printf("libunwind: %.2f us per full unwind\n", ns / 1000 / kCold);
  });
}
