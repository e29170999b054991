// SPDX-License-Identifier: Apache-2.0
// Stacks that join the previous capture: each must equal what a full walk by rules says, and what libunwind
// says where the test asks for it, whatever changed since: frames, registers, whole stacks, code.
#include "record/exact/incremental.hpp"

#include <dlfcn.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "tests/unit/catch.hpp"
#include "unwind/code_addresses.hpp"
#include "unwind/unwinder.hpp"

using namespace mallard::record;
using namespace mallard::unwind;

#define NOINLINE __attribute__((noinline, noclone))

namespace {

volatile int g_sink;
void after_call() { g_sink = g_sink + 1; }  // keeps calls from becoming jumps

/// A thread's memory of its last capture, and what comparing found.
struct Memory {
  Memory() { std::memset(bytes.get(), 0, kStackMemoryBytes); }
  StackMemory* get() { return reinterpret_cast<StackMemory*>(bytes.get()); }
  std::unique_ptr<char[]> bytes{new char[kStackMemoryBytes]};
  int captures = 0, wrong = 0, depth = 0;
  std::uintptr_t pcs[kMaxDepth];
  bool by_libunwind = false;  ///< compare with a full unwind, not with a walk by rules
  bool none = false;          ///< capture without memory, as a handler within a capture does

  bool has(const void* function) const {
    return std::any_of(pcs, pcs + depth, [function](std::uintptr_t pc) {
      return pc - reinterpret_cast<std::uintptr_t>(function) < 512;
    });
  }
};

void init() {
  static const bool done = [] {
    REQUIRE(sites_init(Expected::kManyStacks));
    stacks_init();
    return true;
  }();
  (void)done;
}

/// A return address as a site keeps it: those in one mapping of generated code are one.
std::uintptr_t as_kept(std::uintptr_t pc) {
  const PcIndex index = pc_index(pc);
  return index == kNoPc ? pc : pc_at(index);
}

NOINLINE void take(Memory* m) {
  const Caller caller = MALLARD_CALLER();
  m->depth = copy_site_pcs(site(capture_site(caller, m->none ? nullptr : m->get())), m->pcs, kMaxDepth);
  std::uintptr_t expected[kMaxDepth];
  int n;
  if (m->by_libunwind) {
    StackReader reader(caller.return_slot);
    bool truncated;
    n = unwind_fully(caller, reader, expected, kMaxDepth, &truncated);
  } else {
    n = capture_stack(caller, expected, kMaxDepth);
  }
  std::transform(expected, expected + n, expected, as_kept);
  ++m->captures;
  m->wrong += n != m->depth || !std::equal(expected, expected + n, m->pcs);
  after_call();
}

extern "C" void with_rbp(Memory* m, std::uintptr_t value, void (*f)(Memory*));
__asm__(  // keeps a value in rbp, as compilers do
    ".text\n\t.type with_rbp, @function\nwith_rbp:\n\t.cfi_startproc\n\t"
    "pushq %rbp\n\t.cfi_def_cfa_offset 16\n\t.cfi_offset rbp, -16\n\t"
    "movq %rsi, %rbp\n\tcall *%rdx\n\tpopq %rbp\n\t.cfi_def_cfa_offset 8\n\t.cfi_restore rbp\n\tret\n\t"
    ".cfi_endproc\n\t.size with_rbp, . - with_rbp\n");

using Next = void (*)(Memory*, int);
__attribute__((optimize("omit-frame-pointer"))) NOINLINE void plain(Memory* m, int n, Next next) {
  next(m, n);
  after_call();
}
__attribute__((optimize("no-omit-frame-pointer"))) NOINLINE void framed(Memory* m, int n, Next next) {
  next(m, n);
  after_call();
}
NOINLINE void sized(Memory* m, int n, Next next) {
  volatile char* space = static_cast<char*>(__builtin_alloca(static_cast<std::size_t>(16 + n % 64)));
  space[0] = 1;
  next(m, n);
  after_call();
}
NOINLINE void realigned(Memory* m, int n, Next next) {
  alignas(64) volatile char space[128];
  space[0] = 1;
  next(m, n);
  g_sink = space[0];
}

/// A random tree of calls: each node takes its stack and calls children through functions of every kind.
thread_local std::minstd_rand t_random;
thread_local int t_left;
NOINLINE void grow(Memory* m, int depth) {
  if (t_left-- <= 0) return;
  if (t_random() % 2) take(m);
  const int children = depth > 40 ? 0 : static_cast<int>(t_random() % 4);
  for (int i = 0; i < children; ++i) switch (t_random() % 5) {
      case 0:
        plain(m, depth + 1, grow);
        break;
      case 1:
        framed(m, depth + 1, grow);
        break;
      case 2:
        sized(m, depth + 1, grow);
        break;
      case 3:
        realigned(m, depth + 1, grow);
        break;
      default:
        grow(m, depth + 1);
        break;
    }
  take(m);
}

/// Eight trees by turns, so that the tables do not fill.
void grow_trees(Memory* m, int captures, unsigned seed) {
  for (unsigned i = 0; m->captures < captures; ++i) {
    t_random.seed(seed * 8 + i % 8);
    t_left = 2000;
    grow(m, 0);
  }
}

void leaf(Memory* m, int) { take(m); }

}  // namespace

