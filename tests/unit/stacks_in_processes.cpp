// SPDX-License-Identifier: Apache-2.0
// Call stacks where walking them is hard on the process: handlers that interrupt it, small stacks, forks, the
// loader's lock, no descriptors, objects that come and go.
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "tests/unit/catch.hpp"
#include "tests/unit/stack_walks.hpp"

using namespace mallard::unwind;
using namespace stack_walks;

TEST_CASE("stacks: handlers that interrupt captures never wait for them") {
  init();
  const int status = in_child([] {
    static std::atomic<long> hits{0};
    struct sigaction action {};
    action.sa_handler = [](int) {
      const int saved = errno;
      Stack s;
      if (capture(&s) >= 1) ++hits;
      errno = saved;
    };
    sigaction(SIGPROF, &action, nullptr);
    const itimerval interval{{0, 100}, {0, 100}};
    setitimer(ITIMER_PROF, &interval, nullptr);
    Stack s;
    Pair pair;
    while (hits < 200) {  // the kernel's clock may tick every 10 ms of this process, and others may run, too
      on_module_unloaded();  // every rule is compiled anew
      capture(&s);
      take(&pair);
    }
    return true;
  });
  CHECK(status == 0);
}

TEST_CASE("stacks: threads of 16 KiB") {
  init();
  on_module_unloaded();
  static Pair pair;
  static bool ran;
  ran = false;
  const int status = in_child([] {
    {
      Thread t([] { ran = (with_frame_pointer(&pair), true); }, 16384);
      if (!t.created) return false;
    }
    return ran && pair();
  });
  CHECK(status == 0);
}

TEST_CASE("stacks: fork while other threads unwind") {
  init();
  static std::atomic<bool> stop;
  stop = false;
  const auto work = [] {
    Pair pair;
    while (!stop) {
      on_module_unloaded();
      with_frame_pointer(&pair);
    }
  };
  int failed = 0;
  {
    Thread a(work), b(work);
    for (int i = 0; i < 300; ++i) {
      stacks_before_fork();
      const pid_t pid = fork();
      stacks_after_fork();
      if (pid == 0) {
        alarm(60);
        Pair pair;
        on_module_unloaded();
        with_frame_pointer(&pair);
        _exit(pair() ? 0 : 1);
      }
      int status = -1;
      waitpid(pid, &status, 0);
      failed += status != 0;
    }
    stop = true;
  }
  CHECK(failed == 0);
}

TEST_CASE("stacks: while another thread holds the loader's lock") {
  init();
  const int status = in_child([] {
    static std::atomic<bool> held, taken;
    static Pair pair;
    Thread holder([] {
      dl_iterate_phdr(
          [](dl_phdr_info*, std::size_t, void*) {
            held = true;
            wait_for(taken);
            return 1;
          },
          nullptr);
    });
    wait_for(held);
    on_module_unloaded();
    with_alloca(&pair, 10);
    taken = true;
    return pair();
  });
  CHECK(status == 0);
}

TEST_CASE("stacks: without any descriptor") {
  init();
  const int status = in_child([] {
    for (int fd = 0; fd < 1024; ++fd) close(fd);
    const rlimit none{0, 0};
    setrlimit(RLIMIT_NOFILE, &none);
    static Pair pair;
    Thread t([] {
      on_module_unloaded();
      errno = 77;
      with_alloca(&pair, 10);
      if (errno != 77) pair.captured.n = 0;
    });
    pthread_join(t.id, nullptr);
    t.created = false;
    return pair() && pair.captured.n >= 5;
  });
  CHECK(status == 0);
}

#ifdef STACK_LIB_SMALL
namespace {
void* load(const char* path, void (**call)(void (*)(void*), void*)) {
  void* library = dlopen(path, RTLD_NOW);
  INFO((library ? "" : dlerror()));
  REQUIRE(library);
  *call = reinterpret_cast<void (*)(void (*)(void*), void*)>(dlsym(library, "stack_lib_call"));
  REQUIRE(*call);
  return library;
}
}  // namespace

TEST_CASE("stacks: rules of an unloaded object are not used for its successor") {
  init();
  void (*first)(void (*)(void*), void*);
  void (*second)(void (*)(void*), void*);
  Pair pair;
  const auto f = [](void* p) {
    take(static_cast<Pair*>(p));
    after_call();
  };
  void* library = load(STACK_LIB_SMALL, &first);
  first(f, &pair);
  CHECK(pair());
  CHECK(pair.captured.has(reinterpret_cast<void*>(first)));
  dlclose(library);
  on_module_unloaded();
  library = load(STACK_LIB_LARGE, &second);
  second(f, &pair);
  CHECK(second == first);  // else the test shows nothing
  CHECK(pair());
  CHECK(pair.captured.has(reinterpret_cast<void*>(second)));
  dlclose(library);
  on_module_unloaded();
}
#endif