TEST_CASE(
    "incremental: the same call again, another caller in the same place, a changed frame in the middle") {
  init();
  Memory m;
  const Next kinds[] = {leaf, [](Memory* p, int n) { plain(p, n, leaf); },
                        [](Memory* p, int n) { framed(p, n, leaf); }};
  for (int round = 0; round < 50; ++round)
    for (Next kind : kinds)
      for (int repeat = 0; repeat < 3; ++repeat) {
        plain(&m, 0, kind);
        framed(&m, 0, kind);
        if (round % 2) plain(&m, 1, kind);
        else plain(&m, 1, kind);  // two call sites that leave the same stack but for one word
        realigned(&m, round, kind);
      }
  CHECK(m.captures == 50 * 3 * 3 * 4);
  CHECK(m.wrong == 0);
}

TEST_CASE("incremental: random trees of calls, a million captures") {
  init();
  Memory m;
  const IncrementalStats before = incremental_stats();
  grow_trees(&m, 1'000'000, 1);
  const IncrementalStats after = incremental_stats();
  CHECK(m.wrong == 0);
  const auto captured = static_cast<double>(after.captured - before.captured);
  CHECK(static_cast<double>(after.joined - before.joined) > 0.99 * captured);
  CHECK(static_cast<double>(after.walked - before.walked) < 8 * captured);
  CHECK(after.in_full == before.in_full);
}

TEST_CASE("incremental: random trees of calls against libunwind") {
  init();
  Memory m;
  m.by_libunwind = true;
  grow_trees(&m, 20'000, 2);
  CHECK(m.wrong == 0);
}

TEST_CASE("incremental: threads at once") {
  init();
  std::atomic<int> wrong{0}, captures{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i)
    threads.emplace_back([&, i] {
      Memory m;
      grow_trees(&m, 50'000, i % 2);  // two pairs that make the same stacks
      wrong += m.wrong;
      captures += m.captures;
    });
  for (std::thread& t : threads) t.join();
  CHECK(captures >= 200'000);
  CHECK(wrong == 0);
}

TEST_CASE("incremental: a thread's memory serves another thread") {
  init();
  Memory m;
  for (std::size_t kilobytes : {256, 64, 1024, 64, 256}) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, kilobytes * 1024);
    pthread_t thread;
    REQUIRE(pthread_create(
                &thread, &attributes,
                [](void* p) -> void* {
                  plain(static_cast<Memory*>(p), 0, leaf);
                  sized(static_cast<Memory*>(p), 9, leaf);
                  return nullptr;
                },
                &m) == 0);
    pthread_join(thread, nullptr);
  }
  CHECK(m.captures == 10);
  CHECK(m.wrong == 0);
}

TEST_CASE("incremental: rbp that changes below frames that use it, and below frames that do not") {
  init();
  Memory m;
  for (std::uintptr_t i = 0; i < 300; ++i) {
    with_rbp(&m, i * 8, take);
    framed(&m, 0, [](Memory* p, int) { with_rbp(p, 1, take); });
    framed(&m, 0, [](Memory* p, int) { with_rbp(p, 2, take); });
  }
  CHECK(m.captures == 900);
  CHECK(m.wrong == 0);
}

TEST_CASE("incremental: longjmp over frames") {
  init();
  Memory m;
  static jmp_buf back;
  static int i;  // longjmp leaves it alone
  for (i = 0; i < 200; ++i) {
    if (setjmp(back) == 0)
      sized(&m, i, [](Memory* p, int n) {
        take(p);
        framed(p, n, [](Memory* q, int k) {
          take(q);
          if (k % 3) longjmp(back, 1);
        });
      });
    plain(&m, i, leaf);
  }
  CHECK(m.captures == 600);
  CHECK(m.wrong == 0);
}

TEST_CASE("incremental: stacks deeper than what is kept, and back") {
  init();
  Memory m;
  struct Recursion {
    static NOINLINE void down(Memory* p, int depth) {
      if (depth > 0) down(p, depth - 1);
      if (depth % 16 == 0) take(p);
      after_call();
    }
  };
  for (const int depth : {10, 200, 2000, 240, 250, 260, 5000, 3}) {
    Recursion::down(&m, depth);
    CHECK(m.wrong == 0);
  }
  CHECK(m.captures > 400);
}

namespace {
Memory* g_memory;
ucontext_t g_main, g_contexts[2];
int g_switches;
void on_signal(int) {
  sized(g_memory, 1, leaf);
  after_call();
}
NOINLINE void raises() {
  raise(SIGUSR1);
  after_call();
}
void coroutine(int self) {
  for (int i = 0; i < 100; ++i) {
    sized(g_memory, i, leaf);
    ++g_switches;
    swapcontext(&g_contexts[self], i % 2 ? &g_main : &g_contexts[1 - self]);
  }
}
}  // namespace

TEST_CASE("incremental: signal handlers, on the stack and on one of their own") {
  init();
  Memory m;
  g_memory = &m;
  static char own[65536];
  const bool alternate = GENERATE(false, true);
  stack_t stack{}, none{};
  stack.ss_sp = own;
  stack.ss_size = sizeof own;
  none.ss_flags = SS_DISABLE;
  REQUIRE(sigaltstack(&stack, nullptr) == 0);
  struct sigaction action {
  }, old{};
  action.sa_handler = on_signal;
  action.sa_flags = alternate ? SA_ONSTACK : 0;
  sigaction(SIGUSR1, &action, &old);
  for (int i = 0; i < 50; ++i) {
    plain(&m, 0, leaf);
    raises();
    CHECK(m.has(reinterpret_cast<void*>(on_signal)));
    CHECK(m.has(reinterpret_cast<void*>(raises)));
    framed(&m, 0, [](Memory*, int) { raises(); });
  }
  sigaction(SIGUSR1, &old, nullptr);
  sigaltstack(&none, nullptr);
  CHECK(m.captures == 150);
  CHECK(m.wrong == 0);
}

TEST_CASE("incremental: coroutines on stacks that come and go") {
  init();
  Memory m;
  g_memory = &m;
  constexpr std::size_t kBytes = 65536;
  for (int round = 0; round < 5; ++round) {
    char* stacks[2];
    for (int i : {0, 1}) {
      stacks[i] = static_cast<char*>(
          mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
      getcontext(&g_contexts[i]);
      g_contexts[i].uc_stack.ss_sp = stacks[i];
      g_contexts[i].uc_stack.ss_size = kBytes;
      g_contexts[i].uc_link = &g_main;
      makecontext(&g_contexts[i], reinterpret_cast<void (*)()>(coroutine), 1, i);
    }
    for (int i = 0; i < 40; ++i) {
      swapcontext(&g_main, &g_contexts[0]);
      plain(&m, i, leaf);
    }
    for (char* stack : stacks) munmap(stack, kBytes);  // as they are, in the middle of a call
    plain(&m, 0, leaf);
  }
  CHECK(g_switches > 100);
  CHECK(m.captures > 300);
  CHECK(m.wrong == 0);
}

TEST_CASE("incremental: handlers that interrupt captures have no memory and do no harm") {
  init();
  static Memory of_handler;
  of_handler.none = true;
  of_handler.captures = of_handler.wrong = 0;
  struct sigaction action {
  }, old{};
  action.sa_handler = [](int) { sized(&of_handler, 3, leaf); };
  sigaction(SIGPROF, &action, &old);
  const itimerval interval{{0, 200}, {0, 200}}, stop{};
  setitimer(ITIMER_PROF, &interval, nullptr);
  Memory m;
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  while (std::chrono::steady_clock::now() < end) {
    on_module_unloaded();  // rules are asked for anew, under the unwinder's lock
    grow_trees(&m, m.captures + 3000, 3);
  }
  setitimer(ITIMER_PROF, &stop, nullptr);
  sigaction(SIGPROF, &old, nullptr);
  CHECK(of_handler.captures > 20);
  CHECK(m.captures > 3000);
  CHECK(m.wrong == 0);
}

TEST_CASE("incremental: generated code that is unmapped is not believed any more") {
  init();
  // push rbp; mov rbp, rsp; mov rax, rsi; call rax; pop rbp; ret
  const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0xf0, 0xff, 0xd0, 0x5d, 0xc3};
  void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(page != MAP_FAILED);
  std::memcpy(page, code, sizeof code);
  Memory m;
  for (int i = 0; i < 20; ++i) {
    reinterpret_cast<void (*)(Memory*, void (*)(Memory*))>(page)(&m, take);
    CHECK(m.has(page));
  }
  CHECK(m.wrong == 0);
  const std::uint64_t epoch = code_epoch();
  on_memory_unmapped(reinterpret_cast<std::uintptr_t>(page) + (1 << 30), 4096);  // elsewhere
  CHECK(code_epoch() == epoch);
  on_memory_unmapped(reinterpret_cast<std::uintptr_t>(page), 4096);
  CHECK(code_epoch() > epoch);
  munmap(page, 4096);
}

TEST_CASE("incremental: an object is unloaded and another one takes its place") {
  init();
  Memory m;
  int same_place = 0;
  void* last = nullptr;
  for (int i = 0; i < 10; ++i) {
    void* library = dlopen(i % 2 ? STACK_LIB_SMALL : STACK_LIB_LARGE, RTLD_NOW);
    REQUIRE(library);
    void* call = dlsym(library, "stack_lib_call");
    REQUIRE(call);
    same_place += call == last;
    last = call;
    reinterpret_cast<void (*)(void (*)(void*), void*)>(call)(
        [](void* p) {
          take(static_cast<Memory*>(p));
          after_call();
        },
        &m);
    CHECK(m.has(call));
    dlclose(library);
    on_module_unloaded();
  }
  CHECK(same_place > 0);  // else the test shows nothing
  CHECK(m.captures == 10);
  CHECK(m.wrong == 0);
}

TEST_CASE("incremental: what a capture costs when the top five frames change", "[.bench]") {
  init();
  struct Frames {
    static NOINLINE void down(int depth, void (*f)()) {
      if (depth) down(depth - 1, f);
      else f();
      after_call();
    }
    static NOINLINE void a(int depth, StackMemory* m) {
      if (depth) a(depth - 1, m);
      else capture_site(MALLARD_CALLER(), m);
      after_call();
    }
    static NOINLINE void b(int depth, StackMemory* m) {
      if (depth) b(depth - 1, m);
      else capture_site(MALLARD_CALLER(), m);
      g_sink = g_sink + 2;
    }
  };
  Frames::down(20, [] {
    static Memory m;
    constexpr int kRounds = 2'000'000;
    for (const bool changing : {false, true}) {
      const auto cpu_ns = [] {
        timespec t;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
      };
      const double start = cpu_ns();
      for (int i = 0; i < kRounds; ++i)
        if (changing && i % 2) Frames::b(4, m.get());
        else Frames::a(4, m.get());
      const double ns = cpu_ns() - start;
      std::printf("%s: %.1f ns per capture, calls included\n",
                  changing ? "five frames change" : "nothing changes", ns / kRounds);
    }
  });
}
